"""Delta Lake tables as a source: the rows that each version appended, in the order of the versions.

A position is `{"version": v, "row": r, "snapshot": bool}`: row `r` of what version `v` added or, for a flow that starts
on a table that has a past, of all that was live in version `v`. Versions that only arrange files anew hold no rows.
A version that changed or removed rows can't be told as appended rows; the option `changes="skip"` passes over it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from penstock.connect.complaints import forgotten
from penstock.connect.contract import Backlog, Budget, Context, Offsets, PartitionRead, Source
from penstock.connect.delta_files import DeltaFiles, row_count
from penstock.connect.delta_log import checkpointed, read_commit, refuse_unknown
from penstock.connect.delta_types import table_schema
from penstock.errors import ConfigError, ConnectorError
from penstock.flow import Dataset

__all__ = ["DeltaSource"]

PARTITION = "table"
CACHED_VERSIONS = 1000
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Position:
    """The next row to read."""

    version: int
    row: int
    snapshot: bool = False

    @classmethod
    def of(cls, offsets: Offsets) -> Position:
        """The position in offsets."""
        found: Mapping[str, Any] = offsets[PARTITION]
        return cls(int(found["version"]), int(found["row"]), bool(found.get("snapshot", False)))

    def offsets(self) -> Offsets:
        """The position as offsets."""
        plain: dict[str, Any] = {"version": self.version, "row": self.row}
        return {PARTITION: {**plain, "snapshot": True} if self.snapshot else plain}


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a version, with its rows."""

    path: str
    rows: int
    size_bytes: int


