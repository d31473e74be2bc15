"""The input of a flow as a run has it: it grows in several partitions, and forgets what it was told to forget."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from penstock.clock import Random
from penstock.connect import Backlog, Budget, Context, Offsets, PartitionRead, Source
from penstock.errors import ConnectorError
from penstock.flow import Dataset
from penstock.testing.simulation.disk import Keeper

__all__ = ["Input", "SimulatedSource"]

_HURRIES = 0.3
FAR_BEHIND_ROWS = 20_000
"""What a source says that waits, where the engine is to read ahead of its turn."""


class Input:
    """The rows of one dataset, in partitions that become longer. `frames`: all that will ever be there."""

    def __init__(self, frame: pl.DataFrame, partitions: int, chance: Random) -> None:
        places = pl.Series([chance.randrange(partitions) for _ in range(frame.height)], dtype=pl.Int64)
        self.frames = {f"p{number}": frame.filter(places == number) for number in range(partitions)}
        self._order = [f"p{number}" for number in places]
        self._given = 0
        self.there = dict.fromkeys(self.frames, 0)
        self.forgotten = dict.fromkeys(self.frames, 0)
        self.finished = False
        self.hurries = chance.random() < _HURRIES
        """Whether it says that very much waits."""

    @property
    def schema(self) -> pl.Schema:
        """The columns."""
        return next(iter(self.frames.values())).schema

    @property
    def rows(self) -> int:
        """How many rows there will have been."""
        return len(self._order)

    @property
    def is_given(self) -> bool:
        """Whether all rows are there."""
        return self._given == len(self._order)

    def grow(self, rows: int) -> int:
        """Let so many rows come; gives how many came."""
        part = self._order[self._given : self._given + rows]
        self._given += len(part)
        for name in part:
            self.there[name] += 1
        return len(part)

    def forget(self, end: Offsets) -> None:
        """Everything before `end` may go."""
        for name in self.forgotten:
            self.forgotten[name] = max(self.forgotten[name], int(end.get(name, 0)))

    def lose(self, chance: Random) -> Offsets:
        """Forget what must not be forgotten; gives what was forgotten before, for `restore`."""
        before = dict(self.forgotten)
        for name in self.forgotten:
            self.forgotten[name] = chance.randint(self.forgotten[name], self.there[name])
        return before

    def restore(self, before: Offsets) -> None:
        """Remember again, as from a backup."""
        self.forgotten = {name: int(place) for name, place in before.items()}


class SimulatedSource(Source):
    """Reads an `Input`. Holds the engine to the contract: nobody offers who does not lead."""

    bounded = True

    def __init__(self, dataset: Dataset, context: Context, given: Input, keeper: Keeper | None) -> None:
        super().__init__(dataset, context)
        self._input = given
        self._keeper = keeper
        self._leads = False

    def schema(self) -> pl.Schema:
        """That of the frame."""
        return self._input.schema

    def initial(self) -> Offsets:
        """The first row of every partition."""
        self._led("initial")
        return dict.fromkeys(self._input.frames, 0)

    def lead(self) -> None:
        """Take what comes."""
        self._leads = True

    def rest(self) -> None:
        """Only read."""
        self._leads = False

    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """As many rows as there is room for, from one partition after the other."""
        self._led("offer")
        room, end = budget.rows, {}
        for name, there in self._input.there.items():
            first = int(start.get(name, 0))
            end[name] = first + max(0, min(there - first, room))
            room -= end[name] - first
        return end

    def read(self, start: Offsets, end: Offsets) -> Sequence[PartitionRead]:
        """The rows of start..end. Raises ConnectorError where they were forgotten."""
        if self._keeper is not None:
            self._keeper.point(f"read {self.context.step}")
        found = []
        for name, frame in self._input.frames.items():
            first, last = int(start.get(name, 0)), int(end.get(name, 0))
            if first >= last:
                continue
            gone = self._input.forgotten[name]
            if self._keeper is not None and first < gone:
                error = ConnectorError(
                    f"rows {first}..{gone} of {name} are forgotten", flow=self.context.flow, step=self.context.step
                )
                error.heals = False
                raise error
            found.append(PartitionRead(name, frame.slice(first, last - first)))
        return found

    def forget(self, end: Offsets) -> None:
        """Let go of rows."""
        if self._keeper is not None:
            self._keeper.point(f"forget {self.context.step}")
        self._input.forget(end)

    def exhausted(self, at: Offsets) -> bool:
        """Whether it is finished and read to its end."""
        return self._input.finished and all(int(at.get(name, 0)) >= there for name, there in self._input.there.items())

    def backlog(self, at: Offsets) -> Backlog:
        """What waits; now and then it says that it is very much."""
        waits = sum(there - int(at.get(name, 0)) for name, there in self._input.there.items())
        return Backlog(rows=FAR_BEHIND_ROWS if waits and self._input.hurries else waits)

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """Let the simulated time pass."""
        self.context.clock.sleep(timeout_s)

    def _led(self, what: str) -> None:
        assert self._leads or self._keeper is None, f"{what} of {self.context.step} by a process that does not lead"
