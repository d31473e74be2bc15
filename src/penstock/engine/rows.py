"""Rows on their way through stateless steps: a frame, and the transformations that are still to be done on it.

Transformations are put off and done as one lazy Polars query, so that a chain of steps costs one pass. When that query
raises, the chain is done again step by step, and the rows that raise are isolated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np
import polars as pl

from penstock.engine.batch import Epoch, row_json
from penstock.engine.isolate import Refused, hold_share, isolate

__all__ = ["Origin", "Rows", "Transform"]

ROW = "__row"
"""The column that carries the position in the range while a failure is traced back."""


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """One stateless step: `lazy` where it is Polars expressions, `eager` in any case.

    `carrying`: the same with a column `__row` kept, where every row that comes out is one that came in. `empty`: its
    results without any row; functions of an author are never called with an empty frame.
    """

    step: str
    empty: pl.DataFrame
    eager: Callable[[pl.DataFrame], pl.DataFrame]
    lazy: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None
    carrying: Callable[[pl.DataFrame], pl.DataFrame] | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows of a frame were read: by source, the partitions with their number of rows and their range.

    `letters`: they are dead letters of these ids, which are tried again.
    """

    source: str
    partitions: tuple[tuple[str, int], ...]
    planned: Mapping[str, Any]
    letters: tuple[int, ...] = ()

    def offset(self, row: int) -> dict[str, Any]:
        """The address of a row: its place in the range of its partition. The same range read again gives it again."""
        if row < len(self.letters):
            return {"letter": self.letters[row]}
        for partition, height in self.partitions:
            if row < height:
                return self.range(partition) | {"row": row}
            row -= height
        return self.range(None)

    def range(self, partition: str | None) -> dict[str, Any]:
        """The range of the epoch, where the row itself can't be told."""
        if self.letters:
            return {"letters": [self.letters[0], self.letters[-1]]}
        start, end = dict(self.planned["start"]), dict(self.planned["end"])
        if partition is None:
            return {"source": self.source, "start": start, "end": end}
        return {
            "source": self.source,
            "partition": partition,
            "start": start.get(partition),
            "end": end.get(partition),
        }


@dataclass(slots=True)
class Rows:
    """A frame and what is still to be done on it. `done`: what was done on `base` to get `frame`, for tracing."""

    frame: pl.DataFrame
    origin: Origin | None = None
    todo: list[Transform] = field(default_factory=list)
    base: pl.DataFrame | None = None
    done: list[Transform] = field(default_factory=list)
    places: pl.Series | None = None
    """For each row of `base` its position in the range that was read; None: all of them, in order."""

    def then(self, transform: Transform) -> Rows:
        """The rows after one more step, not done yet."""
        return Rows(self.frame, self.origin, [*self.todo, transform], self.base, self.done, self.places)

    def collect(self, epoch: Epoch) -> pl.DataFrame:
        """Do what is to be done. Where it fails, `epoch` is at the step that did."""
        if not self.todo:
            return self.frame
        collecting = epoch.at_step
        while self.todo:
            count = 0
            while count < len(self.todo) and self.todo[count].lazy is not None:
                count += 1
            if count:
                self._fused(count, epoch)
            else:
                self._step(self.todo[0], epoch)
        epoch.enter(collecting)
        return self.frame

    def _fused(self, count: int, epoch: Epoch) -> None:
        part = self.todo[:count]
        epoch.enter(part[-1].step, [transform.step for transform in part])
        query = self.frame.lazy()
        noted = epoch.mark()
        try:
            for transform in part:
                assert transform.lazy is not None
                query = transform.lazy(query)
            result = query.collect()
        except pl.exceptions.PolarsError:
            epoch.back_to(noted)
            for transform in part:
                self._step(transform, epoch)
            return
        self._advance(part, result)

    def _step(self, transform: Transform, epoch: Epoch) -> None:
        epoch.enter(transform.step)
        result, refused = isolate(transform.eager, self.frame, transform.empty, transform.step)
        if refused:
            self.bury(transform.step, refused, epoch)
            self._without([position for position, _ in refused])
        self._advance([transform], result)

    def _without(self, positions: list[int]) -> None:
        """Take rows out of the frame, and go on tracing from what is left."""
        places = self._places()
        left = np.delete(np.arange(self.frame.height), positions)
        self.frame, self.done = self.frame[left], []
        self.base, self.places = self.frame, None if places is None else places[left]
        if places is None:
            self.origin_lost()

    def _advance(self, part: list[Transform], result: pl.DataFrame) -> None:
        if self.base is None:
            self.base = self.frame
        self.done = [*self.done, *part]
        self.frame = result
        self.todo = self.todo[len(part) :]
        if any(transform.carrying is None for transform in part):
            self.origin_lost()

    def origin_lost(self) -> None:
        """From here on only the range of the epoch is known of a row."""
        if self.origin is not None:
            self.origin = replace(self.origin, partitions=())

    def bury(self, step: str, refused: Refused, epoch: Epoch) -> None:
        """Write dead letters for rows of the frame (which has no todo left), in the order in which they came.

        Raises StepFailed where they are most.
        """
        hold_share(step, refused, self.frame.height)
        refused = sorted(refused, key=itemgetter(0))
        offsets = self.offsets([position for position, _ in refused])
        for (position, error), offset in zip(refused, offsets, strict=True):
            epoch.dead_row(step, error, row_json(self.frame.row(position, named=True)), offset)

    def offsets(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Where the rows at these positions of the frame (which has no todo left) were read, as exactly as is known."""
        if self.origin is None or not positions:
            return [{} for _ in positions]
        places = self._places()
        if places is None:
            return [self.origin.range(None) for _ in positions]
        return [self.origin.offset(int(place)) for place in places.gather(pl.Series(positions, dtype=pl.UInt32))]

    def _places(self) -> pl.Series | None:
        """For each row of the frame its position in the range that was read, by doing the chain again with it."""
        if self.origin is None or not self.origin.partitions:
            return None
        base = self.base if self.base is not None else self.frame
        frame = base.with_row_index(ROW) if self.places is None else base.with_columns(self.places.alias(ROW))
        for transform in self.done:
            if transform.carrying is None:
                return None
            frame = transform.carrying(frame)
        return frame[ROW] if frame.height == self.frame.height else None
