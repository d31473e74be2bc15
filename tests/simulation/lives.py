"""Lives of flows from seeds, and what each input row came to; which seeds to run is said by the environment."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator

import polars as pl

from penstock.testing.simulation.chance import Rates
from penstock.testing.simulation.run import Outcome, simulated
from tests.simulation.places import place_of
from tests.simulation.shapes import FILTERED, Story, drawn

__all__ = ["again", "lived", "problems_of", "rows_lost", "seeds"]


def seeds(count: int, first: int = 0) -> list[int]:
    """The seeds to run: so many, or the one of `PENSTOCK_SEED`."""
    given = os.environ.get("PENSTOCK_SEED")
    return [int(given)] if given else list(range(first, first + count))


def again(seed: int) -> str:
    """The command that lives a life again."""
    return f"PENSTOCK_SEED={seed} .venv/bin/python -m pytest tests/simulation -k life"


def lived(seed: int, *, shape: str | None = None, rates: Rates | None = None, steps: int = 120) -> Outcome:
    """The life of a seed; `rates`: with these faults instead of those that the seed draws."""
    story = drawn(seed, shape)
    return simulated(story.versions, story.inputs, seed=seed, rates=rates, steps=steps, target=place_of(seed))


def problems_of(seed: int) -> tuple[Outcome, list[str]]:
    """A life, and all that is wrong with it."""
    story, outcome = drawn(seed), lived(seed)
    return outcome, [*outcome.problems, *(() if outcome.problems else rows_lost(story, outcome))]


def rows_lost(story: Story, outcome: Outcome) -> Iterator[str]:
    """Each input row went on once, or was left out, or is a dead letter that nobody tried again."""
    is_lost = pl.col("step").eq("checked") & pl.col("status").is_in(["open", "dropped"])
    dead = outcome.dead.filter(is_lost).rows(named=True)
    there = Counter(outcome.tables["seen"]["id"].to_list())
    there.update(json.loads(row["payload"])["id"] for row in dead)
    for row in story.inputs["rows"].rows(named=True):
        times = there.pop(row["id"], 0)
        may_miss = story.filters and row["v"] == FILTERED
        if times != 1 and not (may_miss and times == 0):
            yield f"row {row['id']} went on, or is a dead letter, {times} times"
    if there:
        yield f"rows {sorted(there)} were never in the input"
