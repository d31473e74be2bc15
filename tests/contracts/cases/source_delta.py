"""Delta tables under the source contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from deltalake import DeltaTable, write_deltalake

from penstock.connect import Offsets, Source
from penstock.flow import Dataset
from tests.contracts.sources import ROWS, SourceCase, numbered


class DeltaCase(SourceCase):
    """A table that others append to."""

    kind: ClassVar[str] = "delta"
    name: ClassVar[str] = "delta"
    ordered: ClassVar[bool] = False
    """What was there at the start is a set of files."""
    options: ClassVar[dict[str, Any]] = {}
    forgets: ClassVar[bool] = True

    def lose(self, source: Source, end: Offsets) -> None:
        """The table was emptied and vacuumed."""
        write_deltalake(self.folder / "t", ROWS.to_frame(), mode="overwrite")
        DeltaTable(self.folder / "t").vacuum(0, dry_run=False, enforce_retention_duration=False)

    def set_up(self, fixtures: Mapping[str, Any]) -> None:
        """A table without rows."""
        write_deltalake(self.folder / "t", ROWS.to_frame())

    def dataset(self) -> Dataset:
        """The table."""
        return Dataset("delta", "t", None, (), {"path": "t", **self.options})

    def fill(self, first: int, count: int) -> None:
        """Two versions."""
        frame = numbered(first, count)
        for part in (frame.head(count // 3), frame.slice(count // 3)):
            write_deltalake(self.folder / "t", part, mode="append")


class BoundedDeltaCase(DeltaCase):
    """A table as it is when the flow starts."""

    name: ClassVar[str] = "delta-bounded"
    bounded: ClassVar[bool] = True
    options: ClassVar[dict[str, Any]] = {"bounded": True}
