"""The author's own keyed function: rows of a key and its state in, rows and state out, with timers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from penstock.analysis import StateColumn, StateLayout, to_schema
from penstock.engine.batch import Batch, Epoch, Watermarks, row_json
from penstock.engine.expiry import NEVER_US
from penstock.engine.index import ABSENT
from penstock.engine.keyed import KeyedTable
from penstock.engine.operators.contract import Operator, Place
from penstock.engine.operators.layouts import duration_fact, layout_of
from penstock.engine.python_rows import dicts_of, frame_of
from penstock.flow import Tries, ops

__all__ = ["Processed"]

EVENT = "__timer"
PROCESSING = "__processing_timer"
TTL = "__ttl"
_TIMER_ROUNDS = 1_000
"""How often a timer may set another one in the past before the rest has to wait for the next epoch."""


@dataclass(slots=True)
class _Key:
    """`KeyContext` as the author's function sees it; collects what it did."""

    key: dict[str, Any]
    state: dict[str, Any]
    now_us: int
    watermark_us: int | None
    event_us: int | None = None
    processing_us: int | None = None
    is_timed: bool = True

    def set_timer(self, time: int | datetime) -> None:
        if not self.is_timed:
            raise ValueError("the stream has no event time: use set_processing_timer, or event_time= where it is read")
        self.event_us = _time_us(time)

    def set_processing_timer(self, time: int | datetime) -> None:
        self.processing_us = _time_us(time)

    def clear(self) -> None:
        # In place: the function may hold the state under a name of its own.
        for name in self.state:
            self.state[name] = None
        self.event_us = self.processing_us = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return (
            self.event_us is None and self.processing_us is None and all(value is None for value in self.state.values())
        )


@dataclass(slots=True)
class _Call:
    """One call of the author's function: what for, and what it gave."""

    context: _Key
    rows: list[dict[str, Any]]
    due_us: int | None = None
    results: list[dict[str, Any]] = field(default_factory=list)


