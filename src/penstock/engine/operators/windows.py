"""Tumbling and sliding windows: partial aggregates (or rows) by *pane*, put together when a window closes.

A pane is the stretch between two window starts; a sliding window is made of size/every panes, so a row is stored once
however many windows it is in (Li et al., "No Pane, No Gain", 2005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from penstock.analysis import StateColumn, StateFact, StateLayout
from penstock.engine.aggregates import decompose
from penstock.engine.batch import BEGINNING_US, Batch, Epoch, Watermarks
from penstock.engine.operators.contract import TIME, Operator, Place, with_time
from penstock.engine.operators.layouts import columns_of_partials, layout_of, order_fact
from penstock.engine.operators.ranking import contenders
from penstock.engine.timelog import EXPIRES, TimeLog
from penstock.errors import DefinitionError
from penstock.flow import Sliding, Tumbling, Window, duration_text, ops

__all__ = ["END", "PANE", "START", "Panes", "WindowedAggregate", "WindowedTop", "WindowsJoined"]

PANE = "__pane"
START = "window_start"
END = "window_end"


@dataclass(frozen=True, slots=True)
class Panes:
    """The arithmetic of windows in microseconds."""

    size_us: int
    every_us: int
    offset_us: int

    @staticmethod
    def of(window: Window, step: str) -> Panes:
        """The panes of a tumbling or sliding window. Raises DefinitionError for sessions, which have none."""
        if isinstance(window, Tumbling):
            return Panes(window.size_us, window.size_us, window.offset_us)
        if isinstance(window, Sliding):
            return Panes(window.size_us, window.every_us, window.offset_us)
        raise DefinitionError(
            "session windows can be aggregated, not joined or ranked", step=step, hint="use a tumbling window"
        )

    def facts(self, window: Window, event_time: str) -> list[StateFact]:
        """What rows by pane hang on: the panes, and the column that assigned them."""
        value = [self.size_us, self.every_us, self.offset_us]
        text = f"{window}" + (f" offset {duration_text(self.offset_us)}" if self.offset_us else "")
        return [
            StateFact("window", value, "structure", text),
            StateFact("event time", event_time, "meaning"),
        ]

    def assign(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows (with `__time`) with their pane and the time when the last window of the pane closes."""
        pane = (pl.col(TIME) - self.offset_us).floordiv(self.every_us) * self.every_us + self.offset_us
        return rows.with_columns(pane.alias(PANE)).with_columns((pl.col(PANE) + self.size_us).alias(EXPIRES))

    def closing(self, panes: pl.DataFrame, marks: Watermarks) -> pl.DataFrame:
        """Each row of the panes once for every window that closes between the marks, as `__start`."""
        after = marks.after_us if marks.after_us is not None else BEGINNING_US
        before = marks.before_us
        count = self.size_us // self.every_us
        parts = []
        for back in range(count):
            start = pl.col(PANE) - back * self.every_us
            closes = start + self.size_us <= after
            if before is not None:
                closes &= start + self.size_us > before
            parts.append(panes.lazy().filter(closes).with_columns(start.alias("__start")))
        return pl.concat(parts).collect() if count > 1 else parts[0].collect()

    def next_close(self, log: TimeLog) -> int | None:
        """The next end of a window of the panes that wait in the log."""
        earliest = log.earliest()
        if earliest is None:
            return None
        end = earliest - self.size_us + self.every_us
        if log.horizon is not None and end <= log.horizon:
            # The first windows of this pane are closed; their ends lie one step apart.
            end += ((log.horizon - end) // self.every_us + 1) * self.every_us
        return end

    def frame(self, rows: pl.DataFrame, dtype: pl.DataType, before: Sequence[str]) -> pl.DataFrame:
        """`__start` as the columns window_start and window_end, behind the columns `before`."""
        start = pl.col("__start").cast(pl.Datetime("us")).cast(dtype)
        end = (pl.col("__start") + self.size_us).cast(pl.Datetime("us")).cast(dtype)
        others = [name for name in rows.columns if name not in before and not name.startswith("__")]
        return rows.select(*before, start.alias(START), end.alias(END), *others)


def punctual(rows: pl.DataFrame, step: str, marks: Watermarks, epoch: Epoch) -> pl.DataFrame:
    """The rows (with `__expires`) that some open window can still take; the others are noted as late."""
    if marks.before_us is None or rows.is_empty():
        return rows
    late = pl.col(EXPIRES) <= marks.before_us
    refused = rows.filter(late)
    if refused.is_empty():
        return rows
    epoch.late_rows(step, refused.select(name for name in refused.columns if not name.startswith("__")))
    return rows.filter(~late)


class WindowedAggregate(Operator):
    """`group_by(keys).window(tumbling or sliding).agg(...)`."""

    def __init__(self, place: Place, operation: ops.WindowAggregate) -> None:
        self._panes = Panes.of(operation.window, place.name)
        self._window = operation.window
        self._keys = list(operation.keys)
        self._aggregates: Mapping[str, pl.Expr] = operation.aggregates
        event_time = place.inputs[0].event_time
        assert event_time is not None
        self._event_time = event_time
        schema = place.schema
        self._parts = decompose(operation.aggregates, schema)
        if self._parts is None:
            # Some aggregate needs all rows: keep the columns that the aggregates name.
            used = {name for expression in operation.aggregates.values() for name in expression.meta.root_names()}
            kept = {name: dtype for name, dtype in schema.items() if name in used or name in self._keys}
            log = TimeLog(place.name, pl.Schema({**kept, PANE: pl.Int64()}))
        else:
            empty = schema.to_frame().with_columns(pl.lit(0, pl.Int64).alias(PANE))
            partial = empty.group_by([*self._keys, PANE]).agg(part.batch for part in self._parts.partials)
            log = TimeLog(place.name, partial.schema, self._merged)
        self._log = log
        super().__init__(place, [log])

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The aggregates of the windows that close in this epoch."""
        rows = inputs[0].rows
        if rows.height:
            timed = self._panes.assign(with_time(rows, self._event_time, self.place.name, epoch))
            timed = punctual(timed, self.place.name, marks, epoch)
            self._log.append(self._partial(timed))
        if marks.after_us is None or marks.after_us == marks.before_us:
            return Batch(self.place.result.schema.to_frame())
        results = self._results(marks)
        self._log.drop(marks.after_us)
        return Batch(results)

    def layout(self) -> list[StateLayout]:
        """The partials by key and pane, or the rows by pane where an aggregate needs all of them."""
        facts = self._panes.facts(self._window, self._event_time)
        columns = {name: StateColumn(name, self._log.schema[name], "key") for name in self._keys}
        if self._parts is not None:
            columns |= columns_of_partials(self._parts, self._log.schema)
        return [
            layout_of(
                self.place.step,
                self._log,
                operator="window" if self._parts is not None else "window of rows",
                columns=columns,
                facts=facts,
                expires_base=PANE,
                expires_after_us=self._panes.size_us,
            )
        ]

    def probe(self, rows: pl.DataFrame) -> None:
        """Compute the aggregates, or their partials."""
        parts = (
            [value.alias(name) for name, value in self._aggregates.items()]
            if self._parts is None
            else [part.batch for part in self._parts.partials]
        )
        rows.group_by(self._keys or [pl.lit(0).alias("__all")]).agg(parts)

    def closes_us(self) -> int | None:
        """When the next window closes."""
        return self._panes.next_close(self._log)

    def _partial(self, rows: pl.DataFrame) -> pl.DataFrame:
        if self._parts is None:
            # What the aggregates can't take has to show now, not when the window closes: then the row is in it.
            self.probe(rows)
            return rows
        by = [*self._keys, PANE, EXPIRES]
        return rows.group_by(by, maintain_order=True).agg(part.batch for part in self._parts.partials)

    def _merged(self, partials: pl.DataFrame) -> pl.DataFrame:
        assert self._parts is not None
        by = [*self._keys, PANE, EXPIRES]
        merged = partials.group_by(by, maintain_order=True).agg(part.merged() for part in self._parts.partials)
        return merged.select(partials.columns)

    def _results(self, marks: Watermarks) -> pl.DataFrame:
        assert marks.after_us is not None
        # A window that closes takes its first pane, whose last window closes (size - every) later.
        panes = self._log.before(marks.after_us + self._panes.size_us)
        closing = self._panes.closing(panes, marks)
        schema = self.place.result.schema
        if closing.is_empty():
            return schema.to_frame()
        by = [*self._keys, "__start"]
        if self._parts is None:
            groups = closing.group_by(by, maintain_order=True).agg(
                expression.alias(name).cast(schema[name]) for name, expression in self._aggregates.items()
            )
        else:
            # Panes of one window are merged in the order of their time, for first and last.
            ordered = closing.sort(PANE, maintain_order=True)
            merged = ordered.group_by(by, maintain_order=True).agg(part.merged() for part in self._parts.partials)
            groups = self._parts.finished(merged, by, schema)
        framed = self._panes.frame(groups.sort("__start", maintain_order=True), schema[START], self._keys)
        return framed.select(schema.names()).cast(dict(schema.items()))


class WindowedTop(Operator):
    """`group_by(keys).window(...).top_n(...)`: the first n rows of each window, with all their columns."""

    def __init__(self, place: Place, operation: ops.WindowTop) -> None:
        self._panes = Panes.of(operation.window, place.name)
        self._operation = operation
        event_time = place.inputs[0].event_time
        assert event_time is not None
        self._event_time = event_time
        self._log = TimeLog(place.name, pl.Schema({**place.schema, PANE: pl.Int64()}), self._candidates)
        super().__init__(place, [self._log])

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The first rows of the windows that close in this epoch."""
        rows = inputs[0].rows
        schema = self.place.result.schema
        if rows.height:
            timed = self._panes.assign(with_time(rows, self._event_time, self.place.name, epoch))
            self._log.append(self._candidates(punctual(timed, self.place.name, marks, epoch)))
        if marks.after_us is None or marks.after_us == marks.before_us:
            return Batch(schema.to_frame())
        closing = self._panes.closing(self._log.before(marks.after_us + self._panes.size_us), marks)
        self._log.drop(marks.after_us)
        if closing.is_empty():
            return Batch(schema.to_frame())
        best = self._first(closing.sort("__start", PANE, maintain_order=True), "__start")
        return Batch(self._panes.frame(best, schema[START], ()).select(schema.names()))

    def closes_us(self) -> int | None:
        """When the next window closes."""
        return self._panes.next_close(self._log)

    def layout(self) -> list[StateLayout]:
        """The rows of each pane that can be among the first."""
        operation = self._operation
        facts = [
            *self._panes.facts(operation.window, self._event_time),
            StateFact("n", operation.n, "grows"),
            StateFact("ties", int(operation.ties), "grows", "kept" if operation.ties else "not kept"),
            order_fact(operation.by, operation.descending),
        ]
        return [
            layout_of(self.place.step, self._log, facts=facts, expires_base=PANE, expires_after_us=self._panes.size_us)
        ]

    def _candidates(self, rows: pl.DataFrame) -> pl.DataFrame:
        return self._first(rows, PANE)

    def _first(self, rows: pl.DataFrame, group: str) -> pl.DataFrame:
        """The first n rows (with ties, if asked for) of each key and `group`."""
        operation = self._operation
        by = [*operation.keys, group]
        rows = contenders(rows, by, operation.by[0], operation.n, descending=operation.descending[0])
        ordered = rows.sort(operation.by, descending=list(operation.descending), nulls_last=True, maintain_order=True)
        place = pl.int_range(pl.len()).over(by)
        if not operation.ties:
            return ordered.filter(place < operation.n)
        order = pl.struct(operation.by)
        # Rows that equal the n-th row of their group stay.
        return (
            ordered.with_columns(place.alias("__place"))
            .with_columns(pl.col("__place").min().over([*by, order]).alias("__tied"))
            .filter(pl.col("__tied") < operation.n)
            .drop("__place", "__tied")
        )


class WindowsJoined(Operator):
    """`left.join(right, window=...)`: both sides wait until the window closes, then Polars joins them."""

    def __init__(self, place: Place, operation: ops.WindowJoin) -> None:
        self._panes = Panes.of(operation.window, place.name)
        self._operation = operation
        left, right = place.inputs
        assert left.event_time is not None
        assert right.event_time is not None
        self._times = (left.event_time, right.event_time)
        logs = [
            TimeLog(f"{place.name}:{side}", pl.Schema({**facts.schema, PANE: pl.Int64()}))
            for side, facts in (("left", left), ("right", right))
        ]
        self._logs = logs
        super().__init__(place, [*logs])

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The joined rows of the windows that close in this epoch."""
        schema = self.place.result.schema
        for log, batch, column in zip(self._logs, inputs, self._times, strict=True):
            if batch.rows.height:
                timed = self._panes.assign(with_time(batch.rows, column, self.place.name, epoch))
                log.append(punctual(timed, self.place.name, marks, epoch))
        if marks.after_us is None or marks.after_us == marks.before_us:
            return Batch(schema.to_frame())
        limit = marks.after_us + self._panes.size_us
        left, right = (self._panes.closing(log.before(limit), marks).drop(PANE, EXPIRES) for log in self._logs)
        for log in self._logs:
            log.drop(marks.after_us)
        return Batch(self._join(left, right))

    def closes_us(self) -> int | None:
        """When the next window closes."""
        return min((time for log in self._logs if (time := self._panes.next_close(log)) is not None), default=None)

    def layout(self) -> list[StateLayout]:
        """The rows of both sides by pane."""
        size_us = self._panes.size_us
        return [
            layout_of(
                self.place.step,
                log,
                part=part,
                facts=self._panes.facts(self._operation.window, event_time),
                expires_base=PANE,
                expires_after_us=size_us,
            )
            for part, log, event_time in zip(("left", "right"), self._logs, self._times, strict=True)
        ]

    def _join(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        operation, schema = self._operation, self.place.result.schema
        joined = left.join(
            right,
            left_on=[*(name for name, _ in operation.on), "__start"],
            right_on=[*(name for _, name in operation.on), "__start"],
            how=operation.how,
            suffix=operation.suffix,
            coalesce=True if operation.how not in ("semi", "anti") else None,
            maintain_order="left_right" if operation.how not in ("semi", "anti") else None,
        )
        framed = self._panes.frame(joined.sort("__start", maintain_order=True), schema[START], ())
        return framed.select(schema.names())
