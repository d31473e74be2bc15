"""One open file of a format: where a range of it may end, and its rows."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from penstock.connect.contract import Budget
from penstock.connect.csv_rows import CsvRows, Header, cut_rows, read_header
from penstock.connect.file_bytes import FileBytes, open_bytes
from penstock.connect.file_list import format_of
from penstock.connect.line_cuts import Cut, cut_lines
from penstock.connect.ndjson import BadLine, JsonLines, is_object
from penstock.connect.parquet_rows import ParquetRows
from penstock.errors import ConfigError, ConnectorError, SchemaError

__all__ = ["FileReader", "FormatOptions", "infer_schema", "open_reader"]

BOM = b"\xef\xbb\xbf"
SAMPLE_LINES, SAMPLE_BYTES = 10_000, 16 * 1024 * 1024
PIECE = 16 * 1024 * 1024
"""Text is parsed in pieces of this size: below 32 MiB the allocator gives the same memory again, and reading a range
takes a quarter of the time that fresh memory takes (the first touch of each page costs more than the copy)."""


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """How the files are written; None: by the ending of each file's name."""

    format: str | None = None
    compression: str | None = None
    delimiter: str | None = None
    null_values: tuple[str, ...] = ()

    def of(self, path: Path) -> tuple[str, str | None]:
        """Format and compression of one file. Raises ConfigError where nothing tells its format."""
        by_name, packed = format_of(path.name)
        chosen = self.format or by_name
        if chosen is None:
            raise ConfigError(
                f"nothing tells the format of {path}",
                hint='set format="ndjson", "csv" or "parquet", or name the file .jsonl, .csv or .parquet',
            )
        return chosen, self.compression or packed

    def delimiter_of(self, path: Path) -> str:
        """What stands between two fields: as set, a tab in `.tsv`, else a comma."""
        return self.delimiter or ("\t" if ".tsv" in path.name.lower() else ",")


class FileReader(ABC):
    """A file that is open, for as long as somebody has the reader: a read may still run when an offer has gone on."""

    inode: int
    bytes_per_row: float | None = None
    """Mean of what was read so far."""

    @abstractmethod
    def cut(self, start: int, budget: Budget) -> Cut:
        """The end of the next range from `start`."""

    @abstractmethod
    def cost(self, start: int, end: int) -> Budget:
        """What of a budget the range takes; rows may be an estimate."""

    @abstractmethod
    def read(self, start: int, end: int | None, schema: pl.Schema) -> Iterator[tuple[pl.DataFrame, list[BadLine]]]:
        """The rows of start..end (None: the end of the file), in pieces, each with the lines that are none."""

    def packed_place(self, place: int) -> int:
        """About how many bytes of the file come before `place`."""
        return place

    def keep_from(self, place: int) -> None:
        """What is before `place` will hardly be asked again."""


def open_reader(path: Path, inode: int, options: FormatOptions, *, growing: bool) -> FileReader:
    """Open a file by its format. Raises ConnectorError where it can't be read."""
    chosen, compression = options.of(path)
    if chosen == "parquet":
        return _ParquetReader(path, inode)
    data = open_bytes(path, compression)
    if chosen == "csv":
        return _CsvReader(path, inode, data, options, growing=growing)
    return _LineReader(path, inode, data, growing=growing)


class _TextReader(FileReader):
    """What NDJSON and CSV have in common: bytes in pieces that end with a row."""

    def __init__(self, path: Path, inode: int, data: FileBytes, *, growing: bool) -> None:
        self.inode = inode
        self._path = path
        self._data = data
        self._growing = growing
        self._lock = threading.Lock()

    def cost(self, start: int, end: int) -> Budget:
        rows = round((end - start) / self.bytes_per_row) if self.bytes_per_row else 0
        return Budget(rows, end - start)

    def keep_from(self, place: int) -> None:
        self._data.keep_from(place)

    def _bytes(self, start: int, end: int) -> bytes:
        """Exactly the bytes start..end. Raises ConnectorError where the file has become shorter."""
        found = self._data.read(start, end - start)
        if len(found) < end - start:
            raise self._data.damage or ConnectorError(
                f"{self._path} ends at byte {start + len(found)}, {start}..{end} was planned",
                hint="the file was cut after it was taken; put it back",
            )
        return found

    def _end(self, start: int) -> int:
        """The end of a file that is known to be complete."""
        limit = start + PIECE
        while (reach := self._data.reach(limit)) == limit:
            limit += PIECE
        return reach

    def _learn(self, size: int, rows: int) -> None:
        if rows:
            mean = size / rows
            self.bytes_per_row = mean if self.bytes_per_row is None else (self.bytes_per_row + mean) / 2