class Processed(Operator):
    """`group_by(keys).process(handler, schema=..., state=...)`.

    A handler that raises, or leaves a state of wrong types, changes nothing: its key keeps the state it had, nothing
    goes on, its rows become dead letters.
    """

    def __init__(self, place: Place, operation: ops.Process) -> None:
        self._operation = operation
        self._keys = list(operation.keys)
        key = {name: place.schema[name] for name in self._keys}
        self._state = to_schema(operation.state)
        values = {**self._state, EVENT: pl.Int64(), PROCESSING: pl.Int64(), TTL: pl.Int64()}
        self._table = KeyedTable(place.name, key, values, expiring=True)
        # Event and processing times are due by different clocks: two tables of times.
        self._clocked = KeyedTable(f"{place.name}:processing", key, {PROCESSING: pl.Int64()}, expiring=True)
        super().__init__(place, [self._table, self._clocked])

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """What the author's function gave for the keys of this epoch and for the timers that are due."""
        out: list[dict[str, Any]] = []
        rows = inputs[0].rows
        if rows.height:
            groups = rows.with_row_index("__at").group_by(self._keys, maintain_order=True).agg(pl.col("__at"))
            given = list(dicts_of(rows))
            mine = [[given[at] for at in places] for places in groups["__at"].to_list()]
            handler = self._operation.handler
            calls = self._calls(groups.select(self._keys), mine, marks, epoch)
            out += self._done(calls, lambda call: handler(call.context, call.rows), marks, epoch)
        out += self._fire(self._clocked, epoch.now_us, marks, epoch)
        # Without event time this table holds no timers, only times to live, by the clock.
        out += self._fire(self._table, marks.past_us(epoch), marks, epoch)
        frame, refused = frame_of(out, self.place.result.schema)
        for position, error in refused:
            epoch.dead_row(self.place.name, error, row_json(out[position]), {"of": "result"})
        return Batch(frame)

    def layout(self) -> list[StateLayout]:
        """The state that the author declared, by key, and the keys with a timer of the clock."""
        step, ttl_us = self.place.step, self._operation.ttl_us
        columns = {name: StateColumn(name, dtype, "state") for name, dtype in self._state.items()}
        facts = [duration_fact("ttl", ttl_us)]
        return [
            layout_of(step, self._table, columns=columns, facts=facts, expires_after_us=ttl_us),
            layout_of(step, self._clocked, part="processing", expires_base=PROCESSING, expires_after_us=0),
        ]

    def due_us(self) -> int | None:
        """When the next processing-time timer is due."""
        return self._clocked.next_due_us()

    def closes_us(self) -> int | None:
        """When the next timer of event time is due, for streams whose event time is the clock's."""
        return self._table.next_due_us()

    def _fire(self, table: KeyedTable, time_us: int, marks: Watermarks, epoch: Epoch) -> list[dict[str, Any]]:
        """Call `on_timer` of the keys whose time has come, again for timers that it sets in the past."""
        out: list[dict[str, Any]] = []
        for _ in range(_TIMER_ROUNDS):
            slots = table.due(time_us)
            if not len(slots):
                break
            # In the order of the keys: slots differ after a restart, and the epoch's ids and chance must not.
            keys = table.gather(slots, tuple(self._keys)).sort(self._keys)
            calls = self._calls(keys, [[] for _ in range(keys.height)], marks, epoch)
            timed, forgotten = [], []
            for call in calls:
                call.due_us = self._take_timer(table, call.context)
                if call.due_us is None or call.due_us > time_us:
                    forgotten.append(call.context.key)  # not a timer is due but the time to live
                else:
                    timed.append(call)
            self._forget(forgotten)
            out += self._done(timed, self._on_timer, marks, epoch)
        return out

    def _take_timer(self, table: KeyedTable, context: _Key) -> int | None:
        """The timer of a key that made it due in `table`; it is spent."""
        if table is self._table:
            due_us, context.event_us = context.event_us, None
        else:
            due_us, context.processing_us = context.processing_us, None
        return due_us

    def _on_timer(self, call: _Call) -> Iterable[Any] | None:
        on_timer = getattr(self._operation.handler, "on_timer", None)
        if on_timer is None:
            raise NotImplementedError("a timer was set, but the function has no on_timer(context, time_us)")
        results: Iterable[Any] | None = on_timer(call.context, call.due_us)
        return results

    def _calls(
        self, keys: pl.DataFrame, rows: list[list[dict[str, Any]]], marks: Watermarks, epoch: Epoch
    ) -> list[_Call]:
        """A call for each key, with the state that it has."""
        names = self._state.names()
        slots = self._table.find(keys)
        known = slots != ABSENT
        stored = iter(dicts_of(self._table.gather(slots[known])))
        calls = []
        for key, mine, is_known in zip(dicts_of(keys), rows, known, strict=True):
            row = next(stored) if is_known else {}
            state = {name: row.get(name) for name in names}
            context = _Key(key, state, epoch.now_us, marks.before_us, row.get(EVENT), row.get(PROCESSING))
            context.is_timed = marks.after_us is not None
            calls.append(_Call(context, mine))
        return calls

    def _done(
        self, calls: list[_Call], function: Callable[[_Call], Iterable[Any] | None], marks: Watermarks, epoch: Epoch
    ) -> list[dict[str, Any]]:
        """Call the author's function for each key, keep the states that it leaves, give the rows that go on."""
        made = []
        tries = Tries()
        for call in calls:
            try:
                tries.begin()
                call.results = [dict(row) for row in function(call) or ()]
            except MemoryError:  # no row is to blame for the machine
                raise
            except Exception as error:  # the epoch loop's boundary to the author's code
                tries.undo()
                self._bury(call, error, epoch)
                if call.due_us is not None:
                    made.append(self._spent(call, marks, epoch))
                continue
            made.append(call)
        ttl_us = marks.expiry_us(self._operation.ttl_us, epoch)
        kept = [call for call in made if not call.context.is_empty]
        states = [self._row(call.context, ttl_us) for call in kept]
        frame, refused = frame_of(states, self._table.schema)
        wrong = dict(refused)
        for position, fault in refused:
            self._bury(kept[position], fault, epoch)
        bad = {id(kept[position]) for position in wrong}
        self._forget([call.context.key for call in made if call.context.is_empty])
        self._store(frame)
        return [row for call in made if id(call) not in bad for row in call.results]

    def _spent(self, call: _Call, marks: Watermarks, epoch: Epoch) -> _Call:
        """The key of a timer that failed as it was before, without that timer: it fails once, not for ever."""
        keys = pl.DataFrame([call.context.key], schema={name: self._table.schema[name] for name in self._keys})
        (again,) = self._calls(keys, [[]], marks, epoch)
        for table in (self._table, self._clocked):
            if (again.context.event_us if table is self._table else again.context.processing_us) == call.due_us:
                self._take_timer(table, again.context)
        return again

    def _row(self, context: _Key, ttl_us: int | None) -> dict[str, Any]:
        times = {EVENT: context.event_us, PROCESSING: context.processing_us, TTL: ttl_us}
        return {**context.key, **context.state, **times}

    def _bury(self, call: _Call, error: BaseException, epoch: Epoch) -> None:
        for row in call.rows:
            epoch.dead_row(self.place.name, error, row_json(row))
        if not call.rows:
            epoch.dead_row(self.place.name, error, row_json(call.context.key), {"of": "timer"})

    def _forget(self, keys: list[dict[str, Any]]) -> None:
        if not keys:
            return
        gone = pl.DataFrame(keys, schema={name: self._table.schema[name] for name in self._keys}, orient="row")
        for table in (self._table, self._clocked):
            slots = table.find(gone)
            table.delete(slots[slots != ABSENT])

    def _store(self, states: pl.DataFrame) -> None:
        if states.is_empty():
            return
        times = states.select(pl.min_horizontal(EVENT, TTL).fill_null(NEVER_US)).to_series().to_numpy()
        self._table.upsert(states, times)
        clocked = self._clocked.find(states)
        wanted = states[PROCESSING].is_not_null().to_numpy()
        self._clocked.delete(clocked[(clocked != ABSENT) & ~wanted])
        timed = states.filter(pl.col(PROCESSING).is_not_null()).select(*self._keys, PROCESSING)
        self._clocked.upsert(timed, timed[PROCESSING].to_numpy())


def _time_us(time: int | datetime) -> int:
    if isinstance(time, datetime):
        aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return int(time)
