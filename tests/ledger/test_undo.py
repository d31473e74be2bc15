"""Epochs that are written anew, in SQLite and PostgreSQL: nothing is committed in between, the old stays readable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from penstock.errors import Fenced, FlowBusy, LedgerError
from penstock.ledger import (
    EpochPlan,
    EpochRecord,
    Ledger,
    Resume,
    Rewrite,
    Savepoint,
    SegmentRef,
    Standing,
    Takeover,
    without_undone,
)
from tests.ledger.facts import FLOW, Open, history, letter, plan, record, segment

BRANCH = (SegmentRef(0, 4, "good-whole.state", 1, 1), SegmentRef(5, 6, "good-5-6.state", 1, 1))


def rewrite(first: int = 3, *, id_: str = "undo-1", savepoint: str = "s") -> Rewrite:
    """An undo to version v0 of the epochs from `first` on."""
    return Rewrite(id_, first, 0, "v0", savepoint, "wrong tax")


def begin(ledger: Ledger, asked: Rewrite, *, expected: int = 1, holder: str = "good") -> Resume:
    """The good version takes over to write anew."""
    return ledger.take_over(FLOW, version="v0", holder=holder, takeover=Takeover(expected, 7, rewrite=asked))


def good(first: int, last: int, generation: int = 2) -> list[EpochRecord]:
    """What the good version makes of the same epochs."""
    return [replace(record(epoch, generation), version="v0", rows_late=0) for epoch in range(first, last + 1)]


@pytest.fixture
def undoing(ledger: Ledger) -> Ledger:
    """A flow of six epochs with a dead letter each; epochs from 3 on are being written anew."""
    history(ledger, 6, dead=True)
    begin(ledger, rewrite())
    return ledger


def test_a_takeover_to_write_anew_leaves_the_state(ledger: Ledger) -> None:
    """The old process is fenced, the live files stay, and the ledger says up to which epoch is to be written anew."""
    history(ledger, 6)
    resume = begin(ledger, rewrite())
    effective = replace(rewrite(), upto=6)

    assert resume.rewrite == effective
    assert resume.segments == tuple(segment(epoch) for epoch in range(1, 7))
    assert ledger.standing(FLOW) == Standing(2, "v0", "good", 6, plan(7), rewrite=effective)
    assert begin(ledger, rewrite()) == resume, "an answer may be lost"
    assert not ledger.savepoints(FLOW)


def test_the_savepoint_of_an_undo_stays_until_its_end(ledger: Ledger) -> None:
    """Whoever finishes the undo begins there; nobody's tidying takes it away before."""
    history(ledger, 6)
    start = ledger.savepoint(FLOW, why="now and then")
    begin(ledger, replace(rewrite(), savepoint=start.id))
    ledger.drop_savepoints(FLOW, [start.id])
    assert ledger.savepoints(FLOW) == [start]
    ledger.finish_rewrite(FLOW, 2, replace(rewrite(), savepoint=start.id, upto=6), good(3, 6), BRANCH)
    ledger.drop_savepoints(FLOW, [start.id])
    assert not ledger.savepoints(FLOW)


def test_nothing_is_committed_while_epochs_are_written_anew(undoing: Ledger) -> None:
    """A commit is refused until the undo is finished, also one of the process that undoes."""
    with pytest.raises(LedgerError, match="an undo is under way") as caught:
        undoing.commit(FLOW, record(7, 2), next_plan=plan(8))

    assert not caught.value.heals
    assert len(undoing.epochs(FLOW)) == 6


def test_whoever_claims_meanwhile_learns_of_it(undoing: Ledger) -> None:
    """A claim gives the unfinished undo with its last epoch, and the claimant finishes it."""
    resume = undoing.claim(FLOW, version="v0", holder="heir")
    assert resume.rewrite == replace(rewrite(), upto=6)
    assert resume.rewrite is not None
    with pytest.raises(Fenced):
        undoing.finish_rewrite(FLOW, 2, resume.rewrite, good(3, 6), BRANCH)
    undoing.finish_rewrite(FLOW, 3, resume.rewrite, good(3, 6, 3), BRANCH)

    assert [found.generation for found in undoing.epochs(FLOW)] == [1, 1, 3, 3, 3, 3]


def test_the_end_of_an_undo_changes_everything_at_once(undoing: Ledger) -> None:
    """New records, files and letters are there, the old records are put aside, and the next epoch's plan stays."""
    before = undoing.epochs(FLOW, first=3)
    effective = replace(rewrite(), upto=6)
    undoing.finish_rewrite(FLOW, 2, effective, good(3, 6), BRANCH, dead=[letter(5, 50)])

    assert undoing.epochs(FLOW) == [*(record(epoch, state=segment(epoch)) for epoch in (1, 2)), *good(3, 6)]
    assert undoing.undone_epochs(FLOW) == [(effective, old) for old in before]
    assert undoing.standing(FLOW) == Standing(2, "v0", "good", 6, plan(7), branch=1, undos=1)
    letters = [(found.epoch, found.status, found.version) for found in undoing.dead_letters(FLOW)]
    assert letters == [
        (1, "open", "v1"),
        (2, "open", "v1"),
        *((epoch, "undone", "v1") for epoch in (3, 4, 5, 6)),
        (5, "open", "v0"),
    ]
    assert undoing.count_dead_letters(FLOW) == 7
    assert undoing.savepoint(FLOW, why="test").version == "v0"
    undoing.commit(FLOW, replace(record(7, 2, state=segment(7)), version="v0"), next_plan=plan(8))
    assert undoing.claim(FLOW, version="v0", holder="x") == Resume(
        3, replace(record(7, 2, state=segment(7)), version="v0"), plan(8), (*BRANCH, segment(7)), state_epoch=7, undos=1
    )