class _LineReader(_TextReader):
    """JSON lines."""

    _lines: JsonLines | None = None

    def cut(self, start: int, budget: Budget) -> Cut:
        cut = cut_lines(self._data, start, budget, growing=self._growing)
        if self.bytes_per_row is None and cut.end > start:
            sample = self._data.read(start, min(cut.end - start, 64 * 1024))
            self._learn(len(sample), sample.count(b"\n"))
        return cut

    def read(self, start: int, end: int | None, schema: pl.Schema) -> Iterator[tuple[pl.DataFrame, list[BadLine]]]:
        if self._lines is None or self._lines.schema != schema:
            self._lines = JsonLines(schema)
        lines = self._lines
        last = self._end(start) if end is None else end
        while start < last:
            cut = last
            if last - start > PIECE:
                cut = cut_lines(self._data, start, Budget(last - start, PIECE), growing=False).end
            block = self._bytes(start, min(cut, last))
            skipped = len(BOM) if start == 0 and block.startswith(BOM) else 0
            frame, bad = lines.parse(block[skipped:] if skipped else block)
            self._learn(len(block), frame.height)
            yield frame, [BadLine(start + skipped + line.place, line.raw, line.error) for line in bad]
            start += len(block)


class _CsvReader(_TextReader):
    """Comma-separated rows after a header."""

    def __init__(self, path: Path, inode: int, data: FileBytes, options: FormatOptions, *, growing: bool) -> None:
        super().__init__(path, inode, data, growing=growing)
        self._delimiter = options.delimiter_of(path)
        self._null_values = options.null_values
        self._header: Header | None = None
        self._rows: CsvRows | None = None

    def header(self) -> Header:
        """The first row. Raises ConnectorError where there is none."""
        if self._header is None:
            self._header = read_header(self._data, self._delimiter, str(self._path))
        return self._header

    def cut(self, start: int, budget: Budget) -> Cut:
        if start == 0:
            if self._data.reach(1) == 0 and self._data.damage is None:
                return Cut(0, at_end=not self._growing)
            if self._growing and b"\n" not in self._data.read(0, 1 << 20):
                return Cut(0, at_end=False)
            start = self.header().size
        cut = cut_rows(self._data, start, budget, self._delimiter, growing=self._growing)
        if self.bytes_per_row is None and cut.end > start:
            sample = self._data.read(start, min(cut.end - start, 64 * 1024))
            self._learn(len(sample), sample.count(b"\n"))
        return cut

    def read(self, start: int, end: int | None, schema: pl.Schema) -> Iterator[tuple[pl.DataFrame, list[BadLine]]]:
        last = self._end(start) if end is None else end
        if start >= last:
            return
        header = self.header()
        if self._rows is None or self._rows.schema != schema:
            self._rows = CsvRows(schema, self._delimiter, self._null_values)
            self._rows.check(header.names, str(self._path))
        rows = self._rows
        start = max(start, header.size)
        block = self._bytes(start, last)
        frame, bad = rows.parse(block, header.names)
        self._learn(len(block), frame.height)
        yield frame, [BadLine(start + line.place, line.raw, line.error) for line in bad]


class _ParquetReader(FileReader):
    """Row groups."""

    def __init__(self, path: Path, inode: int) -> None:
        self.inode = inode
        self._rows = ParquetRows(path)
        self._size = path.stat().st_size
        self.bytes_per_row = self._size / self._rows.rows if self._rows.rows else None

    def cut(self, start: int, budget: Budget) -> Cut:
        return self._rows.cut(start, budget)

    def cost(self, start: int, end: int) -> Budget:
        return Budget(end - start, round((end - start) * self._rows.mean_bytes))

    def read(self, start: int, end: int | None, schema: pl.Schema) -> Iterator[tuple[pl.DataFrame, list[BadLine]]]:
        last = self._rows.rows if end is None else end
        if start < last:
            yield self._rows.read(start, last, schema)

    def packed_place(self, place: int) -> int:
        return round(place * (self.bytes_per_row or 0))


def infer_schema(path: Path, options: FormatOptions) -> pl.Schema:
    """The columns of a file: of its footer, or what the first 10,000 lines look like. Timestamps stay text.

    Raises SchemaError where nothing can be told.
    """
    chosen, compression = options.of(path)
    if chosen == "parquet":
        return ParquetRows(path).schema
    data = open_bytes(path, compression)
    cut = cut_lines(data, 0, Budget(SAMPLE_LINES, SAMPLE_BYTES), growing=False)
    sample = data.read(0, cut.end).removeprefix(BOM)
    try:
        if chosen == "csv":
            found = pl.read_csv(
                sample,
                separator=options.delimiter_of(path),
                null_values=list(options.null_values) or None,
                infer_schema_length=None,
                truncate_ragged_lines=True,
            ).collect_schema()
        else:
            found = pl.read_ndjson(_objects(sample), infer_schema_length=None).collect_schema()
    except PolarsError as error:
        raise SchemaError(
            f"the columns of {path} can't be told from its first lines: {str(error).splitlines()[0]}",
            hint="declare a schema",
        ) from error
    if not found:
        raise SchemaError(f"{path} has no rows that tell its columns", hint="declare a schema")
    return pl.Schema({name: pl.String() if kind == pl.Null else kind for name, kind in found.items()})


def _objects(sample: bytes) -> bytes:
    """The lines that are JSON objects; the others will be rejects and tell nothing of the columns."""
    return b"\n".join(line for line in sample.splitlines() if is_object(line))
