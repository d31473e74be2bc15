"""Measuring an environment: what leaders tell, what the ledger says, and what is counted beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.control import Environment, Meter, bare_project, flow_statuses, opened_history, opened_ledger
from penstock.control.metering.counts import SideCounts
from penstock.control.metering.sampling import Sampler
from penstock.control.supervising.processes import process_started, this_host
from penstock.errors import LedgerError
from penstock.ledger import Desired, Event, Ledger, Member, Want
from penstock.observe import BurnRate, FlowSample, MetricFamily, MetricHistory
from tests.ledger.facts import FLOW, commit_epochs, history, letter, plan, record

SECOND_US = 1_000_000


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still: 1 s after the commit of the sixth epoch."""
    return ManualClock(1_700_000_001_000_000)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment without flows."""
    return bare_project(tmp_path).environment("dev")


@pytest.fixture
def ledger(environment: Environment, clock: ManualClock) -> Iterator[Ledger]:
    """A flow that ran six epochs and is to run."""
    with opened_ledger(environment, clock) as opened:
        history(opened, 6)
        opened.operations.desire(Desired(FLOW, Want.RUNNING, "v1", changed_us=1))
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MetricHistory]:
    """A store of metrics."""
    opened = MetricHistory(tmp_path / "metrics.db")
    yield opened
    opened.close()


def leads(ledger: Ledger, clock: ManualClock, pid: int, **facts: Any) -> None:
    """Let a process lead that tells these facts now; it is this very one, so it is there."""
    member = Member("m1", FLOW, "v1", pid, this_host(), process_started(pid) or "", {"role": "lead"})
    ledger.join(member)
    told = {"role": "leading", "state": "leading", "generation": 1, "beat_us": clock.now_us(), **facts}
    ledger.tell(FLOW, "m1", told)


def only(samples: list[FlowSample]) -> FlowSample:
    """The one sample."""
    (sample,) = samples
    return sample


def numbers(families: list[MetricFamily], name: str) -> Mapping[str, float]:
    """The values of a metric by those of its labels that are not where it is from."""
    return {
        ",".join(text for label, text in one.labels.items() if label not in ("project", "env", "flow")): one.value
        for family in families
        if family.name == name
        for one in family.values
    }


@pytest.fixture
def pid() -> int:
    """A process that is there: this one."""
    return os.getpid()


def test_a_leader_tells_how_fresh_a_flow_is(
    ledger: Ledger, environment: Environment, clock: ManualClock, pid: int
) -> None:
    """While input waits it grows by the second; where none waits there is only the delay of event time."""
    meter = Meter(ledger, environment, clock)
    now_us = clock.now_us()
    leads(ledger, clock, pid, caught_up_us=now_us - 3 * SECOND_US, waits=True, freshness_us=30 * SECOND_US, owner="a")
    delay_s = (record(6).committed_us - 6 * SECOND_US) / 1e6
    sample = only(meter.samples())

    assert (sample.lag_s, sample.owner, sample.freshness_us) == (3, "a", 30 * SECOND_US)
    assert sample.fresh_s == pytest.approx(3 + delay_s)
    clock.sleep(1)
    assert only(meter.samples()).lag_s == 4
    leads(ledger, clock, pid, caught_up_us=now_us, waits=False)
    assert only(meter.samples()).fresh_s == pytest.approx(delay_s)


def test_an_injected_delay_is_seen(ledger: Ledger, environment: Environment, clock: ManualClock, pid: int) -> None:
    """Rows whose event time is 42 s old when they are committed: 42 s, within one."""
    committed_us = clock.now_us()
    late = replace(record(7), watermark_us=committed_us - 42 * SECOND_US, committed_us=committed_us)
    ledger.commit(FLOW, late, next_plan=plan(8))
    leads(ledger, clock, pid, caught_up_us=committed_us, waits=False)
    found = only(Meter(ledger, environment, clock).samples()).fresh_s

    assert found == pytest.approx(42, abs=1)
    (status,) = flow_statuses(ledger, environment, clock)
    assert status.fresh_s(clock.now_us()) == found, "the status says the same"


def test_a_leader_that_is_silent_is_believed_to_be_behind(
    ledger: Ledger, environment: Environment, clock: ManualClock, pid: int
) -> None:
    """A frozen process tells nothing; what waits by now, nobody knows."""
    leads(ledger, clock, pid, caught_up_us=clock.now_us(), waits=False)
    meter = Meter(ledger, environment, clock)
    assert only(meter.samples()).lag_s == 0
    clock.sleep(60)

    assert only(meter.samples()).lag_s == 60


def test_a_stopped_flow_has_no_freshness(ledger: Ledger, environment: Environment, clock: ManualClock) -> None:
    """Nobody looks whether anything waits for it."""
    ledger.operations.desire(Desired(FLOW, Want.STOPPED, "v1", changed_us=2))

    assert only(Meter(ledger, environment, clock).samples()).fresh_s is None


def test_dead_letters_are_told_by_reason(ledger: Ledger, environment: Environment, clock: ManualClock) -> None:
    """Those that nobody took care of, and when the oldest of them fell."""
    ledger.commit(FLOW, record(7), next_plan=plan(8), dead=[letter(7, 1), replace(letter(7, 2), error="KeyError")])
    ledger.drop_dead_letters(FLOW, [1], {"who": "a"})
    families = Meter(ledger, environment, clock).families()

    assert numbers(families, "penstock_dead_letters_pending") == {"KeyError": 1}
    assert numbers(families, "penstock_dead_letters") == {"": 2}
    assert numbers(families, "penstock_dead_letter_oldest_seconds")[""] == pytest.approx(1, abs=0.001)


def ended(ledger: Ledger, clock: ManualClock, outcome: str, *, led: bool = True) -> None:
    """Note the end of a process."""
    body = {"member": "m0", "outcome": outcome, "led": led, "at_us": clock.now_us()}
    ledger.operations.note(Event("member-ended", FLOW, body, "supervisor", clock.now_us()))


def test_restarts_are_counted_by_cause(
    ledger: Ledger, environment: Environment, clock: ManualClock, store: MetricHistory
) -> None:
    """Once each, however often one looks, and on from there after a restart of the server."""
    meter = Meter(ledger, environment, clock, history=store)
    ended(ledger, clock, "killed")
    ended(ledger, clock, "killed", led=False)
    meter.samples()
    assert numbers(meter.families(), "penstock_restarts_total") == {"killed": 1}
    store.append(clock.now_us(), [], meter.kept())
    ended(ledger, clock, "hung")
    clock.sleep(2)
    commit_epochs(ledger, 7, 7)
    again = Meter(ledger, environment, clock, history=store)

    assert numbers(again.families(), "penstock_restarts_total") == {"killed": 1, "hung": 1}


def test_processor_time_goes_on_over_processes(ledger: Ledger, clock: ManualClock, pid: int) -> None:
    """What an ended process had used stays counted, and is counted once."""
    counts = SideCounts()
    for cpu_s in (1.0, 3.0, 3.0):
        leads(ledger, clock, pid, cpu_s=cpu_s)
        counts.look(ledger)
    ledger.leave(FLOW, "m1", "gone")
    counts.look(ledger)
    again = SideCounts(counts.kept())
    again.look(ledger)

    assert again.of(FLOW).cpu_s == {"leader": 3.0}


def test_an_objective_is_counted_by_samples_and_survives(
    ledger: Ledger, environment: Environment, clock: ManualClock, store: MetricHistory, pid: int
) -> None:
    """Met and missed, the share, and burn rates, which a new server finds in the store."""
    rates = [BurnRate(60.0, 20.0, 14.4, 0.02, urgent=True)]
    meter = Meter(ledger, environment, clock, history=store, rates=rates)
    delay_us = record(6).committed_us - 6 * SECOND_US
    sampler = Sampler(meter, store, every_s=1.0)
    for second in range(40):
        waits = second >= 30
        since_us = clock.now_us() - second * SECOND_US
        facts = {"caught_up_us": since_us, "waits": waits, "freshness_us": delay_us + 5 * SECOND_US, "owner": ""}
        leads(ledger, clock, pid, **facts)
        sampler.sample()
        clock.sleep(1)
    families = Meter(ledger, environment, clock, history=store, rates=rates).families()
    sampler.close()

    assert numbers(families, "penstock_freshness_samples_total") == {"met": 30, "missed": 10}
    assert numbers(families, "penstock_freshness_met_ratio") == {"": 0.75}
    burns = numbers(families, "penstock_freshness_burn_rate")
    assert burns["20s"] == pytest.approx(50, rel=0.1)
    assert burns["1m"] == pytest.approx(25 * 40 / 60, rel=0.1), "before the first sample nothing burnt"


def test_only_who_is_asked_to_step_samples(
    ledger: Ledger, environment: Environment, clock: ManualClock, store: MetricHistory
) -> None:
    """A server steps its duties while it leads, one that waits does not. A sample a slot, however often it steps."""
    sampler = Sampler(Meter(ledger, environment, clock, history=store), store, every_s=10.0)
    assert store.names() == []
    crew: Any = None
    for _ in range(3):
        sampler.step(crew)
    sampler.close()
    answer = store.series(
        "penstock_epochs_total", {}, start_us=clock.now_us() - 60 * SECOND_US, end_us=clock.now_us() + 1, step_s=1
    )

    assert [value for value in answer.series[0].values.tolist() if value == value] == [6.0]  # noqa: PLR0124 - no NaN


def test_a_damaged_store_is_put_aside_where_a_server_starts(environment: Environment) -> None:
    """History is lost, and nothing else; who only asks is told instead."""
    file = environment.folder / "metrics.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"garbage" * 1000)
    said: list[str] = []
    with pytest.raises(LedgerError, match="can't be used"), opened_history(environment):
        pass
    with opened_history(environment, anew=said.append) as store:
        assert store.names() == []

    assert len(said) == 1
    assert [one.read_bytes() for one in file.parent.glob("metrics.db.damaged-*")] == [b"garbage" * 1000]


def test_a_store_that_fails_is_told_once_and_stops_nobody(
    ledger: Ledger, environment: Environment, clock: ManualClock, store: MetricHistory
) -> None:
    """No flow depends on it: the duty goes on, and says what is wrong in one line."""
    lines: list[str] = []
    meter = Meter(ledger, environment, clock, history=store)

    def failing(_: object) -> None:
        raise LedgerError("the disk is full")

    sampler = Sampler(meter, store, every_s=10.0, push=failing, push_every_s=1.0, tell=lines.append)
    crew: Any = None
    for _ in range(3):
        sampler.step(crew)
        clock.sleep(1)
    sampler.close()

    assert set(lines) == {"metrics: the disk is full"}
