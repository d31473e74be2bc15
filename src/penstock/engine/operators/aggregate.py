"""Running aggregates by key: the merged partials of each key in a keyed table; the results are a changelog."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from penstock.analysis import StateFact, StateLayout
from penstock.engine.aggregates import Aggregation, Partial, decompose
from penstock.engine.batch import Batch, Epoch, Watermarks
from penstock.engine.index import ABSENT
from penstock.engine.keyed import KeyedTable
from penstock.engine.operators.contract import Operator, Place, StateTable
from penstock.engine.operators.layouts import columns_of_partials, duration_fact, layout_of
from penstock.errors import DefinitionError
from penstock.flow import ops

__all__ = ["RunningAggregate"]

COUNT = "__rows"
"""How many rows are in a group; a group that lost its last row (by retraction) goes."""


class RunningAggregate(Operator):
    """`group_by(keys).agg(...)` without a window."""

    def __init__(self, place: Place, operation: ops.Aggregate) -> None:
        schema, keys = place.schema, operation.keys
        aggregation = decompose(operation.aggregates, schema)
        if aggregation is None:
            raise DefinitionError(
                "an aggregate needs all rows at once (a median, a rank, a sort): it can't be kept up to date",
                step=place.name,
                hint="aggregate in a window, or use sum, mean, min, max, count, n_unique, first, last, std, var",
            )
        if place.inputs[0].updating and not aggregation.retractable:
            raise DefinitionError(
                f"the rows of {place.step.inputs[0]!r} replace earlier rows; only sum, mean, count, len and n_unique "
                "can take a row back, not min, max, first, last, std or var",
                step=place.name,
                hint="aggregate the rows before they are updating results",
            )
        self._keys = list(keys)
        self._aggregation: Aggregation = aggregation
        self._kept: list[Partial] = [partial for partial in aggregation.partials if partial.kind != "set"]
        self._sets: list[Partial] = [partial for partial in aggregation.partials if partial.kind == "set"]
        self._ttl_us = operation.ttl_us
        self._expires: int | None = None
        self._batch = [partial.batch for partial in self._kept]
        types = schema.to_frame().group_by(keys).agg(self._batch).schema
        key_types = {key: schema[key] for key in keys}
        values = {partial.column: types[partial.column] for partial in self._kept}
        values |= {partial.column: pl.Int64() for partial in self._sets} | {COUNT: pl.Int64()}
        self._table = KeyedTable(place.name, key_types, values, expiring=operation.ttl_us is not None)
        self._set_types = schema.to_frame().group_by(keys).agg(partial.batch for partial in self._sets).schema
        self._members = {
            partial.column: KeyedTable(
                f"{place.name}:{partial.column}",
                {**key_types, "__member": _inner(self._set_types[partial.column])},
                {"__times": pl.Int64()},
                expiring=operation.ttl_us is not None,
            )
            for partial in self._sets
        }
        tables: list[StateTable] = [self._table, *self._members.values()]
        super().__init__(place, tables)

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """New results of the groups that changed, and what they were before."""
        batch = inputs[0]
        if self._ttl_us is not None:
            self._forget(marks.past_us(epoch))
        self._expires = marks.expiry_us(self._ttl_us, epoch)
        added = self._partials(batch.rows, 1)
        taken = None
        if batch.retracted is not None and batch.retracted.height:
            taken = self._partials(batch.retracted, -1)
        if taken is None:
            return self._apply(added, None)
        groups = pl.concat([added.select(self._keys), taken.select(self._keys)]).unique(maintain_order=True)
        return self._apply(self._aligned(groups, added), self._aligned(groups, taken))

    def probe(self, rows: pl.DataFrame) -> None:
        """Compute the partials."""
        rows.group_by(self._keys).agg(partial.batch for partial in self._aggregation.partials)

    def layout(self) -> list[StateLayout]:
        """The partials of each group, and a table of the members of each set."""
        step, ttl_us = self.place.step, self._ttl_us
        columns = columns_of_partials(self._aggregation, self._table.schema, counted=True)
        facts = [duration_fact("ttl", ttl_us)]
        found = [layout_of(step, self._table, columns=columns, facts=facts, expires_after_us=ttl_us)]
        # How many rows each member has is only counted where a row may be taken back.
        counts = self.place.inputs[0].updating
        facts.append(StateFact("rows of members", int(counts), "grows", "counted" if counts else "not counted"))
        for column, table in self._members.items():
            part = f"members:{column}"
            found.append(layout_of(step, table, part=part, facts=facts, expires_after_us=ttl_us))
        return found

    def _forget(self, time_us: int) -> None:
        """Delete the groups whose time has come, with the members of their sets."""
        self._table.delete(self._table.due(time_us))
        for table in self._members.values():
            due = table.due(time_us)
            rows = table.gather(due)
            groups = self._table.find(rows)
            alive = groups != ABSENT
            table.delete(due[~alive])
            # A member lives as long as its group: forgotten alone, it would be counted a second time.
            table.upsert(rows.filter(pl.Series(alive)), self._table.expires(groups[alive]), found=due[alive])

    def _partials(self, rows: pl.DataFrame, sign: int) -> pl.DataFrame:
        """The partials of a batch, one row a group; sets as the number of members that came (or, sign -1, went)."""
        groups = rows.group_by(self._keys, maintain_order=True).agg(*self._batch, pl.len().cast(pl.Int64).alias(COUNT))
        # All that the batch may fail on, before any state is touched.
        members = [(partial, self._pairs(partial, rows)) for partial in self._sets]
        for partial, pairs in members:
            moved = self._move_members(partial, pairs, sign)
            counts = moved.group_by(self._keys).agg(pl.len().cast(pl.Int64).alias(partial.column))
            groups = groups.join(counts, on=self._keys, how="left", nulls_equal=True, maintain_order="left")
            groups = groups.with_columns(pl.col(partial.column).fill_null(0))
        return groups

    def _pairs(self, partial: Partial, rows: pl.DataFrame) -> pl.DataFrame:
        """The members of a set by group, and how many rows of the batch each has."""
        assert partial.members is not None
        values = rows.group_by(self._keys, maintain_order=True).agg(partial.members.alias("__member"))
        return (
            values.explode("__member", keep_nulls=True, empty_as_null=False)
            .group_by([*self._keys, "__member"], maintain_order=True)
            .agg(pl.len().cast(pl.Int64).alias("__times"))
        )

    def _move_members(self, partial: Partial, pairs: pl.DataFrame, sign: int) -> pl.DataFrame:
        """Count the members of a set up or down; gives those that are new, or that went with their last row."""
        table = self._members[partial.column]
        found = table.find(pairs)
        absent = found == ABSENT
        if not self.place.inputs[0].updating and self._ttl_us is None:
            # Nothing is ever taken back: that the member is there is all there is to know.
            fresh = pairs.filter(pl.Series(absent, dtype=pl.Boolean))
            table.upsert(fresh, found=found[absent])
            return fresh
        before = np.zeros(len(found), dtype=np.int64)
        before[~absent] = table.gather(found[~absent], ("__times",))["__times"].to_numpy()
        after = before + sign * pairs["__times"].to_numpy()
        slots = table.upsert(pairs.with_columns(pl.Series("__times", after)), self._expires, found=found)
        table.delete(slots[after <= 0])
        changed = before <= 0 if sign > 0 else after <= 0
        return pairs.filter(pl.Series(changed, dtype=pl.Boolean))

    def _aligned(self, groups: pl.DataFrame, partials: pl.DataFrame) -> pl.DataFrame:
        """The partials in the order of `groups`, nothing (null) where a group has none."""
        return groups.join(partials, on=self._keys, how="left", nulls_equal=True, maintain_order="left")

    def _apply(self, added: pl.DataFrame, taken: pl.DataFrame | None) -> Batch:
        names = [partial.column for partial in self._aggregation.partials]
        slots = self._table.find(added)
        known = slots != ABSENT
        old = self._table.gather(slots[known])
        merged = self._merge(added, old, known, 1)
        if taken is not None:
            current = merged.select(*self._keys, *names, COUNT)
            merged = self._merge(taken, current, None, -1)
        before = self._finished(old)
        empty = (merged[COUNT] <= 0).to_numpy() if taken is not None else np.zeros(merged.height, dtype=bool)
        if not empty.any():
            self._table.upsert(merged, self._expires, found=slots)
            return Batch(self._finished(merged), before)
        live = merged.filter(pl.Series(~empty))
        self._table.delete(slots[empty & known])
        self._table.upsert(live, self._expires)
        return Batch(self._finished(live), before)

    def _finished(self, merged: pl.DataFrame) -> pl.DataFrame:
        return self._aggregation.finished(merged, self._keys, self.place.result.schema, counted=True)

    def _merge(
        self, new: pl.DataFrame, old: pl.DataFrame, known: np.ndarray[tuple[int], np.dtype[np.bool_]] | None, sign: int
    ) -> pl.DataFrame:
        """New partials merged with the old ones of the same groups (old rows stand where `known`)."""
        kept, names = self._kept, [partial.column for partial in self._sets] + [COUNT]
        columns = [*(partial.column for partial in kept), *names]
        prefixed = old.select(pl.col(column).alias(f"old:{column}") for column in columns)
        if known is not None and not known.all():
            place = np.cumsum(known) - 1
            positions = pl.Series(np.where(known, place, -1)).replace(-1, None)
            prefixed = (
                prefixed.select(pl.all().gather(positions.cast(pl.UInt32)))
                if prefixed.height
                else pl.DataFrame(
                    {name: pl.Series([None] * new.height, dtype=dtype) for name, dtype in prefixed.schema.items()}
                )
            )
        counted = [
            (pl.col(f"old:{name}").fill_null(0) + sign * pl.col(name).fill_null(0)).alias(name) for name in names
        ]
        both = pl.concat([new, prefixed], how="horizontal")
        types = self._table.schema
        return both.select(
            *self._keys,
            *(partial.combined(sign).cast(types[partial.column]) for partial in kept),
            *counted,
        ).select(types.names())


def _inner(dtype: pl.DataType) -> pl.DataType:
    assert isinstance(dtype, pl.List)
    inner = dtype.inner
    return inner() if isinstance(inner, type) else inner
