"""The sinks of a flow as a run has them: real ones, which go away and lose their answers; and what they took."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import polars as pl

from penstock.connect import Change, Receipt, Sink, memory_rows, open_sink
from penstock.errors import ConnectorError
from penstock.flow import Dataset
from penstock.testing.simulation.disk import Keeper

__all__ = ["SinkKeeper", "Target", "Targets", "WatchedSink", "Written", "memory_target"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a dataset is written in a run. `read`: all rows that it holds now."""

    dataset: Dataset
    read: Callable[[], pl.DataFrame]


Targets: TypeAlias = Callable[[Path, str, Dataset], Target]
"""From the run's folder, a name of its own and the author's dataset to the place that stands for it."""


def memory_target(_folder: Path, name: str, dataset: Dataset) -> Target:
    """A table in memory."""
    return Target(Dataset("memory", name, dataset.schema, key=dataset.key), lambda: memory_rows(name))


@dataclass(frozen=True, slots=True)
class Written:
    """What a sink took. `upto`: the last epoch of a `replace`."""

    table: str
    generation: int
    epoch: int
    upto: int | None = None


class SinkKeeper(Keeper, Protocol):
    """The process that a sink works for."""

    def before(self, what: str, table: str) -> None:
        """Come to a call of a sink; raises ConnectorError where it is away."""
        ...

    def after(self, what: str, table: str) -> None:
        """It has done it; raises ConnectorError where its answer is lost."""
        ...

    def wrote(self, written: Written) -> None:
        """Note what a sink took."""
        ...


class WatchedSink(Sink):
    """A real sink for one process of a run."""

    def __init__(self, inner: Sink, table: str, keeper: SinkKeeper) -> None:
        super().__init__(inner.dataset, inner.context)
        self._inner = inner
        self._table = table
        self._keeper = keeper
        self.delivery = inner.delivery
        self.undoable = inner.undoable
        self.replaces_at_once = inner.replaces_at_once
        self.upserts = inner.upserts
        self.min_epoch_ms = inner.min_epoch_ms

    def prepare(self) -> None:
        """As the real one."""
        self._call("prepare", self._inner.prepare)

    def open(self, generation: int) -> None:
        """As the real one."""
        self._call("open", lambda: self._inner.open(generation), Written(self._table, generation, 0))

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """As the real one."""
        written = Written(self._table, generation, epoch)
        return self._call("write", lambda: self._inner.write(epoch, generation, change), written)

    def replace(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        """As the real one."""
        known = list(changes)
        written = Written(self._table, generation, first_epoch, max((epoch for epoch, _ in known), default=first_epoch))
        return self._call("replace", lambda: self._inner.replace(first_epoch, generation, known), written)

    def last_epoch(self) -> int | None:
        """As the real one."""
        return self._inner.last_epoch()

    def close(self) -> None:
        """As the real one."""
        self._inner.close()

    def _call(self, what: str, action: Callable[[], T], written: Written | None = None) -> T:
        self._keeper.before(what, self._table)
        answer = action()
        if written is not None:
            self._keeper.wrote(written)
        self._keeper.after(what, self._table)
        return answer


def away(table: str) -> ConnectorError:
    """The error of a sink that is away for a while."""
    return ConnectorError(f"simulated: {table} is away")


def opened(target: Target, context: object, table: str, keeper: SinkKeeper) -> Sink:
    """The sink of a target for one process."""
    return WatchedSink(open_sink(target.dataset, context), table, keeper)  # type: ignore[arg-type]
