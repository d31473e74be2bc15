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
from penstock.engine import Leader, Outcome, take_over
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
