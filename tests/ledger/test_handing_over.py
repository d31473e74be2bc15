"""A flow that is handed over, in SQLite and PostgreSQL: the fence, the swap of the state, savepoints, looking on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from penstock.errors import Fenced, FlowBusy, LedgerError
from penstock.ledger import (
    Ledger,
    Resume,
    Savepoint,
    SegmentRef,
    SqlLedger,
    Standing,
    Takeover,
    restore_point,
    thinned,
)
from tests.ledger.facts import FLOW, Open, history, plan, record, segment

BRANCH = (SegmentRef(0, 3, "branch-whole.state", 1, 1), SegmentRef(4, 4, "branch-4.state", 1, 1))


def heir(ledger: Ledger, *, expected: int = 1, holder: str = "new") -> Resume:
    """Version v2, whose own branch of the state reaches to epoch 4, takes over."""
    return ledger.take_over(FLOW, version="v2", holder=holder, takeover=Takeover(expected, 5, 4, BRANCH))


def test_nobody_stands_where_nobody_claimed(ledger: Ledger) -> None:
    """Looking at an unknown flow is no error and creates nothing; taking it over is refused."""
    assert ledger.standing("ghost") is None
    assert not ledger.savepoints("ghost")
    ledger.drop_savepoints("ghost", ["a"])
    with pytest.raises(LedgerError, match="nobody has claimed"):
        ledger.take_over("ghost", version="v2", holder="new", takeover=Takeover(0, 0))
    assert not ledger.flows()


def test_standing_follows_what_others_do(open_it: Open) -> None:
    """A look sees each claim, plan and commit of another process at once."""
    leader, follower = open_it(), open_it()
    leader.claim(FLOW, version="v1", holder="pid 1")
    assert follower.standing(FLOW) == Standing(1, "v1", "pid 1", 0)
    leader.plan(FLOW, 1, plan(1))
    assert follower.standing(FLOW) == Standing(1, "v1", "pid 1", 0, plan(1))
    leader.commit(FLOW, record(1), next_plan=plan(2))
    assert follower.standing(FLOW) == Standing(1, "v1", "pid 1", 1, plan(2))
    assert follower.standing(FLOW) is follower.standing(FLOW), "what did not change is not read from its text again"
    leader.claim(FLOW, version="v2", holder="pid 2")
    assert follower.standing(FLOW) == Standing(2, "v2", "pid 2", 1, plan(2))


def test_a_takeover_fences_and_swaps_the_state(open_it: Open) -> None:
    """The old process can do nothing more; the new one goes on from its own files, and the old ones are a savepoint."""
    old, new = open_it(), open_it()
    history(old, 5)
    resume = heir(new)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: old.commit(FLOW, record(6), next_plan=plan(7)),
        lambda: old.replace_segments(FLOW, 1, [segment(1), segment(2)], segment(1, 2)),
    )
    for attempt in attempts:
        with pytest.raises(Fenced, match="new claimed the flow as generation 2"):
            attempt()

    assert resume == Resume(2, record(5, state=segment(5)), plan(6), BRANCH, state_epoch=4)
    assert new.segments(FLOW) == BRANCH
    assert new.standing(FLOW) == Standing(2, "v2", "new", 5, plan(6), branch=1)
    (kept,) = new.savepoints(FLOW)
    assert (kept.epoch, kept.version, kept.pinned) == (5, "v1", False)
    assert kept.segments == tuple(segment(epoch) for epoch in range(1, 6))
    assert "v2" in kept.why
    new.commit(FLOW, replace(record(6, 2, state=segment(5, 6)), version="v2"), next_plan=plan(7))
    assert new.claim(FLOW, version="v2", holder="x").state_epoch == 6
    assert new.flows()[0].generation == 3


def test_a_standby_takes_over_without_touching_the_state(ledger: Ledger) -> None:
    """A process whose state is that of the ledger brings none: files, branch and savepoints stay as they are."""
    history(ledger, 5)
    resume = ledger.take_over(FLOW, version="v1", holder="standby", takeover=Takeover(1, 6))

    assert resume.segments == tuple(segment(epoch) for epoch in range(1, 6))
    assert resume.state_epoch == 5
    assert ledger.standing(FLOW) == Standing(2, "v1", "standby", 5, plan(6))
    assert not ledger.savepoints(FLOW)


def test_a_standby_of_another_line_of_state_is_refused(ledger: Ledger) -> None:
    """Another version leads with a state of its own: a standby that has the one before must not go on from that."""
    history(ledger, 5)
    heir(ledger)
    with pytest.raises(FlowBusy, match="a takeover by version v2"):
        ledger.take_over(FLOW, version="v1", holder="standby", takeover=Takeover(2, 5, branch=0))

    assert ledger.standing(FLOW) == Standing(2, "v2", "new", 5, plan(6), branch=1)
    ledger.take_over(FLOW, version="v2", holder="standby", takeover=Takeover(2, 5, branch=1))


def test_a_takeover_of_a_flow_without_epochs_keeps_no_savepoint(ledger: Ledger) -> None:
    """Where nothing was committed there is no state to keep."""
    history(ledger, 0)
    resume = ledger.take_over(FLOW, version="v2", holder="new", takeover=Takeover(1, 1, 0, ()))

    assert resume == Resume(2, None, plan(1))
    assert not ledger.savepoints(FLOW)
    with pytest.raises(LedgerError, match="no epoch was committed"):
        ledger.savepoint(FLOW, why="test")


def test_a_changed_production_refuses_a_takeover(ledger: Ledger) -> None:
    """Where another generation leads than the one that was followed, nothing changes, and the error says who leads."""
    history(ledger, 5)
    ledger.claim(FLOW, version="v1.1", holder="pid 7 on b")
    before = ledger.standing(FLOW)
    with pytest.raises(FlowBusy, match=r"version v1\.1 \(pid 7 on b\) leads as generation 2") as caught:
        heir(ledger)
    with pytest.raises(LedgerError, match="generation 9 was never claimed"):
        heir(ledger, expected=9)

    assert "plan again" in str(caught.value)
    assert not caught.value.heals
    assert ledger.standing(FLOW) == before
    assert not ledger.savepoints(FLOW)


@pytest.mark.parametrize(
    ("takeover", "said"),
    [
        (Takeover(1, 7), "of epoch 7, the last committed is 5"),
        (Takeover(1, 5, 5, (segment(3), segment(2))), "2..2 does not come after epoch 3"),
        (Takeover(1, 5, 4, (segment(0, 5),)), "reaches to epoch 5, the state to 4"),
        (Takeover(1, 4, 5, (segment(0, 4),)), "state of epoch 5, after 4"),
        (Takeover(1, 6, 6, (segment(0, 6),)), "state of epoch 6, after 5"),
        (Takeover(1, 5, 4, (segment(1), segment(0, 4))), "0..4 does not come after epoch 1"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(ledger: Ledger, takeover: Takeover, said: str) -> None:
    """A takeover with a state of the future, or with files in disorder, changes nothing."""
    history(ledger, 5)
    with pytest.raises(LedgerError, match=said) as caught:
        ledger.take_over(FLOW, version="v2", holder="new", takeover=takeover)

    assert not caught.value.heals
    assert ledger.standing(FLOW) == Standing(1, "v1", "old", 5, plan(6))


def test_a_state_may_be_ahead_only_of_what_is_planned(ledger: Ledger) -> None:
    """The epoch that a follower ran ahead must be the planned one."""
    history(ledger, 4)
    ledger.commit(FLOW, record(5, state=segment(5)))
    with pytest.raises(LedgerError, match="planned is none"):
        ledger.take_over(FLOW, version="v2", holder="new", takeover=Takeover(1, 6, 4, BRANCH))
    ledger.plan(FLOW, 1, plan(6))
    assert ledger.take_over(FLOW, version="v2", holder="new", takeover=Takeover(1, 6, 4, BRANCH)).state_epoch == 4


def test_a_takeover_whose_answer_was_lost_is_done_once(ledger: Ledger) -> None:
    """The same takeover again is accepted, also after a plan; not after a commit, nor with another state."""
    history(ledger, 5)
    first = heir(ledger)
    assert heir(ledger) == first
    with pytest.raises(FlowBusy):
        heir(ledger, holder="another")
    with pytest.raises(FlowBusy):
        ledger.take_over(FLOW, version="v2", holder="new", takeover=Takeover(1, 5, 3, BRANCH[:1]))
    assert len(ledger.savepoints(FLOW)) == 1
    ledger.commit(FLOW, replace(record(6, 2), version="v2"), next_plan=plan(7))
    with pytest.raises(FlowBusy):
        heir(ledger)


def test_of_racing_takeovers_exactly_one_wins(open_it: Open) -> None:
    """Followers that take over at the same moment: one leads, the others are told that production has changed."""
    history(open_it(), 5)
    ledgers = [open_it(lock_timeout_ms=30_000) for _ in range(6)]
    won: list[str] = []
    lost: list[FlowBusy] = []

    def race(mine: Ledger, holder: str) -> None:
        try:
            heir(mine, holder=holder)
            won.append(holder)
        except FlowBusy as busy:
            lost.append(busy)

    threads = [threading.Thread(target=race, args=[mine, f"pid {n}"]) for n, mine in enumerate(ledgers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    standing = ledgers[0].standing(FLOW)

    assert len(won) == 1
    assert len(lost) == 5
    assert all(won[0] in str(busy) for busy in lost)
    assert standing == Standing(2, "v2", won[0], 5, plan(6), branch=1)
    assert len(ledgers[0].savepoints(FLOW)) == 1


def test_the_control_tables_remember_a_higher_generation(ledger: Ledger) -> None:
    """A takeover climbs over what the control tables know, as a claim does: sinks may have seen that generation."""
    history(ledger, 5)
    assert isinstance(ledger, SqlLedger)
    control = ledger._databases.control
    flows = ledger._databases.control_tables.flows
    control.write(lambda c: c.execute(sa.update(flows).values(generation=41)))
    resume = heir(ledger)

    assert resume.generation == 42
    assert heir(ledger) == resume


def test_savepoints_name_the_state_at_an_epoch(ledger: Ledger) -> None:
    """They come by epoch, keep what they were while the flow goes on and compacts, and go when they are let go."""
    history(ledger, 2)
    first = ledger.savepoint(FLOW, why="by hand \x00")
    ledger.commit(FLOW, record(3, state=segment(3)), next_plan=plan(4))
    second = ledger.savepoint(FLOW, why="a follower", pinned=True)
    ledger.replace_segments(FLOW, 1, [segment(1), segment(2), segment(3)], segment(0, 3))
    third = ledger.savepoint(FLOW, why="again")
    found = ledger.savepoints(FLOW)

    assert [savepoint.epoch for savepoint in found] == [2, 3, 3]
    assert {savepoint.id for savepoint in found} == {first.id, second.id, third.id}
    assert first in found
    assert first.segments == (segment(1), segment(2))
    assert (first.version, first.why, first.pinned) == ("v1", "by hand \\x00", False)
    assert second.pinned
    assert third.segments == (segment(0, 3),)
    ledger.drop_savepoints(FLOW, [first.id, "unknown"])
    assert [savepoint.epoch for savepoint in ledger.savepoints(FLOW)] == [3, 3]


def test_a_savepoint_may_be_kept_under_another_name(ledger: Ledger) -> None:
    """Whoever needs a savepoint for a while names its state once more, and it stays when the first name goes."""
    history(ledger, 2)
    first = ledger.savepoint(FLOW, why="now and then")
    ledger.commit(FLOW, record(3, state=segment(3)), next_plan=plan(4))
    again = ledger.savepoint(FLOW, why="an undo", pinned=True, of=first.id)
    ledger.drop_savepoints(FLOW, [first.id])

    assert ledger.savepoints(FLOW) == [again]
    assert replace(again, id=first.id, made_us=first.made_us, why=first.why, pinned=False) == first
    assert again.pinned
    with pytest.raises(LedgerError, match="there is no savepoint"):
        ledger.savepoint(FLOW, why="another undo", of=first.id)


def test_a_savepoint_says_whose_state_it_is(ledger: Ledger) -> None:
    """The state is of the version that committed it last, or brought it; not of one that claimed the flow and died."""
    history(ledger, 5)
    ledger.claim(FLOW, version="v9", holder="short-lived")
    assert ledger.savepoint(FLOW, why="test").version == "v1"
    heir(ledger, expected=2)
    interrupted = ledger.savepoint(FLOW, why="test")

    assert (interrupted.version, interrupted.epoch, interrupted.segments) == ("v2", 4, BRANCH)


def test_a_forgotten_flow_lets_its_followers_know(ledger: Ledger) -> None:
    """Savepoints go too, and the branch changes: what a follower holds is the state of nothing."""
    history(ledger, 3)
    ledger.savepoint(FLOW, why="test")
    ledger.forget_flow(FLOW)

    assert not ledger.savepoints(FLOW)
    assert ledger.standing(FLOW) == Standing(1, "v1", "old", 0, branch=1)


HOUR_US = 3_600_000_000


def at(hours: float, *, epoch: int = 0, pinned: bool = False) -> Savepoint:
    """A savepoint that was made so many hours after the beginning of time."""
    return Savepoint(f"{hours}", epoch, "v1", (), round(hours * HOUR_US), pinned=pinned)


def test_thinning_keeps_one_an_hour_and_the_newest_before() -> None:
    """All of the last hour stay, one of each hour before, the newest of those that are too old, and pinned ones."""
    made = [at(hours) for hours in (1.5, 2.2, 2.9, 10.1, 10.2, 10.9, 11.5, 19.1, 19.2, 19.3, 19.9)]
    pinned = [at(hours, pinned=True) for hours in (0.5, 2.95, 10.15)]

    assert sorted(thinned([*made, *pinned], 20 * HOUR_US, 10.5 * 3600)) == ["1.5", "10.2", "10.9", "2.2"]
    assert thinned([], 0, 0) == []
    assert thinned([at(1)], 100 * HOUR_US, 0) == []
    assert thinned([at(1), at(2)], 100 * HOUR_US, 0) == ["1"]


def test_thinning_again_and_again_keeps_what_it_kept() -> None:
    """Thinned every ten minutes over a day, one of each hour stays."""
    there: list[Savepoint] = []
    for minute in range(0, 24 * 60, 10):
        there.append(at(minute / 60))
        gone = set(thinned(there, there[-1].made_us, 100 * 3600))
        there = [savepoint for savepoint in there if savepoint.id not in gone]

    assert sorted({savepoint.made_us // HOUR_US for savepoint in there}) == list(range(24))
    assert len(there) <= 23 + 7


def test_an_undo_begins_from_the_nearest_state() -> None:
    """The savepoint to begin with is the last one at or before the epoch; the newest of several; none before all."""
    made = [at(3, epoch=5), at(1, epoch=5), at(2, epoch=9)]

    assert restore_point(made, 8) == made[0]
    assert restore_point(made, 9) == made[2]
    assert restore_point(made, 4) is None


def test_who_was_started_before_another_version_took_over_does_not_claim(ledger: Ledger) -> None:
    """It was to lead when the leader had died; meanwhile a deploy was cut. Its own version may go on at any time."""
    history(ledger, 5)
    heir(ledger)
    with pytest.raises(FlowBusy, match=r"version v2 \(new\) leads as generation 2") as caught:
        ledger.claim(FLOW, version="v1", holder="late", after=1)

    assert not caught.value.heals
    assert ledger.standing(FLOW) == Standing(2, "v2", "new", 5, plan(6), branch=1)
    assert ledger.claim(FLOW, version="v2", holder="late", after=1).generation == 3
    assert ledger.claim(FLOW, version="v1", holder="somebody", after=3).generation == 4
