"""A step that reads has another name in another version: it is the same input, whoever made the plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import penstock as ps
from penstock.connect import clear, memory_rows
from penstock.engine import Leader, Outcome, step_down
from penstock.errors import Fenced
from penstock.flow import Definition
from tests.engine.serving import SCHEMA, Place, write_rows

ROWS = [(number, number) for number in range(100)]


def version(number: int) -> Definition:
    """The first version reads `rows`, the second calls it `orders`, the third `sales`."""
    flow = ps.Flow("sums")
    name = {1: "rows", 2: "orders", 3: "sales"}[number]
    if number > 1:
        flow.renamed({2: "rows", 3: "orders"}[number], name)
    rows = flow.read(ps.topic("rows", schema=SCHEMA), name=name)
    totals = rows.group_by("key").agg(total=pl.col("amount").sum(), name="totals")
    totals.write(ps.table("out", key=["key"]), name="out")
    return flow.build()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The flow, with some rows."""
    sink = replace(ps.table("renamed", key=["key"]), kind="memory")
    made = Place(tmp_path, sink, build=version, renames=[{"rows": "orders"}, {"orders": "sales"}])
    write_rows(made.input, ROWS[:40])
    with closing(made):
        yield made
    clear("renamed")


def run(leader: Leader) -> None:
    """Lead until nothing waits."""
    while leader.step() is Outcome.RAN:
        pass


def check(upto: int) -> None:
    """So many rows had their effect, each once."""
    assert sorted(memory_rows("renamed").rows()) == ROWS[:upto]


@pytest.mark.parametrize("new", [2, 3])
def test_a_version_goes_on_where_one_with_other_names_was(place: Place, new: int) -> None:
    """A process that starts from a plan and records with the old names reads on, from there, and every row."""
    old = place.lead(1)
    run(old)
    write_rows(place.input, ROWS[40:50])
    plan = old.planner.plan(old.computation.last, {})
    assert plan is not None
    old.post.ledger.plan("sums", old.generation, plan)
    leader = place.lead(new)
    run(leader)
    check(50)
    write_rows(place.input, ROWS[50:60])
    run(place.lead(new))
    check(60)


def test_a_version_follows_its_own_plans(place: Place) -> None:
    """Its author's words on old names do not make it take its own names for others."""
    leader = place.lead(2)
    run(leader)
    follower = place.follow(2, leader.post.ledger.savepoint("sums", why="test", pinned=True).id)
    write_rows(place.input, ROWS[40:70])
    run(leader)
    while follower.step():
        pass
    run(place.take_over(follower))
    write_rows(place.input, ROWS[70:80])
    run(place.lead(2))
    check(80)


def test_the_old_version_follows_and_leads_after_the_new_one(place: Place) -> None:
    """Hidden, the old version reads the plans of two newer ones, though its author knew none of their names."""
    old = place.lead(1)
    run(old)
    new = place.take_over(place.follow(2, old.post.ledger.savepoint("sums", why="test", pinned=True).id))
    write_rows(place.input, ROWS[40:50])
    run(new)
    newer = place.take_over(place.follow(3, new.post.ledger.savepoint("sums", why="test", pinned=True).id))
    with pytest.raises(Fenced):
        run(old)
    hidden = step_down(old, place.spill())
    while hidden.step():
        pass
    write_rows(place.input, ROWS[50:60])
    run(newer)
    while hidden.step():
        pass
    write_rows(place.input, ROWS[60:80])
    run(place.take_over(hidden))
    check(80)
    run(place.lead(1))
    check(80)
