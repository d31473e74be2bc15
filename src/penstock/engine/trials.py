"""Trials of a new version: some of its epochs are run twice more, and the steps that give other rows are named.

An epoch runs again after a crash, in a follower and in an undo, and has to come to the same. Here it runs by two
programs that remember nothing, so a trial copies no state and costs what the epoch's own rows cost; what shows only in
state that is old already is for `penstock chaos` to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from polars import selectors

from penstock.analysis import Analysis
from penstock.clock import epoch_time
from penstock.connect import only_in
from penstock.engine.batch import Batch, Epoch
from penstock.engine.program import Program
from penstock.engine.reading import Reads, rows_of
from penstock.flow import Definition
from penstock.ledger import EpochPlan

__all__ = ["Trials"]

EVERY_EPOCHS = 16
"""Of so many epochs one has a trial: a follower that is behind must not lose much time by them."""
TOLERANCE = 1e-9
"""How far apart floats may be, relative to their size: sums of the same numbers in another order differ in the end."""

Given = Mapping[str, tuple[pl.DataFrame, ...]]
"""By step: its rows, and those that it takes back."""


class Trials:
    """The trials of one process. `epochs`: how many there were; `steps`: those that gave other rows, in their order."""

    def __init__(self, definition: Definition, analysis: Analysis, version: str) -> None:
        self.epochs = 0
        self.steps: tuple[str, ...] = ()
        self._definition = definition
        self._analysis = analysis
        self._version = version
        self._next = 0

    def look(
        self, plan: EpochPlan, reads: Reads, before: Mapping[str, int | None], after: Mapping[str, int | None]
    ) -> None:
        """Run an epoch with rows twice, where it is time for a trial."""
        if plan.epoch < self._next or not any(part.frame.height for parts in reads.values() for part in parts):
            return
        self._next = plan.epoch + EVERY_EPOCHS
        first, second = (self._given(plan, reads, before, after) for _ in range(2))
        other = {name for name in {*first, *second} if _differ(first.get(name, ()), second.get(name, ()))}
        steps = self._definition.steps
        found = {step.name for step in steps if step.name in other and not other & {*step.inputs}}
        self.epochs += 1
        self.steps = tuple(step.name for step in steps if step.name in {*self.steps, *found})

    def facts(self) -> dict[str, Any]:
        """What is known, as JSON values."""
        return {"epochs": self.epochs, "steps": list(self.steps)}

    def _given(
        self, plan: EpochPlan, reads: Reads, before: Mapping[str, int | None], after: Mapping[str, int | None]
    ) -> Given:
        """What each step gives, up to one that fails: where it fails once only, it gives other rows the other time."""
        found: dict[str, tuple[pl.DataFrame, ...]] = {}

        def watch(step: str, batch: Batch) -> None:
            found[step] = (batch.rows,) if batch.retracted is None else (batch.rows, batch.retracted)

        program = Program(self._definition, self._analysis)
        program.watcher = watch
        epoch = Epoch(plan.epoch, plan.now_us, plan.seed, self._version)
        try:
            with epoch_time(plan.now_us, plan.seed):
                program.run(rows_of(reads, plan, self._analysis, epoch), before, after, epoch)
        except Exception:
            return found
        return found


def _differ(one: tuple[pl.DataFrame, ...], other: tuple[pl.DataFrame, ...]) -> bool:
    return len(one) != len(other) or any(_is_other(*frames) for frames in zip(one, other, strict=True))


def _is_other(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Whether rows differ as multisets, of floats more than by rounding."""
    if one.height != other.height:
        return True
    if one.equals(other):
        return False
    exact, rounded = ~selectors.float(), selectors.float()
    if only_in(one.select(exact), other.select(exact)).height:
        return True
    columns = zip(one.select(rounded).iter_columns(), other.select(rounded).iter_columns(), strict=True)
    return any(_is_far(left, right) for left, right in columns)


def _is_far(one: pl.Series, other: pl.Series) -> bool:
    """Whether two columns differ, in any order, by more than rounding."""
    left, right = one.sort(), other.sort()
    if left.null_count() != right.null_count():
        return True
    largest = pl.select(pl.max_horizontal(left.abs(), right.abs())).to_series()
    return bool(((left != right) & ((left - right).abs() > TOLERANCE * largest)).any())
