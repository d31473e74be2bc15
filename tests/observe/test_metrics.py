"""Metrics: their names are frozen, their numbers are those of the ledger, and no counter ever goes down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from penstock.clock import ManualClock
from penstock.ledger import Ledger, Rewrite, SegmentRef, Takeover, open_ledger
from penstock.observe import (
    METRICS,
    FlowSample,
    FlowTotals,
    FreshnessCount,
    SavepointSample,
    ServerSample,
    TotalsByFlow,
    metric_values,
    render_metrics,
)
from tests.ledger.facts import FLOW, commit_epochs, history, plan, record

GOLDEN = Path(__file__).parent / "metrics.golden"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger whose flow has six epochs of ten rows."""
    opened = open_ledger(tmp_path / "ledger", env="dev", clock=ManualClock(), folder=tmp_path / "rolled")
    history(opened, 6)
    yield opened
    opened.close()


def counters(totals: TotalsByFlow) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of a counter or a histogram, as a reader of OpenMetrics sees it."""
    sample = FlowSample(FLOW, 10_000_000, "running", "v1", totals.of(FLOW), generation=1)
    text, kind = render_metrics("shop", "dev", [sample], accept=OPENMETRICS)
    assert kind.startswith("application/openmetrics-text")
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]  # not annotated
        if family.type in ("counter", "histogram")
        for one in family.samples
    }


def named(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    """One sample."""
    return found[name, frozenset({"project": "shop", "env": "dev", "flow": FLOW, **labels}.items())]


def undo(ledger: Ledger) -> None:
    """Write the epochs 3 to 6 anew, with 2 rows out instead of 13."""
    asked = Rewrite("undo-1", 3, 0, "v0", "s", "wrong")
    takeover = Takeover(1, 7, rewrite=asked)
    resume = ledger.take_over(FLOW, version="v0", holder="new", takeover=takeover)
    assert resume.rewrite is not None
    records = [replace(record(epoch, 2), version="v0", rows_out={"revenue": 2}) for epoch in range(3, 7)]
    branch = [SegmentRef(0, 6, "b.state", 1, 1)]
    ledger.finish_rewrite(FLOW, 2, resume.rewrite, records, branch)


def test_names_types_and_labels_are_frozen() -> None:
    """Dashboards and alerts of users name them: a change of this file breaks those."""
    lines = [
        f"{one.name} {one.type} {one.unit or '-'} {','.join(one.labels) or '-'}{' server' if one.of_server else ''}"
        for one in METRICS
    ]

    assert "\n".join(lines) + "\n" == GOLDEN.read_text()
    for one in METRICS:
        assert one.name.startswith("penstock_")
        assert one.name.endswith("_total") == (one.type == "counter")
        assert not one.unit or one.name.endswith(f"_{one.unit}")


def test_counters_are_the_sums_of_the_ledger(ledger: Ledger) -> None:
    """Six epochs of ten rows in and thirteen out, each late and failed row counted once."""
    found = counters(TotalsByFlow(ledger))

    assert named(found, "penstock_records_in_total", step="orders") == 60
    assert named(found, "penstock_records_out_total", step="revenue") == 18
    assert named(found, "penstock_records_out_total", step="log") == 60
    assert named(found, "penstock_records_late_total") == 6
    assert named(found, "penstock_quality_checks_total", check="not_null(country)", result="failed") == 6
    assert named(found, "penstock_epochs_total") == 6
    assert named(found, "penstock_epoch_duration_seconds_count") == 6
    assert named(found, "penstock_epoch_duration_seconds_bucket", le="0.005") == 6


def test_epochs_are_counted_once_however_often_one_looks(ledger: Ledger) -> None:
    """A look reads on from the last one, and comes to what a look from nothing comes to, rolled up epochs too."""
    totals = TotalsByFlow(ledger)
    before = counters(totals)
    commit_epochs(ledger, 7, 9)
    ledger.roll_up(FLOW, 5)
    after = counters(totals)

    assert after == counters(totals) == counters(TotalsByFlow(ledger))
    assert named(after, "penstock_records_in_total", step="orders") == 90
    assert all(after[key] >= value for key, value in before.items())


def test_no_counter_goes_down_by_a_takeover_or_an_undo(ledger: Ledger) -> None:
    """What was undone was read and written: it stays counted beside what came in its place."""
    totals = TotalsByFlow(ledger)
    before = counters(totals)
    undo(ledger)
    after = counters(totals)

    assert after == counters(TotalsByFlow(ledger)), "a restart of the server comes to the same"
    assert all(after[key] >= value for key, value in before.items())
    assert named(after, "penstock_records_in_total", step="orders") == 100
    assert named(after, "penstock_records_out_total", step="revenue") == 18 + 4 * 2
    assert named(after, "penstock_epochs_undone_total") == 4


def test_a_flow_that_was_forgotten_begins_again(ledger: Ledger) -> None:
    """After `run --reset`, what was counted before is not counted on."""
    totals = TotalsByFlow(ledger)
    counters(totals)
    ledger.forget_flow(FLOW)

    assert totals.of(FLOW).epochs == 0


def test_an_objective_is_told_where_there_is_one() -> None:
    """Both texts that the library knows carry it, and only for flows that have one."""
    sample = FlowSample("f", 0, "held", "v1", FlowTotals(), freshness_us=30_000_000)
    text = render_metrics("shop", "dev", [sample, replace(sample, flow="g", freshness_us=None)])[0].decode()

    assert 'penstock_freshness_objective_seconds{env="dev",flow="f",project="shop"} 30.0' in text
    assert 'penstock_freshness_objective_seconds{env="dev",flow="g",project="shop"}' not in text
    assert 'penstock_flow_state{env="dev",flow="f",project="shop",state="held"} 1.0' in text


class Keep:
    """Where totals outlive who counts, in memory."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def load_totals(self, flow: str) -> str | None:
        """What was kept."""
        return self.texts.get(flow)

    def save_totals(self, flow: str, text: str) -> None:
        """Keep it."""
        self.texts[flow] = text


