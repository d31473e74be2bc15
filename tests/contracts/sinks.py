"""The registry of the sink contract: how each kind of sink is made and how its rows are read back by somebody else.

To put a sink under the contract, add `tests/contracts/cases/sink_<kind>.py` with one subclass of `SinkCase`. What the
sink promises (upserts, undoable, delivery) is read from its class; the suite runs what it promises.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from penstock.clock import SystemClock
from penstock.connect import Change, Context, Sink, open_sink, sink_class
from penstock.flow import Dataset

__all__ = ["ROWS", "SinkCase", "change", "context_from", "find_cases", "made_case", "over", "promises", "upsert"]

ROWS = pl.Schema({"id": pl.Int64, "word": pl.String})
"""What most tests of the suite write."""


class SinkCase(ABC):
    """One kind of sink, with one empty target."""

    kind: ClassVar[str]
    """Its name in the connector table."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Fixtures whose values `set_up` gets, by name."""
    durable: ClassVar[bool] = True
    """Whether rows outlive the process; the suite then kills processes that write."""
    keeps_nul: ClassVar[bool] = True
    """Whether text may hold NUL characters. False: the sink must refuse them with a ConnectorError, not lose them."""
    types_not_kept: ClassVar[frozenset[str]] = frozenset()
    """Columns of `frame_of_all_types` that come back as something else, and say so where the sink is described."""

    def __init__(self, folder: Path, fixtures: Mapping[str, Any]) -> None:
        self.folder = folder
        self.set_up(fixtures)

    def set_up(self, fixtures: Mapping[str, Any]) -> None:
        """Take what the target needs (a server's address) from the fixtures named in `needs`."""

    @abstractmethod
    def dataset(self, key: Sequence[str]) -> Dataset:
        """The target. The same each time; `key` is empty for append."""

    @abstractmethod
    def read_back(self, schema: pl.Schema) -> pl.DataFrame:
        """The rows that a reader sees, in any order, with exactly these columns and types; empty before the first open.

        Read by something else than the sink's own code, where there is such a thing.
        """

    def make(self, key: Sequence[str] = (), schema: pl.Schema = ROWS, *, flow: str = "flow") -> Sink:
        """A sink on the target, not opened yet. Several may be made."""
        return open_sink(self.dataset(key), context_from(self.folder, key, schema, flow=flow))

    def opened(self, generation: int = 1, key: Sequence[str] = (), schema: pl.Schema = ROWS) -> Sink:
        """A sink on the target, opened."""
        sink = self.make(key, schema)
        sink.open(generation)
        return sink

    def rows(self) -> list[tuple[Any, ...]]:
        """The rows of a target with the columns of `ROWS`, sorted."""
        return sorted(self.read_back(ROWS).rows(), key=repr)


def context_from(folder: Path, key: Sequence[str], schema: pl.Schema, *, flow: str = "flow") -> Context:
    """The context of a sink whose files are in `folder`."""
    return Context(flow, "write", folder / "own", folder, SystemClock(), schema, tuple(key))


def change(*rows: tuple[int | None, str | None]) -> Change:
    """An epoch that appends rows of `ROWS`, or puts them in place."""
    return Change(pl.DataFrame(list(rows), schema=ROWS, orient="row"))


def upsert(rows: Sequence[tuple[int | None, str | None]], deleted: Sequence[int | None] = ()) -> Change:
    """An epoch that puts rows in place and deletes keys; the key is `id`."""
    gone = pl.DataFrame({"id": list(deleted)}, schema={"id": pl.Int64})
    return Change(pl.DataFrame(list(rows), schema=ROWS, orient="row"), gone)


def find_cases() -> list[type[SinkCase]]:
    """All cases in the folder `cases`, by kind."""
    folder = Path(__file__).parent / "cases"
    for path in sorted(folder.glob("sink_*.py")):
        importlib.import_module(f"tests.contracts.cases.{path.stem}")
    return sorted(SinkCase.__subclasses__(), key=lambda case: case.kind)


def promises(case: type[SinkCase], ability: str) -> bool:
    """Whether the class of the sink says that it can do something (`upserts`, `undoable`)."""
    return bool(getattr(sink_class(case.kind), ability))


def over(cases: Sequence[type[SinkCase]]) -> pytest.MarkDecorator:
    """Run a test over these cases."""
    return pytest.mark.parametrize("case", cases, ids=[case.kind for case in cases], indirect=True)


def made_case(request: pytest.FixtureRequest, folder: Path) -> Iterator[SinkCase]:
    """The case, with an empty target; the sinks that it made are closed at the end."""
    kind: type[SinkCase] = request.param
    made = kind(folder, {name: request.getfixturevalue(name) for name in kind.needs})
    sinks: list[Sink] = []
    make = made.make

    def remembered(*arguments: Any, **named: Any) -> Sink:
        sinks.append(make(*arguments, **named))
        return sinks[-1]

    made.make = remembered  # type: ignore[method-assign]
    yield made
    for sink in sinks:
        sink.close()
