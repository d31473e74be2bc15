"""The first n rows of each key as they stand, and the latest row of each key: a changelog over a keyed table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from penstock.analysis import StateFact, StateLayout
from penstock.engine.batch import Batch, Epoch, Watermarks
from penstock.engine.index import ABSENT, Slots
from penstock.engine.keyed import KeyedTable
from penstock.engine.operators.contract import Operator, Place
from penstock.engine.operators.layouts import duration_fact, layout_of, order_fact
from penstock.engine.operators.ranking import contenders
from penstock.flow import ops

__all__ = ["Top"]

RANK = "__rank"


class Top(Operator):
    """`group_by(keys).top_n(n, by=...)` and `.latest()`. The row of rank r of a key is row (key, r) of the table."""

    def __init__(self, place: Place, operation: ops.TopN) -> None:
        self._operation = operation
        self._keys = list(operation.keys)
        self._is_latest = operation.rank is None and operation.n == 1
        event_time = place.inputs[0].event_time
        self._by = list(operation.by) or ([event_time] if event_time else [])
        self._descending = list(operation.descending) or [True] * len(self._by)
        schema = place.schema
        values = {name: dtype for name, dtype in schema.items() if name not in self._keys}
        key = {**{name: schema[name] for name in self._keys}, RANK: pl.Int64()}
        self._table = KeyedTable(place.name, key, values, expiring=operation.ttl_us is not None)
        super().__init__(place, [self._table])

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The rows whose place among the first n changed, and who stood there before."""
        ttl_us = self._operation.ttl_us
        if ttl_us is not None:
            self._table.delete(self._table.due(marks.past_us(epoch)))
        rows = inputs[0].rows
        if rows.is_empty():
            return Batch(self.place.result.schema.to_frame(), self.place.result.schema.to_frame())
        fresh = self._ranked(rows)
        old = self._table.gather(self._standing(fresh.select(self._keys).unique(maintain_order=True)))
        columns = [*self._keys, RANK, *(name for name in old.columns if name not in (*self._keys, RANK))]
        old, fresh = old.select(columns), fresh.select(columns)
        both = [fresh, old] if self._is_latest else [old, fresh]
        ranked = self._ranked(pl.concat(both).drop(RANK), presorted=True).select(columns)
        if ttl_us is not None:
            # A key that was touched lives on as a whole, whichever of its rows changed their place.
            self._table.upsert(ranked.select(self._table.schema.names()), marks.expiry_us(ttl_us, epoch))
        changed = ranked.join(old, on=columns, how="anti", nulls_equal=True, maintain_order="left")
        if changed.is_empty():
            return Batch(self.place.result.schema.to_frame(), self.place.result.schema.to_frame())
        before = old.join(changed, on=[*self._keys, RANK], how="semi", nulls_equal=True, maintain_order="left")
        if ttl_us is None:
            self._table.upsert(changed.select(self._table.schema.names()))
        return Batch(self._shown(changed), self._shown(before))

    def layout(self) -> list[StateLayout]:
        """The rows of each key by rank."""
        operation = self._operation
        facts = [
            StateFact("n", operation.n, "grows"),
            order_fact(self._by, self._descending),
            StateFact(
                "ties", int(self._is_latest), "meaning", "the last stays" if self._is_latest else "the first stays"
            ),
            duration_fact("ttl", operation.ttl_us),
        ]
        return [layout_of(self.place.step, self._table, facts=facts, expires_after_us=operation.ttl_us)]

    def _ranked(self, rows: pl.DataFrame, *, presorted: bool = False) -> pl.DataFrame:
        """The first n rows of each key, ranked from 1 on. Ties: who came first; for `latest`, who came last."""
        ordered = rows.reverse() if self._is_latest and not presorted else rows
        if self._by:
            ordered = contenders(ordered, self._keys, self._by[0], self._operation.n, descending=self._descending[0])
        if self._by:
            ordered = ordered.sort(self._by, descending=self._descending, nulls_last=True, maintain_order=True)
        rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(self._keys).alias(RANK)
        return ordered.with_columns(rank).filter(pl.col(RANK) <= self._operation.n)

    def _standing(self, keys: pl.DataFrame) -> Slots:
        found: list[Slots] = [np.empty(0, dtype=np.int64)]
        for rank in range(1, self._operation.n + 1):
            slots = self._table.find(keys.with_columns(pl.lit(rank, pl.Int64).alias(RANK)))
            there = slots != ABSENT
            found.append(slots[there])
            keys = keys.filter(pl.Series(there, dtype=pl.Boolean))
            if keys.is_empty():
                break
        return np.concatenate(found)

    def _shown(self, rows: pl.DataFrame) -> pl.DataFrame:
        rank = self._operation.rank
        named = rows.rename({RANK: rank}) if rank is not None else rows.drop(RANK)
        return named.select(self.place.result.schema.names())