class Watched:
    """A ledger that notes which epochs it is asked for."""

    def __init__(self, inner: Ledger) -> None:
        self.inner = inner
        self.read = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def epochs(self, flow: str, **asked: Any) -> object:
        """As the ledger, counted."""
        found = self.inner.epochs(flow, **asked)
        self.read += len(found)
        return found


@pytest.fixture
def kept(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """The totals of six epochs, kept."""
    monkeypatch.setattr("penstock.observe.metrics.counting._SAVE_EPOCHS", 1)
    keep = Keep()
    TotalsByFlow(ledger, keep).of(FLOW)
    return keep


def test_who_counts_on_reads_what_came_since(ledger: Ledger, kept: Keep) -> None:
    """After a restart of the server: not all epochs again, and the same sums."""
    commit_epochs(ledger, 7, 9)
    watched = Watched(ledger)
    again = TotalsByFlow(watched, kept)  # type: ignore[arg-type]  # what it asks is passed on

    assert counters(again) == counters(TotalsByFlow(ledger))
    assert watched.read <= 3 + 2, "the new ones, and two to see that it is the same history"


def test_an_undo_is_taken_in_by_what_it_changed(ledger: Ledger, kept: Keep) -> None:
    """Epochs put aside stay counted, those in their place are added, without reading the rest again."""
    undo(ledger)
    watched = Watched(ledger)
    again = TotalsByFlow(watched, kept)  # type: ignore[arg-type]  # what it asks is passed on
    found, anew = counters(again), counters(TotalsByFlow(ledger))

    # Time between epochs is known where they were counted as they came, and not of epochs that are put aside by then.
    time = "penstock_step_time_seconds_total"
    assert {key: value for key, value in found.items() if key[0] != time} == {
        key: value for key, value in anew.items() if key[0] != time
    }
    assert watched.read <= 4 + 1


@pytest.mark.parametrize("text", ["", "{}", "garbage", '{"undos": 0, "totals": {}}', "[1]"])
def test_totals_that_can_not_be_read_are_counted_anew(ledger: Ledger, kept: Keep, text: str) -> None:
    """They are a short cut and nothing else: of another version, or damaged, they are as if they were not there."""
    kept.texts[FLOW] = text

    assert counters(TotalsByFlow(ledger, kept)) == counters(TotalsByFlow(ledger))


def test_totals_of_another_history_are_counted_anew(ledger: Ledger, kept: Keep) -> None:
    """A flow that was forgotten and ran again has other epochs of the same numbers."""
    ledger.forget_flow(FLOW)
    generation = ledger.claim(FLOW, version="v1", holder="new").generation
    ledger.plan(FLOW, generation, plan(1))
    commit_epochs(ledger, 1, 6, generation=generation)

    assert TotalsByFlow(ledger, kept).of(FLOW).epochs == 6


def test_busy_blocked_and_idle_are_the_time_that_passes() -> None:
    """Epochs of 400 ms each second, of which a step has 100: its rates are 0.1, 0.3 and 0.6."""
    totals = FlowTotals()
    steps = {"clean": {"ms": 100.0, "in": 10, "out": 9}}
    for epoch in range(1, 12):
        one = replace(record(epoch), timings_ms={"run": 300.0, "write": 100.0}, steps=steps)
        totals.add(replace(one, committed_us=epoch * 1_000_000))
    first = totals.step_times_s()
    for epoch in range(12, 22):
        one = replace(record(epoch), timings_ms={"run": 300.0, "write": 100.0}, steps=steps)
        totals.add(replace(one, committed_us=epoch * 1_000_000))
    grew = {
        state: totals.step_times_s()["clean", state] - first["clean", state] for state in ("busy", "blocked", "idle")
    }

    assert grew == pytest.approx({"busy": 1.0, "blocked": 3.0, "idle": 6.0})
    assert totals.step_rows_out["clean"] == 9 * 21


def test_labels_have_a_limit() -> None:
    """Steps, checks and classes of errors beyond a thousand are one more, `other`, and sums stay right."""
    totals = FlowTotals()
    for epoch in range(1, 4):
        many = {f"step{number}": 1 for number in range(900 * epoch - 900, 900 * epoch)}
        totals.add(replace(record(epoch), rows_in=many, checks={name: {"passed": 1, "failed": 0} for name in many}))
    dead = {f"Error{number}": 1 for number in range(3_000)}
    values = metric_values("shop", "dev", [FlowSample("f", 0, "running", "v1", totals, dead_pending=dead)])

    for name, count in (
        ("penstock_records_in_total", 2_700),
        ("penstock_dead_letters_pending", 3_000),
        ("penstock_quality_checks_total", 2_700),
    ):
        found = [one.value for one in values if one.name == name]
        assert sum(found) == count
        assert len(found) <= 2 * (1_000 + 1)


def test_promtool_finds_no_fault(ledger: Ledger) -> None:
    """The linter of Prometheus takes every name, help and unit, those of authors too."""
    told = {"kind": "counter", "labels": ["reason"], "help": "", "values": [[['a\n"b'], 1.0]]}
    more: Any = {"bytes_in": {"a": 1}, "bytes_out": {"b": 1}, "steps": {"a": {"ms": 1.0, "in": 1, "out": 1}}}
    ledger.commit(FLOW, replace(record(7), metrics={"rejected": told}, **more), next_plan=plan(8))
    sample = FlowSample(
        FLOW,
        10_000_000,
        "running",
        "v1",
        TotalsByFlow(ledger).of(FLOW),
        generation=1,
        committed_us=1,
        watermark_us=1,
        caught_up_us=1,
        freshness_us=1,
        waits=True,
        objective=FreshnessCount(1, 1),
        burn_rates={"5m": 1.0},
        backlog_rows=1,
        backlog_bytes=1,
        catch_up_s=1.0,
        dead_pending={"ValueError": 1},
        oldest_dead_us=1,
        state_rows={"a": 1},
        savepoint=SavepointSample(1, 1, 1.0),
        restarts={"killed": 1},
        recovery_s=1.0,
        stage="watch",
        compared={"equal": 1},
        run_ended_us=1,
        run_s=1.0,
        schedule_s=3600.0,
        log_lines={"ERROR": 1},
        cpu_s={"leader": 1.0},
        memory_bytes={"leader": 1},
        memory_limit_bytes=1,
    )
    server = ServerSample("0.1", "3.11", 1, 1, 1, 1, 1, 1.0, 1.0)
    text, _ = render_metrics("shop", "dev", [sample], server)
    told_names = {one.name for one in metric_values("shop", "dev", [sample], server)}

    found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
    assert {one.name for one in METRICS if one.type != "histogram"} <= told_names, "each of them has been held to it"


def test_the_processes_of_flows_load_no_writer_of_text() -> None:
    """prometheus-client and OpenTelemetry are for servers: a process that is started in haste waits for none."""
    asked = (
        "import sys, penstock.control.member; print([name for name in sys.modules if name.startswith(sys.argv[1:][0])])"
    )
    for name in ("prometheus_client", "opentelemetry"):
        found = subprocess.run([sys.executable, "-c", asked, name], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]"
