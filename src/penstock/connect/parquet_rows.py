"""Rows of Parquet files by their numbers, a row group at a time."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.exceptions import PolarsError

from penstock.connect.contract import Budget
from penstock.connect.line_cuts import Cut
from penstock.connect.ndjson import RAW_LIMIT, BadLine
from penstock.errors import ConnectorError, did_you_mean

__all__ = ["ParquetRows"]


@dataclass(frozen=True, slots=True)
class _Groups:
    """What a file's footer says: row number after each group, bytes of all of them unpacked."""

    ends: tuple[int, ...]
    size_bytes: int

    @property
    def rows(self) -> int:
        return self.ends[-1] if self.ends else 0


class ParquetRows:
    """One file. A group that is read in parts is kept, so that small epochs don't unpack it each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept: tuple[int, pl.Schema | None, pl.DataFrame] | None = None
        try:
            footer = pq.read_metadata(path)
            self.schema = pl.Schema(pl.read_parquet_schema(path))
        except (OSError, pa.ArrowException, PolarsError) as error:
            raise self._unreadable(error) from error
        ends, end, size = [], 0, 0
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            end += group.num_rows
            size += group.total_byte_size
            ends.append(end)
        self._groups = _Groups(tuple(ends), size)

    @property
    def rows(self) -> int:
        """How many rows the file has."""
        return self._groups.rows

    @property
    def mean_bytes(self) -> int:
        """Bytes of a row in memory, in the mean of the file."""
        return max(1, self._groups.size_bytes // max(1, self.rows))

    def cut(self, start: int, budget: Budget) -> Cut:
        """The row number after the next range: within the budget, by the mean size of a row."""
        mean = self.mean_bytes
        end = min(self.rows, start + max(1, min(budget.rows, budget.size_bytes // mean)))
        return Cut(end, at_end=end >= self.rows)

    def read(self, start: int, end: int, declared: pl.Schema) -> tuple[pl.DataFrame, list[BadLine]]:
        """The rows start..end as `declared`; rows with a value that does not fit are told.

        Raises ConnectorError where a column is missing or the file is damaged.
        """
        for name in declared:
            if name not in self.schema:
                raise ConnectorError(
                    f"{self._path} has no column {name!r}.{did_you_mean(name, list(self.schema))}"
                    f" Its columns: {', '.join(self.schema)[:500]}"
                )
        wanted = pl.Schema({name: self.schema[name] for name in declared})
        parts = [wanted.to_frame()]
        begin = 0
        for group_end in self._groups.ends:
            if group_end > start and begin < end:
                first, last = max(start, begin), min(end, group_end)
                parts.append(self._rows(begin, group_end, first, last, wanted))
            begin = group_end
        frame = pl.concat(parts)
        if frame.height != end - start:
            raise ConnectorError(f"{self._path} has no rows {start}..{end} any more, it has {self.rows}")
        return self._fitted(frame, declared, start)

    def _rows(self, begin: int, group_end: int, first: int, last: int, wanted: pl.Schema) -> pl.DataFrame:
        """Rows first..last of the group begin..group_end."""
        if (first, last) == (begin, group_end):
            return self._unpacked(first, last, wanted)
        with self._lock:
            if self._kept is None or self._kept[:2] != (begin, wanted):
                self._kept = (begin, wanted, self._unpacked(begin, group_end, wanted))
            return self._kept[2].slice(first - begin, last - first)

    def _unpacked(self, first: int, last: int, wanted: pl.Schema) -> pl.DataFrame:
        try:
            return pl.scan_parquet(self._path, glob=False).slice(first, last - first).select(wanted.names()).collect()
        except (OSError, PolarsError) as error:
            raise self._unreadable(error) from error

    def _fitted(self, frame: pl.DataFrame, declared: pl.Schema, start: int) -> tuple[pl.DataFrame, list[BadLine]]:
        if frame.schema == declared:
            return frame, []
        try:
            cast = frame.select(pl.col(name).cast(kind, strict=False) for name, kind in declared.items())
        except PolarsError as error:
            raise ConnectorError(
                f"{self._path} does not fit the declared schema: {str(error).splitlines()[0]}",
                hint="declare the types that the file has, and convert in a step",
            ) from error
        lost = pl.any_horizontal((cast[name].is_null() & frame[name].is_not_null()).alias(name) for name in declared)
        marks = pl.select(lost).to_series()
        if not marks.any():
            return cast, []
        bad = [
            BadLine(start + row, _shown(frame, row), _misfit(frame, cast, row)) for row in marks.arg_true().to_list()
        ]
        return cast.filter(~marks), bad

    def _unreadable(self, error: Exception) -> ConnectorError:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        return ConnectorError(
            f"{self._path} is no readable Parquet file: {why[:300]}", hint="put a whole copy in its place"
        )


def _shown(frame: pl.DataFrame, row: int) -> str:
    return json.dumps(frame.row(row, named=True), default=str)[:RAW_LIMIT]


def _misfit(frame: pl.DataFrame, cast: pl.DataFrame, row: int) -> str:
    name = next(name for name in cast.columns if cast[name][row] is None and frame[name][row] is not None)
    return f"column {name!r}: {str(frame[name][row])[:120]!r} is no {cast.schema[name]}"
