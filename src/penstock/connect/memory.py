"""Rows in this process's memory, by name: for tests and notebooks, with the promises of a real table."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from penstock.analysis import to_schema
from penstock.connect.complaints import forgotten, naming
from penstock.connect.contract import (
    Backlog,
    Budget,
    Change,
    Context,
    Delivery,
    Offsets,
    PartitionRead,
    Receipt,
    Sink,
    Source,
)
from penstock.errors import ConnectorError, Fenced, SchemaError
from penstock.flow import Dataset

__all__ = ["MemorySink", "MemorySource", "clear", "finish", "memory_epochs", "memory_rows", "put_rows"]

PARTITION = "memory"
DELETED = "__deleted__"


@dataclass(slots=True)
class _Store:
    """One named place: what was put in for a source to read, and what a sink wrote, by epoch."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    frames: list[pl.DataFrame] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """Row number after the last row of each frame."""
    finished: bool = False
    generation: int = -1
    key: tuple[str, ...] = ()
    schema: pl.Schema | None = None
    epochs: dict[int, Change] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.ends[-1] if self.ends else 0


_stores: dict[str, _Store] = {}
_stores_lock = threading.Lock()


def _store(name: str) -> _Store:
    with _stores_lock:
        return _stores.setdefault(name, _Store())


def put_rows(name: str, frame: pl.DataFrame) -> None:
    """Append rows for the sources of this name. Raises SchemaError where the columns differ from those before."""
    store = _store(name)
    with store.changed:
        if store.finished:
            raise ConnectorError(f"memory {name!r} is finished; nothing can follow", hint=f"clear({name!r}) first")
        if store.frames and store.frames[0].schema != frame.schema:
            raise SchemaError(f"memory {name!r} holds {dict(store.frames[0].schema)}, not {dict(frame.schema)}")
        store.frames.append(frame)
        store.ends.append(store.count + frame.height)
        store.changed.notify_all()


def finish(name: str) -> None:
    """Say that no row will follow: sources of this name are exhausted once they have read what is there."""
    store = _store(name)
    with store.changed:
        store.finished = True
        store.changed.notify_all()


def clear(name: str) -> None:
    """Forget everything under this name: rows, epochs, the fence."""
    with _stores_lock:
        _stores.pop(name, None)


def memory_rows(name: str) -> pl.DataFrame:
    """What the sink of this name holds now; where none was opened, the rows that were put in."""
    store = _store(name)
    with store.changed:
        if store.schema is None:
            return pl.concat(store.frames) if store.frames else pl.DataFrame()
        changes = [change for _, change in sorted(store.epochs.items())]
        if not store.key:
            return pl.concat([store.schema.to_frame(), *(change.rows for change in changes)])
        return _latest(store.schema, store.key, changes)


def memory_epochs(name: str) -> dict[int, Change]:
    """What each epoch did to the sink of this name, by epoch number."""
    store = _store(name)
    with store.changed:
        return dict(sorted(store.epochs.items()))


def _latest(schema: pl.Schema, key: tuple[str, ...], changes: list[Change]) -> pl.DataFrame:
    """The last row of each key that was not deleted after it."""
    history = [schema.to_frame().with_columns(pl.lit(value=False).alias(DELETED))]
    for change in changes:
        if change.deleted is not None:
            history.append(change.deleted.select(key).with_columns(pl.lit(value=True).alias(DELETED)))
        history.append(change.rows.with_columns(pl.lit(value=False).alias(DELETED)))
    return (
        pl.concat(history, how="diagonal")
        .unique(subset=list(key), keep="last", maintain_order=True)
        .filter(~pl.col(DELETED))
        .drop(DELETED)
    )


class MemorySource(Source):
    """Reads what `put_rows` put in. One partition; the offset is the row number. Ends after `finish`."""

    bounded = True

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        self._store = _store(dataset.name)

    def schema(self) -> pl.Schema:
        """The declared columns, or those of the first frame. Raises SchemaError where there is neither."""
        if self.context.schema is not None:
            return self.context.schema
        if self.dataset.schema is not None:
            return to_schema(self.dataset.schema)
        with self._store.changed:
            if self._store.frames:
                return self._store.frames[0].schema
        raise SchemaError(
            f"memory {self.dataset.name!r} has no rows yet, so its columns are unknown",
            flow=self.context.flow,
            step=self.context.step,
            hint="declare a schema, or put_rows before the flow is built",
        )

    def initial(self) -> Offsets:
        """Row 0."""
        return {PARTITION: 0}

    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """As many rows as the budget has room for, one at least."""
        first = _row(start)
        with self._store.changed:
            count = self._store.count
            if first >= count:
                return start
            held = sum(frame.estimated_size() for frame in self._store.frames)
            row_bytes = max(1, held // count)
        rows = max(1, min(budget.rows, budget.size_bytes // row_bytes))
        return {PARTITION: min(count, first + rows)}

    def read(self, start: Offsets, end: Offsets) -> list[PartitionRead]:
        """The rows start..end. Raises ConnectorError where this process does not hold them."""
        first, last = _row(start), _row(end)
        if first >= last:
            return []
        with self._store.changed:
            if last > self._store.count:
                with naming(self.context):
                    raise forgotten(
                        f"memory {self.dataset.name!r} holds {self._store.count} rows; {first}..{last} was asked",
                        since="row 0 of this process",
                        hint="rows in memory do not survive their process",
                    )
            parts = [
                frame.slice(max(0, first - begin), min(stop, last) - max(begin, first))
                for frame, stop in zip(self._store.frames, self._store.ends, strict=True)
                if (begin := stop - frame.height) < last and stop > first
            ]
        frame = pl.concat(parts)
        schema = self.schema()
        missing = [name for name in schema if name not in frame.columns]
        if missing:
            raise SchemaError(f"memory {self.dataset.name!r} has no column {missing[0]!r}, only {frame.columns}")
        return [PartitionRead(PARTITION, frame.select(pl.col(name).cast(kind) for name, kind in schema.items()))]

    def exhausted(self, at: Offsets) -> bool:
        """Whether `finish` was called and everything before it is read."""
        with self._store.changed:
            return self._store.finished and _row(at) >= self._store.count

    def backlog(self, at: Offsets) -> Backlog:
        """The rows after `at`."""
        with self._store.changed:
            return Backlog(rows=max(0, self._store.count - _row(at)))

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """Until rows are put in, by the machine's clock: another thread puts them in."""
        with self._store.changed:
            self._store.changed.wait_for(lambda: self._store.finished or self._store.count > _row(at), timeout_s)


