"""The contract of the edges: what every source and every sink promises, on one page.

A **source** cuts its input into ranges of offsets; the same range read twice gives the same rows in the same order.
A **sink** takes the rows of one epoch and *replaces* whatever that epoch wrote before, fenced by generation.
Offsets are plain JSON values, so that a plan can be stored, shown, and carried out on another machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from penstock.clock import Clock
from penstock.errors import ConnectorError
from penstock.flow import Dataset

__all__ = [
    "Backlog",
    "Budget",
    "Change",
    "Context",
    "Delivery",
    "Offsets",
    "PartitionRead",
    "Receipt",
    "Reject",
    "Sink",
    "Source",
]

Offsets: TypeAlias = Mapping[str, Any]
"""Partition name -> position (a JSON value that only this source understands). Half-open: the next row to read."""

Receipt: TypeAlias = dict[str, Any]
"""What a sink did with an epoch, as JSON values; kept in the ledger. `{"rows": n}` at least."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one epoch may take from a source. A source may give less, and overshoot by one row only.

    `rows` and `size_bytes` are limits for the whole source, not for each partition. A source that knows only one of
    the two before it reads holds that one. One row larger than `size_bytes` is still taken, alone.
    """

    rows: int = 500_000
    size_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reject:
    """A record of the range that can't become a row: it goes to the dead letters, the rows beside it go on."""

    partition: str
    offset: Any
    raw: str
    error: str


@dataclass(frozen=True, slots=True)
class PartitionRead:
    """The rows of one partition in a range, in the order of their offsets."""

    partition: str
    frame: pl.DataFrame
    rejects: Sequence[Reject] = ()


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is waiting after a position, as far as the source knows; None where it can't tell."""

    rows: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a connector is given of the world: where it may keep files of its own, which flow it serves, the time.

    `folder` is private to this source or sink (inboxes, lists of seen files), durable, and on a local disk; it is
    created by who needs it. `root` is what relative paths in a dataset's options are relative to. `schema` is what
    the rows must look like (None only where a source is asked to tell its own).
    """

    flow: str
    step: str
    folder: Path
    root: Path
    clock: Clock
    schema: pl.Schema | None = None
    key: tuple[str, ...] = ()
    """The columns that name a row where results update; empty for append."""
    first_name: str = ""
    """The first name that the step had, where its author renamed it."""

    @property
    def kept_as(self) -> str:
        """The name under which lies what outlives a new name of the step: fences, epochs, slots. Not for people."""
        return self.first_name or self.step


class Source(ABC):
    """Where rows come from.

    Life: built from a `Dataset` and a `Context` -> `schema` -> `offer`/`read`/`forget` many times -> `close`.
    `offer`, `backlog` and `forget` are called from the epoch loop, `read` possibly from another thread at the same
    time: state shared between them needs a lock.
    """

    replayable: bool = True
    """False: the system behind can't be read twice, and the source reads from a durable inbox of its own."""
    bounded: bool = False
    """True: there is an end; `exhausted` will say so."""

    def __init__(self, dataset: Dataset, context: Context) -> None:
        self.dataset = dataset
        self.context = context

    @abstractmethod
    def schema(self) -> pl.Schema:
        """The columns of the rows: the declared schema, or what the data says where it can tell (Parquet, a table).

        Raises SchemaError where neither is known. Must not take rows away.
        """

    def project(self, columns: Sequence[str]) -> pl.Schema:
        """From now on only these columns are needed; gives the columns that `read` will give: these, or still all.

        A source does this where it saves work (a line of JSON need not be turned into values that nobody looks at).
        """
        return self.schema()

    @abstractmethod
    def initial(self) -> Offsets:
        """The position before the first row, for a flow that has never run."""

    @abstractmethod
    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """The end of the next range from `start`, at once and without blocking; `start` itself where nothing is there.

        Promise: reading start..end later, by another process too, gives the same rows. Trap: an end may only cover
        what is complete and durable (a line with its newline, a committed transaction, a written inbox row).
        """

    @abstractmethod
    def read(self, start: Offsets, end: Offsets) -> Sequence[PartitionRead]:
        """The rows of start..end, one entry a partition that has any, in a stable order.

        Raises ConnectorError where the range is no longer there (and says from which offset on it is gone).
        """

    def lead(self) -> None:
        """From now on this process leads the flow: take what comes in (listen, own the slot). Safe to call again.

        Before it, and after `rest`, a process only reads ranges that others have planned: it must not listen,
        acknowledge, delete, or otherwise be noticed by the system behind. `initial` and `offer` come only after it.
        """

    def rest(self) -> None:
        """Another process leads now: stop listening, leave alone what is the leader's; `read` goes on working."""

    def forget(self, end: Offsets) -> None:
        """Everything before `end` is committed and won't be asked again; acknowledge or delete it. May be late.

        Trap: it may be called again with the same or an earlier end after a restart.
        """

    def exhausted(self, at: Offsets) -> bool:
        """Whether no row will ever come after `at`. Always False for an unbounded source."""
        return False

    def backlog(self, at: Offsets) -> Backlog:
        """What waits after `at`, as cheaply as the source can tell."""
        return Backlog()

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """Return when there may be rows after `at`, or after `timeout_s` at the latest."""
        self.context.clock.sleep(min(timeout_s, 0.005))

    def close(self) -> None:
        """Give back connections and files. Called once; nothing is lost without it."""


