"""What a leader tells of its input: whether any waits, and when all of it was last worked off; and what steps took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import penstock as ps
from penstock.clock import ManualClock
from penstock.connect import clear
from penstock.engine import Leader, Outcome
from tests.engine.serving import Place, write_rows


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A flow over a file that grows, ten rows an epoch, in simulated time."""
    sink = replace(ps.table("caught", key=["key"]), kind="memory")
    with closing(Place(tmp_path, sink, clock=ManualClock())) as found:
        yield found
    clear("caught")


def rest(leader: Leader) -> None:
    """Lead until nothing waits."""
    while leader.step() is Outcome.RAN:
        pass


def test_who_rests_without_input_has_caught_up_now(place: Place) -> None:
    """However long nothing comes; so a quiet flow does not grow old."""
    leader = place.lead(1)
    write_rows(place.input, [(1, 1)])
    rest(leader)
    place.clock.sleep(3_600)
    leader.step()

    assert not leader.waits
    assert leader.caught_up_us is not None
    assert place.clock.now_us() - leader.caught_up_us < 1_000_000


def test_who_has_more_to_read_has_not(place: Place) -> None:
    """With a hundred rows before it and ten an epoch, it has caught up when the last of them is committed."""
    leader = place.lead(1)
    write_rows(place.input, [(1, number) for number in range(100_000)])
    for _ in range(3):
        place.clock.sleep(1)
        assert leader.step() is Outcome.RAN
        assert leader.waits
        assert leader.caught_up_us is None


def test_an_epoch_that_took_all_brings_the_flow_to_the_time_of_its_plan(place: Place) -> None:
    """Also where the flow never rests: what came after the plan waits since then, at the longest."""
    leader = place.lead(1)
    for number in range(3):
        place.clock.sleep(1)
        planned_us = place.clock.now_us()
        write_rows(place.input, [(1, number)])
        assert leader.step() is Outcome.RAN
        assert leader.caught_up_us == planned_us


def test_while_it_is_paused_what_waits_is_counted(place: Place) -> None:
    """A paused flow grows old as soon as something comes, and not before."""
    leader = place.lead(1)
    write_rows(place.input, [(1, 1)])
    rest(leader)
    leader.paused = True
    for _ in range(2):
        place.clock.sleep(1)
        leader.step()
    waited = [leader.waits]
    since_us = place.clock.now_us()
    write_rows(place.input, [(1, 2)])
    for _ in range(3):
        place.clock.sleep(1)
        leader.step()

    assert [*waited, leader.waits] == [False, True]
    assert leader.caught_up_us is not None
    assert leader.caught_up_us <= since_us + 1_000_000


def test_a_record_says_what_steps_did(place: Place) -> None:
    """Rows where they were counted, bytes of what was read and written, and no step that nothing is known of."""
    leader = place.lead(1)
    write_rows(place.input, [(1, 1), (2, 1), (1, 1)])
    leader.step()
    (record,) = leader.post.ledger.epochs("sums")

    assert record.steps["rows"]["out"] == 3
    assert record.steps["totals"] == {**record.steps["totals"], "in": 3, "out": 2}
    assert record.steps["out"]["out"] == 2
    assert record.bytes_in["rows"] == 48
    assert record.bytes_out["out"] > 0