def _row(offsets: Offsets) -> int:
    return int(offsets.get(PARTITION, 0))


class MemorySink(Sink):
    """Keeps each epoch's change, so that it can be replaced and taken back."""

    delivery = Delivery.TRANSACTIONAL
    undoable = True
    replaces_at_once = True
    upserts = True

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        self._store = _store(dataset.name)

    def open(self, generation: int) -> None:
        """Raise the fence. Raises Fenced where a newer generation is there, SchemaError where no schema was given."""
        if self.context.schema is None:
            raise SchemaError(f"memory {self.dataset.name!r} was opened without a schema", step=self.context.step)
        with self._store.changed:
            self._check_fence(generation)
            self._store.generation = generation
            self._store.schema = self.context.schema
            self._store.key = self.context.key or self.dataset.key

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """Put `change` in place of what the epoch said before. Raises Fenced for an old generation."""
        with self._store.changed:
            self._check_fence(generation)
            self._store.epochs[epoch] = change
            self._store.changed.notify_all()
        deleted = 0 if change.deleted is None else change.deleted.height
        return {"rows": change.rows.height, "deleted": deleted}

    def retract(self, first_epoch: int, generation: int) -> Receipt:
        """Take epochs >= `first_epoch` back. Raises Fenced for an old generation."""
        with self._store.changed:
            self._check_fence(generation)
            gone = [epoch for epoch in self._store.epochs if epoch >= first_epoch]
            rows = sum(self._store.epochs.pop(epoch).rows.height for epoch in gone)
        return {"rows": rows, "epochs": len(gone)}

    def replace(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        """Put `changes` in the place of epochs >= `first_epoch`, at once. Raises Fenced for an old generation."""
        with self._store.changed:
            self._check_fence(generation)
        given = dict(changes)
        if any(epoch < first_epoch for epoch in given):
            raise ValueError(f"epoch {min(given)} comes before {first_epoch}")
        with self._store.changed:
            self._check_fence(generation)
            kept = {epoch: change for epoch, change in self._store.epochs.items() if epoch < first_epoch}
            taken = len(self._store.epochs) - len(kept)
            self._store.epochs = {**kept, **given}
            self._store.changed.notify_all()
        rows = sum(change.rows.height for change in given.values())
        return {"rows": rows, "epochs": len(given), "retracted": {"epochs": taken}}

    def last_epoch(self) -> int | None:
        """The highest epoch that was written; None where none was."""
        with self._store.changed:
            return max(self._store.epochs, default=None)

    def _check_fence(self, generation: int) -> None:
        if generation < self._store.generation:
            raise Fenced(
                f"memory {self.dataset.name!r} belongs to generation {self._store.generation}, this is {generation}",
                flow=self.context.flow,
                step=self.context.step,
            )
