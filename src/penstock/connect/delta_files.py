"""The data files of a Delta table: write them, read them, and put rows in place of those with the same key.

An upsert is copy on write: every file that holds one of the keys is written again without those rows. Files are looked
at by their smallest and largest key first, and small ones flow together, so a table whose updates are near each other
(the windows of the last minutes) rewrites little; updates all over a large table rewrite all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from penstock.clock import Clock, new_id
from penstock.connect.contract import Change
from penstock.connect.delta_log import Action
from penstock.connect.disk import sync_folder, write_parquet_durably
from penstock.errors import ConnectorError

__all__ = ["DeltaFiles", "row_count"]

FILE_PREFIX = "penstock-"
ROWS_MAX = 1_000_000
"""Rows of one file; what is larger is cut, and an upsert rewrites at most that much for one key."""
STATISTICS_COLUMNS = 32
TEXT_MAX = 32

Limits = Mapping[str, tuple[Any, Any]]
"""Column -> smallest and largest value, for columns without nulls."""


def row_count(path: Path) -> int:
    """The rows of a Parquet file, from its footer."""
    return int(pq.read_metadata(path).num_rows)


@dataclass(slots=True)
class DeltaFiles:
    """The files of one table: where they are, the columns they have, the key of its rows (empty for append)."""

    table: Path
    schema: pl.Schema
    key: tuple[str, ...]
    clock: Clock
    written: list[Path] = field(default_factory=list)
    """Files that no commit names yet."""
    _limits: dict[str, Limits] = field(default_factory=dict)

    def write(self, rows: pl.DataFrame, *, changes_data: bool = True) -> dict[str, Action]:
        """Write rows into new files, durably; gives path -> `add` action. Raises OSError."""
        actions: dict[str, Action] = {}
        for part in rows.iter_slices(ROWS_MAX):
            name = f"{FILE_PREFIX}{new_id()}.parquet"
            path = self.table / name
            self.written.append(path)
            size_bytes = write_parquet_durably(part, path, compression="zstd")
            actions[name] = self._add(name, size_bytes, statistics(part), changes_data=changes_data)
            if self.key:
                self._limits[name] = limits(part.select(self.key))
        sync_folder(self.table)
        return actions

    def read(self, paths: Sequence[str], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of files, in order. A column that an older file does not have is null. Raises ConnectorError."""
        files = [self.table / path for path in paths]
        try:
            found = pl.scan_parquet(
                files, schema=self.schema, missing_columns="insert", extra_columns="ignore", hive_partitioning=False
            )
            return found.select(columns or list(self.schema)).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ConnectorError(f"can't read files of the Delta table {self.table}: {error}") from error

    def applied(self, base: Mapping[str, Action], change: Change) -> dict[str, Action]:
        """The live files after `change` on `base`, in order; new ones are written. Raises OSError, ConnectorError."""
        if not self.key:
            return {**base, **(self.write(change.rows) if not change.rows.is_empty() else {})}
        keys = change.rows.select(self.key)
        if change.deleted is not None:
            keys = pl.concat([keys, change.deleted.select(self.key)])
        after = dict(base)
        kept: list[pl.DataFrame] = []
        for path in self._holding(base, keys):
            del after[path]
            rows = self.read([path]).join(keys, on=self.key, how="anti", nulls_equal=True, maintain_order="left")
            if sum(part.height for part in kept) + rows.height > ROWS_MAX:
                after.update(self.write(pl.concat(kept)) if kept else {})
                kept = []
            kept.append(rows)
        # The rows of the epoch get a file of their own: they are what the next epoch most likely updates.
        for part in (pl.concat(kept) if kept else change.rows.clear(), change.rows):
            if not part.is_empty():
                after.update(self.write(part))
        return after

    def learn(self, base: Mapping[str, Action]) -> None:
        """Look at the keys of files ahead, so that the first upsert does not have to. Raises ConnectorError."""
        for path in base if self.key else ():
            if path not in self._limits:
                self._limits[path] = limits(self.read([path], self.key))

    def restored(self, path: str, remove: Action) -> Action:
        """The `add` action that brings a removed file back. Raises ConnectorError where vacuum has deleted it."""
        try:
            rows = row_count(self.table / path)
        except OSError as error:
            gone = ConnectorError(
                f"the Delta table {self.table} can't go back: {path} was deleted by vacuum",
                hint="a longer `retention_hours` keeps what an undo needs",
            )
            gone.heals = False
            raise gone from error
        size_bytes = (self.table / path).stat().st_size
        return {**self._add(path, size_bytes, {"numRecords": rows}, changes_data=True), "path": remove["path"]}

    def commit_done(self) -> None:
        """The files written since are part of the table."""
        self.written.clear()

    def drop_written(self) -> None:
        """Delete the files that no commit will name."""
        for path in self.written:
            path.unlink(missing_ok=True)
        self.written.clear()

    def _holding(self, base: Mapping[str, Action], keys: pl.DataFrame) -> list[str]:
        """The files of `base` that hold a row with one of `keys`."""
        wanted = limits(keys)
        holding = []
        for path in base:
            known = self._limits.get(path)
            if known is not None and _apart(known, wanted):
                continue
            there = self.read([path], self.key)
            self._limits[path] = limits(there)
            if not there.join(keys, on=self.key, how="semi", nulls_equal=True).is_empty():
                holding.append(path)
        for path in self._limits.keys() - base.keys():
            del self._limits[path]
        return holding

    def _add(self, path: str, size_bytes: int, stats: Mapping[str, Any], *, changes_data: bool) -> Action:
        return {
            "path": path,
            "partitionValues": {},
            "size": size_bytes,
            "modificationTime": self.clock.now_us() // 1000,
            "dataChange": changes_data,
            "stats": json.dumps(stats, separators=(",", ":")),
        }


