"""Deduplication: the keys that were seen, with the time of the row that counted, in a keyed table that forgets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from penstock.analysis import StateFact, StateLayout
from penstock.engine.batch import Batch, Epoch, Watermarks
from penstock.engine.expiry import NEVER_US
from penstock.engine.index import ABSENT
from penstock.engine.keyed import KeyedTable
from penstock.engine.operators.contract import TIME, Operator, Place, with_time
from penstock.engine.operators.layouts import duration_fact, layout_of
from penstock.engine.operators.windows import punctual
from penstock.engine.timelog import EXPIRES
from penstock.flow import ops

__all__ = ["Deduplicated"]

SEEN = "__seen"


class Deduplicated(Operator):
    """`deduplicate(keys, within=...)`.

    The first row of a key counts; a row of the same key up to `within` after it is a repeat and is dropped; one later
    than that counts again. A row that is behind the watermark by `within` is late. A key is remembered until the
    watermark has passed its row by twice `within`: rows up to `within` behind the watermark still come, and each may be
    a repeat of a row that is `within` older.
    """

    def __init__(self, place: Place, operation: ops.Deduplicate) -> None:
        self._keys = list(operation.keys)
        self._within_us = operation.within_us
        self._event_time = place.inputs[0].event_time
        key = {name: place.schema[name] for name in self._keys}
        self._table = KeyedTable(place.name, key, {SEEN: pl.Int64()}, expiring=self._within_us is not None)
        super().__init__(place, [self._table])

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The rows that are no repeats."""
        rows = inputs[0].rows
        result = self._for_ever(rows) if self._within_us is None else self._within(rows, marks, epoch)
        if self._within_us is not None and marks.after_us is not None:
            self._table.delete(self._table.due(marks.after_us))
        return Batch(result)

    def layout(self) -> list[StateLayout]:
        """The keys that were seen. Those that are remembered for ever have no time that one could go by."""
        within_us = self._within_us
        facts = [duration_fact("within", within_us, "structure" if within_us is None else "time")]
        if within_us is None:
            return [layout_of(self.place.step, self._table, facts=facts)]
        facts.append(StateFact("event time", self._event_time, "meaning"))
        base, after_us = SEEN, 2 * within_us
        return [layout_of(self.place.step, self._table, facts=facts, expires_base=base, expires_after_us=after_us)]

    def _for_ever(self, rows: pl.DataFrame) -> pl.DataFrame:
        first = rows.unique(self._keys, keep="first", maintain_order=True)
        found = self._table.find(first)
        fresh = first.filter(pl.Series(found == ABSENT, dtype=pl.Boolean))
        self._table.upsert(fresh.select(*self._keys, pl.lit(0, pl.Int64).alias(SEEN)))
        return fresh

    def _within(self, rows: pl.DataFrame, marks: Watermarks, epoch: Epoch) -> pl.DataFrame:
        within_us, event_time = self._within_us, self._event_time
        assert within_us is not None
        assert event_time is not None
        timed = with_time(rows, event_time, self.place.name, epoch)
        timed = timed.with_columns((pl.col(TIME) + within_us).alias(EXPIRES))
        timed = punctual(timed, self.place.name, marks, epoch).with_row_index("__order")
        kept: list[pl.DataFrame] = []
        while timed.height:
            # One round settles the first row of each key; rows that count again (later than `within`) take another.
            first = timed.unique(self._keys, keep="first", maintain_order=True)
            found = self._table.find(first)
            known = found != ABSENT
            seen = np.full(len(found), -NEVER_US, dtype=np.int64)
            seen[known] = self._table.gather(found[known], (SEEN,))[SEEN].to_numpy()
            times = first[TIME].to_numpy()
            counts = ~known | (times > seen + within_us)
            fresh = first.filter(pl.Series(counts, dtype=pl.Boolean))
            expires = fresh[TIME].to_numpy() + 2 * within_us
            self._table.upsert(fresh.select(*self._keys, pl.col(TIME).alias(SEEN)), expires, found=found[counts])
            kept.append(fresh)
            settled = first.select(*self._keys, pl.Series("__until", np.where(counts, times, seen) + within_us))
            rest = timed.join(first.select("__order"), on="__order", how="anti", maintain_order="left")
            rest = rest.join(settled, on=self._keys, how="left", nulls_equal=True, maintain_order="left")
            timed = rest.filter(pl.col(TIME) > pl.col("__until")).drop("__until")
        if not kept:
            return self.place.result.schema.to_frame()
        return pl.concat(kept).sort("__order").select(self.place.result.schema.names())
