"""Trials of a new version: which steps give other rows when an epoch runs again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import analyse
from penstock.clock import seeded
from penstock.connect import PartitionRead
from penstock.engine.trials import EVERY_EPOCHS, Trials
from penstock.ledger import EpochPlan

SCHEMA = {"key": pl.Int64, "amount": pl.Float64}


def trials_of(score: Callable[[dict[str, Any]], dict[str, Any]]) -> Trials:
    """A flow with a function of an author between two steps that are beyond doubt."""
    flow = ps.Flow("scores")
    rows = flow.read(ps.topic("rows", schema=SCHEMA), name="rows")
    scored = rows.map(score, schema={**SCHEMA, "score": pl.Float64}, name="scored")
    totals = scored.group_by("key").agg(total=pl.col("score").sum(), name="totals")
    totals.write(ps.table("out", key="key"), name="out")
    definition = flow.build()
    return Trials(definition, analyse(definition, {"rows": pl.Schema(SCHEMA)}), "v2")


def look(trials: Trials, epoch: int = 1, rows: int = 100) -> None:
    """An epoch with so many rows."""
    frame = pl.DataFrame({"key": [number % 7 for number in range(rows)], "amount": [1.5] * rows}, schema=SCHEMA)
    plan = EpochPlan(epoch, {"rows": {"start": {}, "end": {"p": epoch}}}, 1_000_000 * epoch, epoch)
    trials.look(plan, {"rows": [PartitionRead("p", frame)]}, {"rows": None}, {"rows": None})


def scored(number: Callable[[], float]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A row with a number that comes from somewhere."""
    return lambda row: {**row, "score": row["amount"] * number()}


@pytest.fixture
def chance() -> Iterator[None]:
    """The module's own chance, from a seed."""
    known = random.getstate()
    random.seed(20_261_210)
    yield
    random.setstate(known)


def test_a_flow_that_gives_the_same_again_is_told_so() -> None:
    """Chance and time of the epoch are the same when it runs again, so they may be used."""
    trials = trials_of(scored(lambda: ps.epoch_random().random()))
    look(trials)
    assert trials.facts() == {"epochs": 1, "steps": []}


@pytest.mark.usefixtures("chance")
def test_a_step_that_asks_chance_is_named() -> None:
    """It alone: what comes after it differs because of it."""
    trials = trials_of(scored(random.random))
    look(trials)
    assert trials.facts() == {"epochs": 1, "steps": ["scored"]}


def test_a_step_that_fails_now_and_then_is_named() -> None:
    """The rows that it can't take are others when it runs again."""
    calls = count()

    def fails() -> float:
        if next(calls) < 150:
            raise ValueError
        return 1.0

    trials = trials_of(scored(fails))
    look(trials)
    assert trials.steps == ("scored",)


def test_rounding_is_no_difference() -> None:
    """Sums of the same floats may end in another digit."""
    noise = seeded(1)
    trials = trials_of(scored(lambda: 1 + noise.random() * 1e-13))
    look(trials)
    assert trials.steps == ()


def test_few_epochs_have_a_trial_and_none_without_rows() -> None:
    """So a version that is behind catches up nearly as fast as without."""
    trials = trials_of(scored(lambda: 1.0))
    look(trials, 1, rows=0)
    for epoch in range(2, 2 + 2 * EVERY_EPOCHS):
        look(trials, epoch)
    assert trials.epochs == 2
