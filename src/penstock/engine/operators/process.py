"""The author's own keyed function: rows of a key and its state in, rows and state out, with timers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from penstock.analysis import to_schema
from penstock.engine.batch import Batch, Epoch, Watermarks, row_json
from penstock.engine.expiry import NEVER_US
from penstock.engine.index import ABSENT
from penstock.engine.keyed import KeyedTable
from penstock.engine.operators.contract import Operator, Place
from penstock.engine.python_rows import frame_of
from penstock.flow import ops

__all__ = ["Processed"]

EVENT = "__timer"
PROCESSING = "__processing_timer"


class _Key:
    """`KeyContext` as the author's function sees it; collects what it did."""

    def __init__(
        self,
        key: dict[str, Any],
        state: dict[str, Any],
        timers: list[int | None],
        now_us: int,
        watermark_us: int | None,
    ) -> None:
        self.key = key
        self.state = state
        self.now_us = now_us
        self.watermark_us = watermark_us
        self.timers = timers
        self.cleared = False

    def set_timer(self, time_us: int) -> None:
        self.timers[0] = int(time_us)

    def set_processing_timer(self, time_us: int) -> None:
        self.timers[1] = int(time_us)

    def clear(self) -> None:
        self.cleared = True
        self.state = dict.fromkeys(self.state)
        self.timers = [None, None]


class Processed(Operator):
    """`group_by(keys).process(handler, schema=..., state=...)`.

    A handler that raises changes nothing: its key keeps the state it had, its rows become dead letters.
    """

    def __init__(self, place: Place, operation: ops.Process) -> None:
        self._operation = operation
        self._keys = list(operation.keys)
        key = {name: place.schema[name] for name in self._keys}
        self._state = to_schema(operation.state)
        values = {**self._state, EVENT: pl.Int64(), PROCESSING: pl.Int64(), "__ttl": pl.Int64()}
        self._table = KeyedTable(place.name, key, values, expiring=True)
        # The event and the processing times of one key are due in different clocks: two tables of times.
        self._clocked = KeyedTable(f"{place.name}:processing", key, {PROCESSING: pl.Int64()}, expiring=True)
        super().__init__(place, [self._table, self._clocked])

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """What the author's function gave for the keys of this epoch and for the timers that are due."""
        out: list[dict[str, Any]] = []
        rows = inputs[0].rows
        if rows.height:
            groups = rows.partition_by(self._keys, maintain_order=True)
            keys = pl.concat([group.select(self._keys).head(1) for group in groups])
            calls = [group.to_dicts() for group in groups]
            self._call(keys, calls, None, marks, epoch, out)
        self._fire(self._clocked, epoch.now_us, "processing", marks, epoch, out)
        if marks.after_us is not None:
            self._fire(self._table, marks.after_us, "event", marks, epoch, out)
        frame, refused = frame_of(out, self.place.result.schema)
        for position, error in refused:
            epoch.dead_row(self.place.name, error, row_json(out[position]))
        return Batch(frame)

    def due_us(self) -> int | None:
        """When the next processing-time timer is due."""
        return self._clocked.next_due_us()

    def _fire(
        self, table: KeyedTable, time_us: int, kind: str, marks: Watermarks, epoch: Epoch, out: list[dict[str, Any]]
    ) -> None:
        """Call `on_timer` of the keys whose time has come, again for timers that it sets in the past."""
        for _ in range(1000):
            slots = table.due(time_us)
            if not len(slots):
                return
            keys = table.gather(slots, tuple(self._keys))
            self._call(keys, None, kind, marks, epoch, out)

    def _call(
        self,
        keys: pl.DataFrame,
        calls: list[list[dict[str, Any]]] | None,
        kind: str | None,
        marks: Watermarks,
        epoch: Epoch,
        out: list[dict[str, Any]],
    ) -> None:
        names = self._state.names()
        slots = self._table.find(keys)
        known = slots != ABSENT
        stored = iter(self._table.gather(slots[known]).iter_rows(named=True))
        after: list[dict[str, Any]] = []
        for position, key in enumerate(keys.iter_rows(named=True)):
            row = next(stored) if known[position] else {}
            timers = [row.get(EVENT), row.get(PROCESSING)]
            due = None
            if kind is not None:
                due = timers[0 if kind == "event" else 1]
                ttl = row.get("__ttl")
                timers[0 if kind == "event" else 1] = None
                no_timer = due is None or (kind == "event" and marks.after_us is not None and due > marks.after_us)
                if no_timer and kind == "event" and ttl is not None:
                    # Not a timer but the time to live: the key is forgotten.
                    after.append({**key, "__gone": True})
                    continue
            context = _Key(
                dict(key), {name: row.get(name) for name in names}, list(timers), epoch.now_us, marks.before_us
            )
            self._guarded(context, None if calls is None else calls[position], due, epoch, out)
            after.append(self._after(context, key, marks, epoch))
        self._store(after)

    def _guarded(
        self, context: _Key, rows: list[dict[str, Any]] | None, due: int | None, epoch: Epoch, out: list[dict[str, Any]]
    ) -> None:
        before = dict(context.state), list(context.timers)
        handler = self._operation.handler
        try:
            given: Iterable[Any] | None
            given = handler(context, rows) if rows is not None else handler.on_timer(context, due)
            out.extend(dict(row) for row in given or ())
        except Exception as error:  # the epoch loop's boundary to the author's code
            context.state, context.timers, context.cleared = before[0], before[1], False
            for row in rows if rows is not None else [context.key]:
                epoch.dead_row(self.place.name, error, row_json(row))

    def _after(self, context: _Key, key: dict[str, Any], marks: Watermarks, epoch: Epoch) -> dict[str, Any]:
        if context.cleared and not any(context.timers) and all(value is None for value in context.state.values()):
            return {**key, "__gone": True}
        ttl = marks.expiry_us(self._operation.ttl_us, epoch)
        return {
            **key,
            **context.state,
            EVENT: context.timers[0],
            PROCESSING: context.timers[1],
            "__ttl": ttl,
            "__gone": False,
        }

    def _store(self, after: list[dict[str, Any]]) -> None:
        if not after:
            return
        schema = pl.Schema({**self._table.schema, "__gone": pl.Boolean()})
        frame = pl.DataFrame(after, schema=schema, orient="row", strict=True)
        gone = frame.filter(pl.col("__gone"))
        for table in (self._table, self._clocked):
            slots = table.find(gone)
            table.delete(slots[slots != ABSENT])
        kept = frame.filter(~pl.col("__gone")).drop("__gone")
        times = kept.select(pl.min_horizontal(EVENT, "__ttl").fill_null(NEVER_US)).to_series().to_numpy()
        self._table.upsert(kept, times)
        clocked = self._clocked.find(kept)
        wanted = kept[PROCESSING].is_not_null().to_numpy()
        self._clocked.delete(clocked[(clocked != ABSENT) & ~wanted])
        timed = kept.filter(pl.col(PROCESSING).is_not_null()).select(*self._keys, PROCESSING)
        self._clocked.upsert(timed, timed[PROCESSING].to_numpy())
