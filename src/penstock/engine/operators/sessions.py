"""Session windows: the open sessions of each key in a keyed table, merged as rows fill the gaps between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from penstock.analysis import StateFact, StateLayout
from penstock.engine.aggregates import Aggregation, decompose
from penstock.engine.batch import Batch, Epoch, Watermarks
from penstock.engine.index import ABSENT, Slots
from penstock.engine.keyed import KeyedTable
from penstock.engine.operators.contract import TIME, Operator, Place, with_time
from penstock.engine.operators.layouts import columns_of_partials, duration_fact, layout_of
from penstock.engine.operators.windows import END, START, punctual
from penstock.engine.timelog import EXPIRES
from penstock.errors import DefinitionError
from penstock.flow import Session, ops

__all__ = ["Sessions"]

NUMBER = "__number"
FIRST = "__first"
LAST = "__last"


class Sessions(Operator):
    """`group_by(keys).window(ps.session(gap)).agg(...)`.

    The open sessions of a key are its rows 0, 1, 2 ... in the table, in the order of their start.
    """

    def __init__(self, place: Place, operation: ops.WindowAggregate) -> None:
        assert isinstance(operation.window, Session)
        self._gap_us = operation.window.gap_us
        self._keys = list(operation.keys)
        event_time = place.inputs[0].event_time
        assert event_time is not None
        self._event_time = event_time
        # Sessions are merged as they touch, not in the order of their rows: first and last need the time of the row.
        parts = decompose(operation.aggregates, pl.Schema({**place.schema, TIME: pl.Int64()}), order=TIME)
        if parts is None:
            raise DefinitionError(
                "one of the aggregates needs all rows at once, which a session does not keep",
                step=place.name,
                hint="use sum, mean, min, max, count, n_unique, first, last, std or var",
            )
        self._parts: Aggregation = parts
        empty = (
            place.schema.to_frame()
            .with_columns(pl.lit(0, pl.Int64).alias(TIME))
            .group_by(self._keys or [pl.lit(0).alias("__all")])
        )
        types = empty.agg(part.batch for part in parts.partials).schema
        values = {FIRST: pl.Int64(), LAST: pl.Int64(), **{part.column: types[part.column] for part in parts.partials}}
        key = {**{name: place.schema[name] for name in self._keys}, NUMBER: pl.Int64()}
        self._table = KeyedTable(place.name, key, values, expiring=True)
        super().__init__(place, [self._table])

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The aggregates of the sessions that close in this epoch."""
        rows = inputs[0].rows
        if rows.height:
            timed = with_time(rows, self._event_time, self.place.name, epoch)
            timed = timed.with_columns((pl.col(TIME) + self._gap_us).alias(EXPIRES))
            self._take(punctual(timed, self.place.name, marks, epoch))
        if marks.after_us is None or marks.after_us == marks.before_us:
            return Batch(self.place.result.schema.to_frame())
        return Batch(self._close(marks.after_us))

    def layout(self) -> list[StateLayout]:
        """The open sessions of each key."""
        columns = columns_of_partials(self._parts, self._table.schema)
        facts = [
            duration_fact("session gap", self._gap_us, "meaning"),
            StateFact("event time", self._event_time, "meaning"),
        ]
        kept = layout_of(
            self.place.step,
            self._table,
            operator="session",
            columns=columns,
            facts=facts,
            expires_base=LAST,
            expires_after_us=self._gap_us,
        )
        return [kept]

    def probe(self, rows: pl.DataFrame) -> None:
        """Compute the partials."""
        timed = rows.with_columns(pl.lit(0, pl.Int64).alias(TIME))
        timed.group_by(self._keys or [pl.lit(0).alias("__all")]).agg(part.batch for part in self._parts.partials)

    def closes_us(self) -> int | None:
        """When the next session closes, as it stands."""
        return self._table.next_due_us()

    def _take(self, rows: pl.DataFrame) -> None:
        """Merge the rows of an epoch into the open sessions of their keys."""
        if rows.is_empty():
            return
        ordered = rows.with_columns(pl.col(TIME).alias(FIRST), pl.col(TIME).alias(LAST))
        fresh = self._merged(ordered, (part.batch for part in self._parts.partials))
        keys = fresh.select(self._keys).unique(maintain_order=True) if self._keys else _one_row()
        self._replace(keys, lambda open_: self._merged(pl.concat([open_, fresh.select(open_.columns)]), None))

    def _merged(self, rows: pl.DataFrame, aggregates: object) -> pl.DataFrame:
        """Rows or sessions put together where less than the gap is between them."""
        expressions = aggregates if aggregates is not None else (part.merged() for part in self._parts.partials)
        ordered = rows.with_row_index("__arrival").sort([*self._keys, FIRST], maintain_order=True)
        reach = (
            (pl.col(LAST).cum_max().shift(1) + self._gap_us).over(self._keys)
            if self._keys
            else (pl.col(LAST).cum_max().shift(1) + self._gap_us)
        )
        begins = (pl.col(FIRST) >= reach).fill_null(value=True)
        numbered = ordered.with_columns(begins.cum_sum().alias("__session"))
        if aggregates is None:
            # Partials are merged as they came, so that of two first rows of one time the earlier one stays.
            numbered = numbered.sort("__arrival")
        # A new key begins a session too: its first row has nothing before it, so `begins` is true there.
        grouped = numbered.group_by([*self._keys, "__session"], maintain_order=True)
        return grouped.agg(pl.col(FIRST).min(), pl.col(LAST).max(), *expressions).drop("__session")  # type: ignore[misc]

    def _replace(self, keys: pl.DataFrame, change: object) -> None:
        """Put changed sessions of some keys in the place of their open ones, numbered anew."""
        slots = self._open(keys)
        open_ = self._table.gather(slots).drop(NUMBER)
        sessions: pl.DataFrame = change(open_)  # type: ignore[operator]
        self._table.delete(slots)
        if sessions.is_empty():
            return
        number = pl.int_range(pl.len(), dtype=pl.Int64)
        numbered = sessions.with_columns((number.over(self._keys) if self._keys else number).alias(NUMBER))
        rows = numbered.select(self._table.schema.names())
        self._table.upsert(rows, rows[LAST].to_numpy() + self._gap_us)

    def _open(self, keys: pl.DataFrame) -> Slots:
        """The slots of all open sessions of some keys: look for number 0, of those found number 1, and so on."""
        found: list[Slots] = [np.empty(0, dtype=np.int64)]
        number = 0
        while keys.height:
            slots = self._table.find(keys.with_columns(pl.lit(number, pl.Int64).alias(NUMBER)))
            there = slots != ABSENT
            found.append(slots[there])
            keys = keys.filter(pl.Series(there, dtype=pl.Boolean))
            number += 1
        return np.concatenate(found)

    def _close(self, watermark_us: int) -> pl.DataFrame:
        schema = self.place.result.schema
        slots = self._table.due(watermark_us)
        if not len(slots):
            return schema.to_frame()
        closed = self._table.gather(slots)
        ordered = closed.sort([LAST, FIRST, *self._keys])
        # Before the state is touched: a result that does not fit its type must not cost the session.
        results = self._parts.finished(ordered, [*self._keys, FIRST, LAST], schema)
        keys = closed.select(self._keys).unique(maintain_order=True) if self._keys else _one_row()
        self._replace(keys, lambda open_: open_.filter(pl.col(LAST) + self._gap_us > watermark_us))
        start = pl.col(FIRST).cast(pl.Datetime("us")).cast(schema[START]).alias(START)
        end = (pl.col(LAST) + self._gap_us).cast(pl.Datetime("us")).cast(schema[END]).alias(END)
        return results.with_columns(start, end).select(schema.names())


def _one_row() -> pl.DataFrame:
    return pl.DataFrame({"__all": [0]})