def limits(keys: pl.DataFrame) -> Limits:
    """The smallest and largest value of each column that has no nulls and can be compared."""
    found = {}
    for column in keys:
        usable = column.dtype.is_integer() or column.dtype.is_temporal() or column.dtype == pl.String
        if usable and len(column) and column.null_count() == 0:
            found[column.name] = (column.min(), column.max())
    return found


def _apart(left: Limits, right: Limits) -> bool:
    """Whether no row can be in both, because one column's ranges do not touch."""
    shared = left.keys() & right.keys()
    return any(left[name][1] < right[name][0] or right[name][1] < left[name][0] for name in shared)


def statistics(rows: pl.DataFrame) -> dict[str, Any]:
    """The `stats` of an `add` action: rows, nulls, smallest and largest values, for readers to skip files by."""
    columns = rows.columns[:STATISTICS_COLUMNS]
    smallest: dict[str, Any] = {}
    largest: dict[str, Any] = {}
    for name in columns:
        column = rows.get_column(name)
        if not _has_limits(column):
            continue
        low, high = column.min(), column.max()
        # A text is cut to stay short: a cut smallest is still below all, a cut largest would not be above all.
        if isinstance(low, str):
            smallest[name] = low[:TEXT_MAX]
        else:
            smallest[name] = _as_json(low)
        if not isinstance(high, str) or len(high) <= TEXT_MAX:
            largest[name] = _as_json(high)
    nulls = {name: rows.get_column(name).null_count() for name in columns if not rows.schema[name].is_nested()}
    return {"numRecords": rows.height, "minValues": smallest, "maxValues": largest, "nullCount": nulls}


def _has_limits(column: pl.Series) -> bool:
    if column.null_count() == len(column):
        return False
    if column.dtype.is_float():
        return bool(column.is_finite().all())
    return column.dtype.is_integer() or column.dtype in (pl.String, pl.Date) or isinstance(column.dtype, pl.Datetime)


def _as_json(value: Any) -> Any:
    if isinstance(value, (int, float, str)):
        return value
    text = str(value.isoformat(timespec="microseconds")) if hasattr(value, "hour") else str(value.isoformat())
    return text.replace("+00:00", "Z")
