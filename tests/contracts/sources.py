"""The registry of the source contract: how each kind of source is made, filled, and what must come out.

To put a source under the contract, add `tests/contracts/cases/source_<kind>.py` with one subclass of `SourceCase`.
"""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from penstock.clock import SystemClock
from penstock.connect import Budget, Context, Offsets, Source, open_source
from penstock.flow import Dataset

__all__ = [
    "ROWS",
    "SourceCase",
    "context_of",
    "find_cases",
    "made_case",
    "numbered",
    "over",
    "read_elsewhere",
    "rows_of",
]

ROWS = pl.Schema({"id": pl.Int64, "word": pl.String})
"""What most sources of the suite hold."""


class SourceCase(ABC):
    """One kind of source on one empty system."""

    kind: ClassVar[str]
    """Its name in the connector table."""
    name: ClassVar[str]
    """Which case it is, where a kind has several."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Fixtures whose values `set_up` gets, by name."""
    shared: ClassVar[bool] = True
    """Whether another process can read the same rows."""
    bounded: ClassVar[bool] = False
    """Whether there is an end once `fill` was called; the suite then fills once."""
    ordered: ClassVar[bool] = True
    """Whether rows come in the order in which they were put in; else they are compared as a multiset."""
    forgets: ClassVar[bool] = False
    """Whether the system behind may let go of rows; `lose` then makes it do so."""
    count: ClassVar[int] = 500
    """How many rows most tests put in."""

    def __init__(self, folder: Path, fixtures: Mapping[str, Any]) -> None:
        self.folder = folder
        self.set_up(fixtures)

    def set_up(self, fixtures: Mapping[str, Any]) -> None:
        """Take what the system needs (a server's address) from the fixtures named in `needs`, and make it empty."""

    @abstractmethod
    def dataset(self) -> Dataset:
        """The source. The same each time."""

    @abstractmethod
    def fill(self, first: int, count: int) -> None:
        """Put in the rows `numbered(first, count)`, durable on return."""

    def lose(self, source: Source, end: Offsets) -> None:
        """Let go of all rows before `end`, which `source` has offered; only called where `forgets` is true."""
        raise NotImplementedError

    def expected(self, count: int) -> pl.DataFrame:
        """What must come out after `fill(0, count)`, with the columns of `schema`."""
        return numbered(0, count)

    @property
    def schema(self) -> pl.Schema:
        """The columns that are asked for."""
        return ROWS

    def make(self) -> Source:
        """A source on the system. Several may be made, one after the other."""
        return open_source(self.dataset(), context_of(self.folder, self.schema))

    def settle(self, source: Source, at: Offsets, budget: Budget | None = None) -> Offsets:
        """The next offer, waited for where the source notices rows with a delay (at most 10 s)."""
        clock = SystemClock()
        until_s = clock.stopwatch_s() + 10
        while (end := source.offer(at, budget or Budget())) == at and clock.stopwatch_s() < until_s:
            if source.exhausted(at):
                return at
            source.wait(at, 0.2)
        return end

    def drain(
        self, source: Source, at: Offsets, rows: int, budget: Budget | None = None
    ) -> tuple[Offsets, pl.DataFrame]:
        """Offer and read until so many rows came; the position then, and the rows."""
        frames = [self.schema.to_frame()]
        while sum(frame.height for frame in frames) < rows:
            end = self.settle(source, at, budget)
            if end == at:
                break
            frames.append(rows_of(source, at, end, self.schema))
            at = end
        return at, self.sorted(pl.concat(frames))

    def sorted(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows in an order that can be compared."""
        return frame if self.ordered else frame.sort(frame.columns)


def context_of(folder: Path, schema: pl.Schema) -> Context:
    """The context of a source whose files are in `folder`."""
    return Context("flow", "read", folder / "own", folder, SystemClock(), schema)


def numbered(first: int, count: int) -> pl.DataFrame:
    """Rows whose words follow from their ids; of different lengths, some with letters beyond ASCII."""
    ids = range(first, first + count)
    return pl.DataFrame({"id": ids, "word": [f"wörd {number} {'x' * (number * 7 % 50)}" for number in ids]}, ROWS)


def rows_of(source: Source, start: Offsets, end: Offsets, schema: pl.Schema) -> pl.DataFrame:
    """All rows of a range. Rejects are none of what the suite puts in."""
    reads = source.read(start, end)
    assert not [reject for read in reads for reject in read.rejects]
    return pl.concat([schema.to_frame(), *(read.frame for read in reads)])


def find_cases() -> list[type[SourceCase]]:
    """All cases in the folder `cases`, by name."""
    folder = Path(__file__).parent / "cases"
    for path in sorted(folder.glob("source_*.py")):
        importlib.import_module(f"tests.contracts.cases.{path.stem}")
    return sorted(_leaves(SourceCase), key=lambda case: case.name)


def _leaves(case: type[Any]) -> list[type[SourceCase]]:
    below = case.__subclasses__()
    return [leaf for one in below for leaf in _leaves(one)] if below else [case]


def over(cases: Sequence[type[SourceCase]]) -> pytest.MarkDecorator:
    """Run a test over these cases."""
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases], indirect=True)


def made_case(request: pytest.FixtureRequest, folder: Path) -> Iterator[SourceCase]:
    """The case, on an empty system; the sources that it made are closed at the end."""
    kind: type[SourceCase] = request.param
    made = kind(folder, {name: request.getfixturevalue(name) for name in kind.needs})
    sources: list[Source] = []
    make = made.make

    def remembered() -> Source:
        sources.append(make())
        return sources[-1]

    made.make = remembered  # type: ignore[method-assign]
    yield made
    for source in sources:
        source.close()


def read_elsewhere(case: SourceCase, start: Offsets, end: Offsets) -> pl.DataFrame:
    """The rows of a range as another process reads them (see `reader`)."""
    schema = case.folder / "schema.arrow"
    case.schema.to_frame().write_ipc(schema)
    dataset = case.dataset()
    arguments = {
        "kind": dataset.kind,
        "name": dataset.name,
        "options": dict(dataset.options),
        "folder": str(case.folder),
        "schema": str(schema),
        "start": start,
        "end": end,
    }
    command = [sys.executable, "-m", "tests.contracts.reader", json.dumps(arguments)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return pl.read_json(io.BytesIO(done.stdout), schema=case.schema)
