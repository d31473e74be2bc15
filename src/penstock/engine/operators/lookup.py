"""Stream-table join: the last row of each key of the table in a keyed table, looked up for each row of the stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from penstock.engine.batch import Batch, Epoch, Watermarks
from penstock.engine.index import ABSENT
from penstock.engine.keyed import KeyedTable
from penstock.engine.operators.contract import Operator, Place
from penstock.flow import ops

__all__ = ["LookedUp"]


class LookedUp(Operator):
    """`stream.join(table, on=...)`. The table's rows of an epoch are seen by the stream's rows of that epoch."""

    def __init__(self, place: Place, operation: ops.Lookup) -> None:
        self._operation = operation
        right = place.inputs[1].schema
        self._right_keys = [name for _, name in operation.on]
        key = {name: right[name] for name in self._right_keys}
        values = {name: dtype for name, dtype in right.items() if name not in key}
        self._table = KeyedTable(place.name, key, values)
        taken = set(place.schema.names())
        self._shown = {name: f"{name}{operation.suffix}" if name in taken else name for name in values}
        super().__init__(place, [self._table])

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The stream's rows with what the table has for them."""
        rows, table = inputs[0].rows, inputs[1].rows
        if table.height:
            latest = table.unique(self._right_keys, keep="last", maintain_order=True)
            self._table.upsert(latest.select(self._table.schema.names()))
        schema = self.place.result.schema
        if rows.is_empty():
            return Batch(schema.to_frame())
        keys = rows.select(pl.col(left).alias(right) for left, right in self._operation.on)
        slots = self._table.find(keys)
        # As in SQL, a null key has no partner.
        there = (slots != ABSENT) & ~keys.select(pl.any_horizontal(pl.all().is_null())).to_series().to_numpy()
        how = self._operation.how
        if how in ("semi", "anti"):
            return Batch(rows.filter(pl.Series(there if how == "semi" else ~there, dtype=pl.Boolean)))
        found = self._table.gather(slots[there], tuple(self._shown)).rename(self._shown)
        if how == "inner":
            rows = rows.filter(pl.Series(there, dtype=pl.Boolean))
        elif not there.all():
            positions = pl.Series(np.where(there, np.cumsum(there) - 1, -1))
            positions = positions.replace(-1, None).cast(pl.UInt32)
            found = found.select(pl.all().gather(positions)) if found.height else _nulls(found.schema, rows.height)
        return Batch(pl.concat([rows, found], how="horizontal").select(schema.names()))


def _nulls(schema: pl.Schema, height: int) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series([None] * height, dtype=dtype) for name, dtype in schema.items()})