def test_an_undo_that_has_ended_may_be_told_again(undoing: Ledger) -> None:
    """The same end again is accepted, whether epochs followed or not; another undo is not mistaken for it."""
    effective = replace(rewrite(), upto=6)
    for _ in range(2):
        undoing.finish_rewrite(FLOW, 2, effective, good(3, 6), BRANCH, dead=[letter(5, 50)])
    undoing.commit(FLOW, record(7, 2), next_plan=plan(8))
    undoing.finish_rewrite(FLOW, 2, effective, good(3, 6), BRANCH, dead=[letter(5, 50)])
    with pytest.raises(LedgerError, match="none is under way"):
        undoing.finish_rewrite(FLOW, 2, replace(effective, id="other"), good(3, 6), BRANCH)

    assert undoing.count_dead_letters(FLOW) == 7
    assert len(undoing.undone_epochs(FLOW)) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda records: records[:-1], r"must bring the epochs 3\.\.6, each once and in order, not 3\.\.5"),
        (lambda records: records[1:], r"not 4\.\.6"),
        (lambda records: [records[1], records[0], *records[2:]], "in order"),
        (lambda _: [], "not none"),
        (
            lambda records: [*records[:-1], replace(records[-1], plan=plan(6, upto=61))],
            "epoch 6 was run on other ranges",
        ),
        (lambda records: [replace(records[0], generation=1), *records[1:]], "not all of generation 2"),
    ],
)
def test_an_undo_covers_exactly_its_epochs(
    undoing: Ledger, change: Callable[[Sequence[EpochRecord]], Sequence[EpochRecord]], said: str
) -> None:
    """Each epoch once, in order, on the same input: anything else is refused, and nothing is changed."""
    effective = replace(rewrite(), upto=6)
    with pytest.raises(LedgerError, match=said) as caught:
        undoing.finish_rewrite(FLOW, 2, effective, change(good(3, 6)), BRANCH)

    assert not caught.value.heals
    assert [found.version for found in undoing.epochs(FLOW)] == ["v1"] * 6
    assert not undoing.undone_epochs(FLOW)


def test_an_undo_with_files_of_another_epoch_is_refused(undoing: Ledger) -> None:
    """The state that it brings is that of the last epoch written anew."""
    with pytest.raises(LedgerError, match="reaches to epoch 7, the state to 6"):
        undoing.finish_rewrite(FLOW, 2, replace(rewrite(), upto=6), good(3, 6), (segment(0, 7),))
    with pytest.raises(LedgerError, match="the one that is under way is undo-1"):
        undoing.finish_rewrite(FLOW, 2, replace(rewrite(id_="x"), upto=6), good(3, 6), BRANCH)


def test_savepoints_of_the_undone_history_go(ledger: Ledger) -> None:
    """Those before the first epoch written anew stay, and the one that the undo began from."""
    history(ledger, 2)
    start = ledger.savepoint(FLOW, why="start")
    for epoch in range(3, 7):
        ledger.commit(FLOW, record(epoch, state=segment(epoch)), next_plan=plan(epoch + 1))
        ledger.savepoint(FLOW, why="later", pinned=epoch == 5)
    resume = begin(ledger, rewrite(savepoint=start.id))
    assert resume.rewrite is not None
    ledger.finish_rewrite(FLOW, 2, resume.rewrite, good(3, 6), BRANCH)

    assert ledger.savepoints(FLOW) == [start]


def test_undos_are_listed_oldest_first(undoing: Ledger) -> None:
    """Two undos of the same epochs leave both old records, and each can be asked for."""
    undoing.finish_rewrite(FLOW, 2, replace(rewrite(), upto=6), good(3, 6), BRANCH)
    second = begin(undoing, rewrite(5, id_="a-second"), expected=2, holder="better").rewrite
    assert second is not None
    undoing.finish_rewrite(FLOW, 3, second, good(5, 6, 3), BRANCH)

    assert [(undo.id, found.epoch) for undo, found in undoing.undone_epochs(FLOW)] == [
        *(("undo-1", epoch) for epoch in (3, 4, 5, 6)),
        *(("a-second", epoch) for epoch in (5, 6)),
    ]
    assert [found.version for _, found in undoing.undone_epochs(FLOW, rewrite="a-second")] == ["v0", "v0"]
    assert not undoing.undone_epochs(FLOW, rewrite="unknown")
    assert not undoing.undone_epochs("ghost")


