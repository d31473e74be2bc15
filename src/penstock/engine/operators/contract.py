"""The contract of a stateful operator: a pure function of (its state, the rows of an epoch), and where its state goes.

An operator never looks at the clock, the disk or another operator. All that it remembers is in its tables; what changed
in an epoch is `changes`. The same state and rows give the same results, in any process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from penstock.analysis import StateLayout, StepFacts, reads_as
from penstock.engine.batch import Batch, Epoch, Watermarks, row_json
from penstock.engine.keyed import KeyedTable
from penstock.engine.operators.layouts import layout_of
from penstock.engine.timelog import TimeLog
from penstock.errors import MigrationFailed
from penstock.flow import Step
from penstock.ledger import TableChange, TableImage

__all__ = ["LAYOUT", "TIME", "Operator", "Place", "StateTable", "with_time"]

StateTable = KeyedTable | TimeLog

LAYOUT = "layout"
"""Under this name the stored state of a table says what is in it, as `StateLayout.as_json`."""
TIME = "__time"
"""The event time of a row as an integer of microseconds, while an operator works on it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operator stands in its flow: the step, the facts of its inputs, and those of its results."""

    step: Step
    inputs: tuple[StepFacts, ...]
    result: StepFacts

    @property
    def name(self) -> str:
        """The name of the step."""
        return self.step.name

    @property
    def schema(self) -> pl.Schema:
        """The columns of the rows that come in (the left ones of a join)."""
        return self.inputs[0].schema


@dataclass(slots=True)
class Operator(ABC):
    """One stateful step at work."""

    place: Place
    tables: list[StateTable] = field(default_factory=list)
    described: set[str] = field(default_factory=set)
    """The tables of which the stored state says what is in them."""

    @abstractmethod
    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The results of an epoch; changes the state in memory."""

    def probe(self, rows: pl.DataFrame) -> None:
        """Compute the author's expressions on rows, for nothing but the error that they may raise."""

    def layout(self) -> list[StateLayout]:
        """What is in its tables, for the comparison with another version of the flow."""
        return [layout_of(self.place.step, table) for table in self.tables]

    def changes(self) -> list[TableChange]:
        """What changed in the tables since the last call; the first change of a table says what is in it."""
        changes = (table.take_change() for table in self.tables)
        return [self._described(change) for change in changes if change is not None]

    def whole(self) -> list[TableChange]:
        """The tables as they are, each as the change that makes it out of nothing; what changed is told as before."""
        return [self._with_layout(table.whole()) for table in self.tables]

    def load(self, images: Mapping[str, TableImage]) -> None:
        """Take the state of the last committed epoch. Raises MigrationFailed where it says that it is another one."""
        own = {layout.table: layout for layout in self.layout()}
        for table in self.tables:
            if table.name in images:
                self._check(images[table.name], own[table.name])
                table.load(images[table.name])

    def _check(self, image: TableImage, layout: StateLayout) -> None:
        stored = image.scalars.get(LAYOUT)
        if stored is None:
            return
        if not reads_as(StateLayout.from_json(stored), layout):
            raise MigrationFailed(
                f"the state of step {self.place.name!r} was written by another version of the flow, which kept other "
                "columns in it, or others of the same name",
                step=self.place.name,
                state_left="nothing was changed",
                hint="deploy this version (penstock deploy FLOW), which migrates a copy; or begin again: "
                "penstock run FLOW --reset",
            )
        if stored == layout.as_json():
            self.described.add(image.name)

    def _described(self, change: TableChange) -> TableChange:
        if change.name in self.described:
            return change
        self.described.add(change.name)
        return self._with_layout(change)

    def _with_layout(self, change: TableChange) -> TableChange:
        (layout,) = (layout for layout in self.layout() if layout.table == change.name)
        return replace(change, scalars={**change.scalars, LAYOUT: layout.as_json()})

    def due_us(self) -> int | None:
        """A processing time at which this operator wants an epoch even where no rows come; None: it does not."""
        return None

    def closes_us(self) -> int | None:
        """The next event time at which it has results to give even where no rows come; None: there is none."""
        return None

    @property
    def holds_us(self) -> int:
        """How far behind its watermark the event time of its results may be: the steps after it see it so much later.

        Without it, a window after a join would take the join's results for late.
        """
        return 0

    @property
    def state_rows(self) -> int:
        """How many rows are remembered."""
        return sum(len(table) for table in self.tables)


def with_time(rows: pl.DataFrame, column: str, step: str, epoch: Epoch) -> pl.DataFrame:
    """Rows with their event time as `__time`; rows without one become dead letters: no window could take them."""
    timed = rows.with_columns(pl.col(column).dt.epoch("us").alias(TIME))
    if timed[TIME].null_count():
        for row in rows.filter(timed[TIME].is_null()).iter_rows(named=True):
            epoch.dead_row(step, f"no event time: column {column!r} is null", row_json(row))
        timed = timed.filter(pl.col(TIME).is_not_null())
    return timed
