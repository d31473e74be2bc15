"""Files of every format under the source contract."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, ClassVar

import zstandard

from penstock.connect import Offsets, Source
from penstock.flow import Dataset
from tests.contracts.sources import SourceCase, numbered


class FilesCase(SourceCase):
    """Three files in a folder, one of them empty of rows."""

    kind: ClassVar[str] = "files"
    bounded: ClassVar[bool] = True
    ending: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    forgets: ClassVar[bool] = True

    def lose(self, source: Source, end: Offsets) -> None:
        """Somebody tidied the folder."""
        for path in (self.folder / "in").iterdir():
            path.unlink()

    def dataset(self) -> Dataset:
        """A glob over the folder."""
        return Dataset("files", "in", None, (), {"path": f"in/*{self.ending}", **self.options})

    def fill(self, first: int, count: int) -> None:
        """Whole files, put in place by a rename."""
        folder = self.folder / "in"
        folder.mkdir(exist_ok=True)
        frame = numbered(first, count)
        for number, part in enumerate((frame.head(count // 3), frame.head(0), frame.slice(count // 3))):
            path = folder / f"{first:06}-{number}{self.ending}"
            staged = path.with_name(f".{path.name}.tmp")
            self._write(part, staged)
            staged.rename(path)

    def _write(self, frame: Any, path: Path) -> None:
        frame.write_ndjson(path)


class NdjsonCase(FilesCase):
    """JSON lines."""

    name: ClassVar[str] = "files-ndjson"
    ending: ClassVar[str] = ".jsonl"


class GzipCase(FilesCase):
    """JSON lines in gzip."""

    name: ClassVar[str] = "files-gzip"
    ending: ClassVar[str] = ".jsonl.gz"

    def _write(self, frame: Any, path: Path) -> None:
        path.write_bytes(gzip.compress(frame.write_ndjson().encode()))


class CsvZstdCase(FilesCase):
    """CSV in zstd."""

    name: ClassVar[str] = "files-csv-zstd"
    ending: ClassVar[str] = ".csv.zst"

    def _write(self, frame: Any, path: Path) -> None:
        path.write_bytes(zstandard.compress(frame.write_csv().encode()))


class CsvCase(FilesCase):
    """CSV with another delimiter and every field in quotes."""

    name: ClassVar[str] = "files-csv"
    ending: ClassVar[str] = ".csv"
    options: ClassVar[dict[str, Any]] = {"delimiter": ";"}

    def _write(self, frame: Any, path: Path) -> None:
        frame.write_csv(path, separator=";", quote_style="always")


class ParquetCase(FilesCase):
    """Parquet with small row groups."""

    name: ClassVar[str] = "files-parquet"
    ending: ClassVar[str] = ".parquet"

    def _write(self, frame: Any, path: Path) -> None:
        frame.write_parquet(path, row_group_size=64)


class WatchCase(FilesCase):
    """JSON lines in a folder that is watched."""

    name: ClassVar[str] = "files-watch"
    ending: ClassVar[str] = ".jsonl"
    bounded: ClassVar[bool] = False
    options: ClassVar[dict[str, Any]] = {"watch": True}


class TailCase(FilesCase):
    """Two files that grow."""

    name: ClassVar[str] = "files-tail"
    ending: ClassVar[str] = ".jsonl"
    bounded: ClassVar[bool] = False
    ordered: ClassVar[bool] = False
    options: ClassVar[dict[str, Any]] = {"tail": True}

    def fill(self, first: int, count: int) -> None:
        """Append lines to both."""
        folder = self.folder / "in"
        folder.mkdir(exist_ok=True)
        frame = numbered(first, count)
        for name, part in (("a", frame.head(count // 3)), ("b", frame.slice(count // 3))):
            with (folder / f"{name}{self.ending}").open("a", encoding="utf-8") as file:
                file.write(part.write_ndjson())