def test_an_undo_of_no_epoch_ends_too(ledger: Ledger) -> None:
    """Where only the planned epoch is to be run anew there are no records, and the end is remembered all the same."""
    history(ledger, 6)
    resume = begin(ledger, rewrite(7))
    assert resume.rewrite == replace(rewrite(7), upto=6)
    assert resume.rewrite is not None
    for _ in range(2):
        ledger.finish_rewrite(FLOW, 2, resume.rewrite, [], BRANCH)

    assert ledger.standing(FLOW) == Standing(2, "v0", "good", 6, plan(7), branch=1, undos=1)


def test_an_epoch_that_is_not_there_is_not_undone(ledger: Ledger) -> None:
    """Refused before anything is fenced, with the epochs that can be undone."""
    history(ledger, 6)
    with pytest.raises(LedgerError, match="8 is not there yet") as caught:
        begin(ledger, rewrite(8))

    assert "from 0 to 6" in str(caught.value)
    assert ledger.standing(FLOW) == Standing(1, "v1", "old", 6, plan(7))


def test_nothing_is_rolled_up_while_epochs_are_written_anew(undoing: Ledger) -> None:
    """A roll-up waits for the end of an undo, so that Parquet files hold facts only."""
    assert undoing.roll_up(FLOW, 5) == 0
    undoing.finish_rewrite(FLOW, 2, replace(rewrite(), upto=6), good(3, 6), BRANCH)
    assert undoing.roll_up(FLOW, 5) == 4
    assert [found.version for found in undoing.epochs(FLOW)] == ["v1", "v1", *["v0"] * 4]


def test_another_undo_takes_the_place_of_one_that_does_not_end(undoing: Ledger) -> None:
    """Only where it reaches at least as far back: some sinks may have been written anew from there on."""
    with pytest.raises(LedgerError, match="the undo undo-1 is under way"):
        begin(undoing, rewrite(4, id_="later"), expected=2, holder="third")
    resume = begin(undoing, rewrite(2, id_="earlier"), expected=2, holder="third")

    assert resume.rewrite == replace(rewrite(2, id_="earlier"), upto=6)


def test_a_deploy_waits_for_an_undo(undoing: Ledger) -> None:
    """A version with its own state, of the history that is taken back, can't take over; a standby can, and finishes."""
    with pytest.raises(LedgerError, match="the undo undo-1 is under way"):
        undoing.take_over(FLOW, version="v2", holder="new", takeover=Takeover(2, 6, 6, (segment(0, 6),)))
    resume = undoing.take_over(FLOW, version="v0", holder="standby", takeover=Takeover(2, 6))

    assert resume.rewrite == replace(rewrite(), upto=6)


def test_who_followed_the_undone_history_can_not_take_over(undoing: Ledger) -> None:
    """A follower that did not see the undo end is refused, though the same generation leads."""
    undoing.finish_rewrite(FLOW, 2, replace(rewrite(), upto=6), good(3, 6), BRANCH)
    late = Takeover(2, 6, 6, (segment(0, 6),), undos=0)
    with pytest.raises(FlowBusy, match=r"an undo of version v0 \(good\) has ended since"):
        undoing.take_over(FLOW, version="v1", holder="hidden", takeover=late)
    assert undoing.take_over(FLOW, version="v1", holder="hidden", takeover=replace(late, undos=1)).generation == 3


def test_another_process_sees_the_end_of_an_undo(open_it: Open) -> None:
    """Who looks at the standing sees an undo begin and end."""
    leader, follower = open_it(), open_it()
    history(leader, 6)
    begin(leader, rewrite())
    looked = follower.standing(FLOW)
    assert looked is not None
    assert looked.rewrite == replace(rewrite(), upto=6)
    leader.finish_rewrite(FLOW, 2, replace(rewrite(), upto=6), good(3, 6), BRANCH)
    looked = follower.standing(FLOW)
    assert looked is not None
    assert (looked.rewrite, looked.undos) == (None, 1)


def test_a_plan_runs_again_without_letters_of_undone_epochs() -> None:
    """Rows of undone epochs are processed again where they came from: another try as well would count them twice."""
    entries = [{"letter": n, "epoch": epoch, "step": "clean", "payload": "{}"} for n, epoch in ((1, 2), (2, 3), (3, 5))]
    taken = EpochPlan(6, {}, 0, 0, redrive=entries)

    assert without_undone(taken, 3).redrive == (entries[0],)
    assert without_undone(taken, 6) is taken
    assert without_undone(plan(6), 1) is not None


def test_a_savepoint_while_an_undo_is_under_way_is_of_the_live_files(undoing: Ledger) -> None:
    """It is of the history that goes, and goes with it."""
    made: Savepoint = undoing.savepoint(FLOW, why="test")
    assert made.epoch == 6
    undoing.finish_rewrite(FLOW, 2, replace(rewrite(), upto=6), good(3, 6), BRANCH)
    assert not undoing.savepoints(FLOW)
