"""Results of windows grouped once more by their windows: each comes whole in one epoch, so nothing is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from penstock.analysis import StateLayout
from penstock.engine.batch import Batch, Epoch, Watermarks
from penstock.engine.operators.contract import Operator, Place
from penstock.engine.operators.windows import END, START, WindowedTop
from penstock.flow import ops

__all__ = ["SameWindowAggregate", "SameWindowTop"]


class SameWindowAggregate(Operator):
    """`group_by(keys).window(ps.same_window()).agg(...)`."""

    def __init__(self, place: Place, operation: ops.WindowAggregate) -> None:
        self._by = [*operation.keys, START, END]
        schema = place.result.schema
        self._aggregates = [
            expression.alias(name).cast(schema[name]) for name, expression in operation.aggregates.items()
        ]
        super().__init__(place)

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The aggregates of the windows that closed in this epoch."""
        return Batch(self._grouped(inputs[0].rows).select(self.place.result.schema.names()))

    def probe(self, rows: pl.DataFrame) -> None:
        """Compute the aggregates."""
        self._grouped(rows)

    def _grouped(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.group_by(self._by, maintain_order=True).agg(self._aggregates)


class SameWindowTop(WindowedTop):
    """`group_by(keys).window(ps.same_window()).top_n(...)`."""

    def __init__(self, place: Place, operation: ops.WindowTop) -> None:
        self._operation = replace(operation, keys=(*operation.keys, START))
        Operator.__init__(self, place)

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The first rows of the windows that closed in this epoch."""
        return Batch(self._first(inputs[0].rows, END))

    def layout(self) -> list[StateLayout]:
        """Nothing: it keeps no rows."""
        return []

    def closes_us(self) -> int | None:
        """Never by itself: it has results when the step before it has some."""
        return None