class Delivery(StrEnum):
    """What a sink makes of an epoch that is written again after a crash."""

    TRANSACTIONAL = "transactional"
    """Readers see all rows of an epoch or none, each epoch once."""
    IDEMPOTENT = "idempotent"
    """Each epoch once in the end; a reader may see a part of it for a moment."""
    AT_LEAST_ONCE = "at-least-once"
    """An epoch that was interrupted may be there twice."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one epoch does to one sink.

    `rows`: the rows to append; or, where the sink has a key, to put in place of those with the same key.
    `deleted`: keys (the key columns only) whose row goes away; always None for append. A key is in at most one of
    the two, and in each of them once.
    """

    rows: pl.DataFrame
    deleted: pl.DataFrame | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return self.rows.is_empty() and (self.deleted is None or self.deleted.is_empty())


class Sink(ABC):
    """Where rows go.

    Life: built -> `open(generation)` -> `write` once an epoch, epochs in rising order -> `close`. The same epoch may
    come again only as the last one written (after a crash), perhaps with other rows (after a code change), perhaps
    with none: afterwards the target holds what the *second* call said, and nothing of the first.
    """

    delivery: Delivery = Delivery.AT_LEAST_ONCE
    undoable: bool = False
    """Whether `retract` works."""
    replaces_at_once: bool = False
    """Whether a reader sees the rows before a `replace` or those after it, and nothing else, however many epochs."""
    upserts: bool = False
    """Whether `Context.key` and `Change.deleted` are understood; a flow with updating results is refused otherwise."""
    min_epoch_ms: int = 0
    """How long an epoch should at least be for this sink to be efficient; a flow takes the largest of its sinks."""

    def __init__(self, dataset: Dataset, context: Context) -> None:
        self.dataset = dataset
        self.context = context

    def prepare(self) -> None:
        """Do ahead of `open` what takes time: connect, look whether the target fits. Changes nothing, fences nobody.

        A process that follows a flow calls it, so that its `open` is quick; `open` must work without it too. Raises
        ConnectorError as `open` does. May be called again.
        """

    @abstractmethod
    def open(self, generation: int) -> None:
        """Create what is missing and raise the fence: from now on a write of a lower generation raises Fenced.

        Raises ConnectorError where the target is away or does not fit (says which column and type).
        """

    @abstractmethod
    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """Make the target hold exactly `change` for `epoch`; durable on return.

        Raises Fenced where a higher generation has opened the target, ConnectorError where it is away (then nothing
        or everything of the epoch may be there: the engine writes the same epoch again).
        """

    def retract(self, first_epoch: int, generation: int) -> Receipt:
        """Take back what epochs >= `first_epoch` wrote (append: rows go; upsert: rows as before come back)."""
        raise ConnectorError(
            f"{type(self).__name__} can't take rows back", flow=self.context.flow, step=self.context.step
        )

    def replace(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        """Take back epochs >= `first_epoch` and write `changes` (rising epochs, from there on) in their place.

        Only where `undoable`. Where `replaces_at_once` is true it is one step for readers. Interrupted, it is called
        again with the same arguments, `changes` from its begin (an iterator that was begun is used up). Afterwards
        `last_epoch` is that of the last change, or before `first_epoch` where there is none. Raises as `retract` and
        `write`; what `changes` raises comes out, and the target is as it was or as after a `retract`.
        """
        taken = self.retract(first_epoch, generation)
        rows = sum(self.write(epoch, generation, change)["rows"] for epoch, change in changes)
        return {"retracted": taken, "rows": rows}

    def correct(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change, Change]]) -> Receipt:
        """Where rows can't be taken back: send corrections, marked as such, for (epoch, wrong change, right change).

        Only what differs is sent. Raises ConnectorError where the sink has no way to mark a correction.
        """
        raise ConnectorError(
            f"{type(self).__name__} has no way to mark a correction", flow=self.context.flow, step=self.context.step
        )

    def last_epoch(self) -> int | None:
        """The last epoch that the target holds, where it can tell; None where it can't or there is none."""
        return None

    def close(self) -> None:
        """Give back connections and files, and let background work end. Called once; nothing is lost without it."""
