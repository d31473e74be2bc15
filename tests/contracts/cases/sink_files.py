"""Text files in a folder under the sink contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import polars as pl

from penstock.connect.ndjson import JsonLines
from penstock.flow import Dataset
from tests.contracts.sinks import SinkCase


class FilesCase(SinkCase):
    """NDJSON files."""

    kind: ClassVar[str] = "files"
    types_not_kept: ClassVar[frozenset[str]] = frozenset({"binary", "float32", "float64", "more_float64"})
    """JSON has no bytes, no infinity and no NaN; plain numbers are in other tests."""

    def dataset(self, key: Sequence[str]) -> Dataset:
        """A folder below the case's."""
        return Dataset("files", "out", None, tuple(key), {"path": "out"})

    def read_back(self, schema: pl.Schema) -> pl.DataFrame:
        """As the files source reads them."""
        lines = JsonLines(schema)
        frames = [schema.to_frame()]
        for path in sorted((self.folder / "out").glob("*.jsonl")):
            frame, bad = lines.parse(path.read_bytes())
            assert not bad
            frames.append(frame)
        return pl.concat(frames)
