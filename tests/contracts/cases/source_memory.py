"""Rows in memory under the source contract."""

from __future__ import annotations

from typing import ClassVar

from penstock.connect import Offsets, Source
from penstock.connect.memory import clear, put_rows
from penstock.flow import Dataset
from tests.contracts.sources import SourceCase, numbered


class MemoryCase(SourceCase):
    """A store that is never finished."""

    kind: ClassVar[str] = "memory"
    name: ClassVar[str] = "memory"
    shared: ClassVar[bool] = False
    forgets: ClassVar[bool] = True

    def dataset(self) -> Dataset:
        """The store of this test."""
        return Dataset("memory", f"source {self.folder}")

    def fill(self, first: int, count: int) -> None:
        """In two frames."""
        frame = numbered(first, count)
        put_rows(f"source {self.folder}", frame.head(count // 3))
        put_rows(f"source {self.folder}", frame.slice(count // 3))

    def lose(self, source: Source, end: Offsets) -> None:
        """All of it."""
        clear(f"source {self.folder}")
