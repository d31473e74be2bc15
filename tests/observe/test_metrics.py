"""Metrics: their names are frozen, their numbers are those of the ledger, and no counter ever goes down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from penstock.clock import ManualClock
from penstock.ledger import Ledger, Rewrite, SegmentRef, Takeover, open_ledger
from penstock.observe import METRICS, FlowSample, FlowTotals, TotalsByFlow, render_metrics
from tests.ledger.facts import FLOW, commit_epochs, history, record

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
