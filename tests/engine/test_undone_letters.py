"""Dead letters that wait for another try while an undo takes back the epochs in which they fell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import penstock as ps
from penstock.connect import clear, memory_rows
from penstock.engine import Leader, Outcome, step_down, take_over
from penstock.errors import Fenced, LedgerError
from penstock.flow import Definition
from penstock.ledger import BEGINNING, Rewrite
from tests.engine.serving import SCHEMA, Place, write_rows


class Killed(BaseException):
    """Stands for `kill -9` at a point: nothing catches it."""


def refuse_nine(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises on a key."""
    if row["key"] == 9:
        raise ValueError("nine")
    return row


def version(number: int) -> Definition:
    """The first version can't take a key, the second can."""
    flow = ps.Flow("sums")
    rows = flow.read(ps.topic("rows", schema=SCHEMA), name="rows")
    if number == 1:
        rows = rows.map(refuse_nine, schema=SCHEMA, name="checked")
    rows.write(ps.table("out"), name="out")
    return flow.build()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Some rows, two of which the first version can't take."""
    made = Place(tmp_path, replace(ps.table("letters"), kind="memory"), build=version)
    write_rows(made.input, [(key, 1) for key in (1, 9, 2, 9)])
    with closing(made):
        yield made
    clear("letters")


def run(leader: Leader) -> None:
    """Lead until nothing waits."""
    while leader.step() is Outcome.RAN:
        pass


def test_who_left_out_letters_takes_over_for_an_undo_only(place: Place) -> None:
    """A process that began for an undo has the state of a history in which nobody tried them again."""
    leader = place.lead(1)
    run(leader)
    ledger = leader.post.ledger
    undoing = place.follow(2, BEGINNING.id, record_from=1)
    ids = [letter.id for letter in ledger.dead_letters("sums") if letter.id is not None]
    ledger.request_redrive("sums", [(id_, None) for id_ in ids])
    leader.plan = leader.planner.redrive(leader.computation.last, ledger.waiting_redrives("sums"))
    ledger.plan("sums", leader.generation, leader.plan)
    leader.step()
    while undoing.step():
        pass
    with pytest.raises(LedgerError, match="left out letters"):
        place.take_over(undoing)
    assert place.take_over(place.follow(2, BEGINNING.id)).generation == leader.generation + 1


def test_who_followed_hidden_meets_letters_in_its_undo(place: Place) -> None:
    """The last epoch gave letters another try, and the old version had not run it when it took everything back."""
    good = place.lead(1)
    run(good)
    savepoint = good.post.ledger.savepoint("sums", why="test", pinned=True)
    bad = place.take_over(place.follow(1, savepoint.id))
    with pytest.raises(Fenced):
        good.post.ledger.plan("sums", good.generation, good.planner.redrive(good.computation.last, []))
    hidden = step_down(good, place.spill())
    write_rows(place.input, [(9, 1), (4, 1)])
    run(bad)
    while hidden.step():
        pass
    ledger = bad.post.ledger
    ids = [letter.id for letter in ledger.dead_letters("sums") if letter.epoch > savepoint.epoch and letter.id]
    ledger.request_redrive("sums", [(id_, None) for id_ in ids])
    bad.plan = bad.planner.redrive(bad.computation.last, ledger.waiting_redrives("sums"))
    ledger.plan("sums", bad.generation, bad.plan)
    bad.step()
    assert ledger.epochs("sums")[-1].plan.redrive

    rewrite = Rewrite("undo-1", savepoint.epoch + 1, 0, "v1", savepoint.id)
    leader, _ = take_over(hidden, holder="hidden", expected=bad.generation, rewrite=rewrite)
    write_rows(place.input, [(5, 1)])
    run(leader)
    assert sorted(memory_rows("letters")["key"]) == [1, 2, 4, 5]
    assert [letter.status for letter in ledger.dead_letters("sums")].count("open") == 3


@pytest.mark.parametrize("dies", [False, True])
def test_an_undo_takes_letters_out_of_the_plan_of_the_next_epoch(place: Place, *, dies: bool) -> None:
    """They were planned for another try; their rows are processed where they fell, and the flow goes on."""

    def probe(point: str, _epoch: int) -> None:
        if dies and point == "rewritten":
            raise Killed

    bad = place.lead(1)
    run(bad)
    ledger = bad.post.ledger
    right = place.follow(2, BEGINNING.id, probe, record_from=1)
    while right.step():
        pass
    ids = [letter.id for letter in ledger.dead_letters("sums") if letter.id is not None]
    ledger.request_redrive("sums", [(id_, None) for id_ in ids])
    plan = bad.planner.redrive(bad.computation.last, ledger.waiting_redrives("sums"))
    ledger.plan("sums", bad.generation, plan)

    rewrite = Rewrite("undo-1", 1, 0, "v2", BEGINNING.id)
    try:
        leader, _ = take_over(right, holder="right", expected=bad.generation, rewrite=rewrite)
    except Killed:
        leader = place.lead(2)
    write_rows(place.input, [(3, 1)])
    run(leader)
    assert sorted(memory_rows("letters")["key"]) == [1, 2, 3, 9, 9]
    assert {letter.status for letter in ledger.dead_letters("sums")} == {"undone"}