class DeltaSource(Source):
    """The rows appended to a Delta table. Options: `path`; `bounded` (end at the version of the start); `changes`."""

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        self.table = context.root / str(dataset.options.get("path", dataset.name))
        self._skips = dataset.options.get("changes", "fail") == "skip"
        if dataset.options.get("changes", "fail") not in ("fail", "skip"):
            raise ConfigError("delta: `changes` is fail or skip", flow=context.flow, step=context.step)
        self.bounded = bool(dataset.options.get("bounded", False))
        self._last = self._open().version() if self.bounded else None
        self._known: dict[tuple[int, bool], list[DataFile]] = {}
        self._known_lock = Lock()
        self._schema: pl.Schema | None = None

    def schema(self) -> pl.Schema:
        """The columns of the table."""
        if self._schema is None:
            self._schema = table_schema(self._open())
        return self._schema

    def initial(self) -> Offsets:
        """All rows that the table has now, and then what comes."""
        return Position(self._open().version(), 0, snapshot=True).offsets()

    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """As many rows of the next versions as the budget has room for; a version may be cut between two rows."""
        at = begin = Position.of(start)
        rows_left, bytes_left = budget.rows, budget.size_bytes
        first = True
        for version, files in self._versions(at):
            rows = sum(file.rows for file in files)
            width = max(1.0, sum(file.size_bytes for file in files) / max(1, rows))
            from_row = at.row if first else 0
            room = min(rows_left, int(bytes_left / width))
            if rows - from_row > room:
                room = max(room, 1) if first else room
                snapshot = at.snapshot and first
                return Position(version, from_row + room, snapshot).offsets() if room else at.offsets()
            rows_left -= rows - from_row
            bytes_left -= int((rows - from_row) * width)
            at = Position(version + 1, 0)
            first = False
        # Versions without rows alone are nothing to make an epoch of.
        return (begin if rows_left == budget.rows else at).offsets()

    def read(self, start: Offsets, end: Offsets) -> Sequence[PartitionRead]:
        """The rows of the versions in the range. Raises ConnectorError where log or files are gone."""
        low, high = Position.of(start), Position.of(end)
        schema = self.schema()
        reader = DeltaFiles(self.table, schema, (), self.context.clock)
        parts: list[pl.DataFrame] = []
        for version, files in self._versions(low, until=high):
            whole = version != high.version
            at = 0
            from_row = low.row if version == low.version else 0
            to_row = sum(file.rows for file in files) if whole else high.row
            for file in files:
                first, last = max(from_row, at), min(to_row, at + file.rows)
                if first < last:
                    if not (self.table / file.path).exists():
                        raise self._vacuumed(file.path)
                    parts.append(reader.read([file.path]).slice(first - at, last - first))
                at += file.rows
        frame = pl.concat(parts) if parts else schema.to_frame()
        return [] if frame.is_empty() else [PartitionRead(PARTITION, frame)]

    def exhausted(self, at: Offsets) -> bool:
        """Whether the version that was the last at the start has been read."""
        return self._last is not None and Position.of(at).version > self._last

    def backlog(self, at: Offsets) -> Backlog:
        """The rows and bytes of the versions after `at`, as far as the next thousand."""
        low = Position.of(at)
        rows = size_bytes = 0
        for count, (version, files) in enumerate(self._versions(low)):
            if count >= CACHED_VERSIONS:
                return Backlog()
            rows += sum(file.rows for file in files) - (low.row if version == low.version else 0)
            size_bytes += sum(file.size_bytes for file in files)
        return Backlog(rows, size_bytes)

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """Look for the next version until it is there."""
        clock = self.context.clock
        deadline_s = clock.stopwatch_s() + timeout_s
        position = Position.of(at)
        while clock.stopwatch_s() < deadline_s:
            if position.snapshot or read_commit(self.table, position.version) is not None:
                return
            clock.sleep(min(POLL_S, timeout_s))

    def _versions(self, start: Position, until: Position | None = None) -> Iterator[tuple[int, list[DataFile]]]:
        """Versions from `start` with their files; up to the last one, or to that of `until` if it has rows to read."""
        version, snapshot = start.version, start.snapshot
        while True:
            if until is not None and (version > until.version or (version == until.version and until.row == 0)):
                return
            if until is None and self._last is not None and version > self._last:
                return
            files = self._files(version, snapshot=snapshot)
            if files is None:
                if until is not None:
                    raise self._gone(version)
                return
            yield version, files
            version, snapshot = version + 1, False

    def _files(self, version: int, *, snapshot: bool) -> list[DataFile] | None:
        """The files whose rows version `version` brought, None where there is no such version yet."""
        known = self._known.get((version, snapshot))
        if known is not None:
            return known
        found = self._snapshot_files(version) if snapshot else self._added_files(version)
        if found is not None:
            with self._known_lock:
                if len(self._known) >= CACHED_VERSIONS:
                    self._known.pop(next(iter(self._known)))
                self._known[version, snapshot] = found
        return found

    def _added_files(self, version: int) -> list[DataFile] | None:
        commit = read_commit(self.table, version)
        if commit is None:
            if checkpointed(self.table) > version:
                raise self._gone(version)
            return None
        if not commit.changes_data:
            return []
        if any(remove["dataChange"] for remove in commit.removes.values()):
            if self._skips:
                return []
            raise self._error(
                f"version {version} of the Delta table {self.table} changed or removed rows "
                f"({commit.info.get('operation', 'unknown operation')})",
                hint='read a table that is only appended to, or pass over such versions with changes="skip"',
            )
        return [self._data_file(path, add["size"], add.get("stats")) for path, add in commit.adds.items()]

    def _snapshot_files(self, version: int) -> list[DataFile]:
        try:
            table = DeltaTable(self.table, version=version)
            rows = pa.table(table.get_add_actions(flatten=False)).to_pylist()
        except DeltaError as error:
            raise self._gone(version) from error
        rows.sort(key=lambda row: (row["modification_time"] or 0, row["path"]))
        return [self._data_file(row["path"], row["size_bytes"], None, row.get("num_records")) for row in rows]

    def _data_file(self, path: str, size_bytes: int, stats: str | None, rows: int | None = None) -> DataFile:
        if rows is None and stats:
            rows = json.loads(stats).get("numRecords")
        if rows is None:
            try:
                rows = row_count(self.table / path)
            except OSError as error:
                raise self._vacuumed(path) from error
        return DataFile(path, rows, size_bytes)

    def _open(self) -> DeltaTable:
        try:
            table = DeltaTable(self.table)
        except DeltaError as error:
            raise self._error(
                f"there is no Delta table in {self.table}", hint="run the flow that writes it first"
            ) from error
        refuse_unknown(table, self.table, verb="read")
        return table

    def _gone(self, version: int) -> ConnectorError:
        logged = [int(path.stem) for path in (self.table / "_delta_log").glob("*.json") if path.stem.isdigit()]
        oldest = min((found for found in logged if found > version), default=checkpointed(self.table) + 1)
        return self._forgotten(
            f"the Delta table {self.table} has no version {version} any more: its log begins later",
            f"version {oldest} of the table",
        )

    def _vacuumed(self, path: str) -> ConnectorError:
        """The error for a data file that was deleted: says which version is the first whose files are all there."""
        version = self._open().version() + 1
        while version and (commit := read_commit(self.table, version - 1)) is not None:
            if not all((self.table / added).exists() for added in commit.adds):
                break
            version -= 1
        return self._forgotten(
            f"{path} of the Delta table {self.table} is gone: vacuum deleted it", f"version {version} of the table"
        )

    def _forgotten(self, message: str, since: str) -> ConnectorError:
        error = forgotten(
            message,
            since=since,
            hint="keep the table's log and files longer than its readers may be behind (`retention_hours`)",
        )
        error.flow, error.step = self.context.flow, self.context.step
        return error

    def _error(self, message: str, hint: str | None = None) -> ConnectorError:
        return ConnectorError(message, flow=self.context.flow, step=self.context.step, hint=hint)
