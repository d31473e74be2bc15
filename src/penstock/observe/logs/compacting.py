"""Makes Parquet files of journals, fewer files of many, and room where there is too much.

One file is of one flow and one hour; those of a day that is over are merged, up to `ROWS_MAX` rows. Who does it is the
server, beside its loop, or the end of a `penstock run`; two at once are kept apart by a lock, and a crash at any point
leaves every entry there once.
"""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.clock import Clock, new_id, to_datetime
from penstock.observe.entries import LOG_COLUMNS
from penstock.observe.logs.journal import FULL
from penstock.observe.logs.reading import JournalFile, journal_files, rows_of_journal, to_table
from penstock.observe.logs.store import ENTRIES, FlowLogs, Index, LogFile, flows_with_logs, sync_folder

__all__ = ["ROWS_MAX", "LogRetention", "compact", "compact_all", "write_entries"]

ROWS_MAX = 2_000_000
_ROW_GROUP = 122_880
_JOURNALS_AT_ONCE = 32
_SMALL_FILES = 8
_KEPT_US = 60_000_000
"""So long a name is remembered as covered, and a file that was replaced stays: readers may be under way with them."""
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_DISTINCT = ("timestamp", "insert_id", "message")
_ENCODINGS = {"timestamp": "DELTA_BINARY_PACKED", "insert_id": "DELTA_BYTE_ARRAY"}


@dataclass(frozen=True, slots=True)
class LogRetention:
    """How long entries stay, and how much of them a flow may have on disk, in bytes of Parquet."""

    keep_us: int = 30 * _DAY_US
    max_bytes: int = 5_000_000_000


def compact_all(root: Path, clock: Clock, retention: LogRetention | None = None, *, settle_us: int = 0) -> int:
    """`compact` for every flow; gives how many entries went into Parquet. Raises OSError."""
    return sum(compact(logs, clock, retention, settle_us=settle_us) for logs in flows_with_logs(root))


def compact(
    logs: FlowLogs,
    clock: Clock,
    retention: LogRetention | None = None,
    *,
    settle_us: int = 0,
    least_journals: int = 1,
) -> int:
    """Move what is in full journals, and in those of dead processes, into Parquet; merge small files; drop old ones.

    `settle_us`: journals that were written to in so many last microseconds stay, for those who follow them.
    `least_journals`: with fewer than these nothing is moved, unless one is large. Gives how many entries were moved; 0
    too where somebody else is at it. Raises OSError: then everything is as it was.
    """
    with logs.locked() as alone:
        if not alone:
            return 0
        now_us = clock.now_us()
        _clean(logs, now_us)
        moved = 0
        while batch := _ripe(logs, now_us, settle_us, least_journals):
            moved += _move(logs, batch, now_us)
        _merge(logs, now_us)
        _drop(logs, retention or LogRetention(), now_us)
        return moved


def write_entries(table: pa.Table, path: Path) -> None:
    """Write entries, sorted by time, as a Parquet file of the store. Raises OSError."""
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=3,
        row_group_size=_ROW_GROUP,
        use_dictionary=[column.name for column in LOG_COLUMNS if column.name not in _DISTINCT],  # type: ignore[arg-type] # the stubs know bool only
        column_encoding=_ENCODINGS,
        write_statistics=True,
    )


# --- journals -> files ------------------------------------------------------------------------------------------------


def _ripe(logs: FlowLogs, now_us: int, settle_us: int, least: int) -> list[JournalFile]:
    """The oldest journals that nobody writes to any more."""
    covered = logs.index().covered
    found: list[JournalFile] = []
    size = 0
    for journal in journal_files(logs.folder):
        if journal.id in covered:
            continue
        sealed = _sealed(journal) if journal.live else journal
        if sealed is None:
            continue
        with suppress(FileNotFoundError):
            status = sealed.path.stat()
            if settle_us == 0 or now_us - status.st_mtime_ns // 1_000 >= settle_us:
                found.append(sealed)
                size += status.st_size
    large = size >= 1 << 20
    return found[:_JOURNALS_AT_ONCE] if len(found) >= least or large else []


def _sealed(journal: JournalFile) -> JournalFile | None:
    """A journal whose process is gone, made a full one; None where the process is there."""
    try:
        handle = os.open(journal.path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), journal.path.stat()):
            return None
        full = journal.path.with_suffix(FULL)
        journal.path.rename(full)
    except (BlockingIOError, FileNotFoundError):
        return None
    finally:
        os.close(handle)
    return replace(journal, path=full, live=False)


def _move(logs: FlowLogs, journals: Sequence[JournalFile], now_us: int) -> int:
    """Write the entries of journals as Parquet, say so in the index, remove the journals."""
    rows = pl.concat([rows_of_journal(journal.path) for journal in journals]).sort("timestamp", "insert_id")
    hours = rows.with_columns(hour=pl.col("timestamp").dt.truncate("1h")).partition_by("hour", include_key=False)
    files = [_written(logs, part, "%Y%m%dT%H") for part in hours if part.height]
    before = logs.index()
    totals = dict(before.totals)
    for file in files:
        for number, count in file.severities.items():
            totals[number] = totals.get(number, 0) + count
    covered = {**before.covered, **{journal.id: now_us for journal in journals}}
    logs.replace_index(replace(before, files=_in_order((*before.files, *files)), covered=covered, totals=totals))
    for journal in journals:
        journal.path.unlink(missing_ok=True)
    return rows.height


def _written(logs: FlowLogs, rows: pl.DataFrame, name_form: str) -> LogFile:
    """A new Parquet file of rows, durable and in no index yet."""
    first = int(rows["timestamp"].cast(pl.Int64)[0])
    last = int(rows["timestamp"].cast(pl.Int64)[-1])
    name = f"{to_datetime(first).strftime(name_form)}-{new_id()[:12]}.parquet"
    path, staged = logs.path_of(name), logs.path_of(f".{name}")
    try:
        write_entries(to_table(rows), staged)
        handle = os.open(staged, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    counts = rows.group_by("severity").len().sort("severity").rows()
    severities = {str(number): count for number, count in counts}
    return LogFile(name, first, last, rows.height, path.stat().st_size, severities)


# --- files -> fewer files ---------------------------------------------------------------------------------------------


def _merge(logs: FlowLogs, now_us: int) -> None:
    """Merge the small files of an hour, and of a day that is over."""
    before = logs.index()
    for pack in _packs(before.files, now_us):
        tables = [pq.read_table(logs.path_of(file)) for file in pack]
        rows = pl.concat([_frame(table) for table in tables]).sort("timestamp", "insert_id")
        file = _written(logs, rows, "%Y%m%d")
        before = logs.index()
        gone = {one.name for one in pack}
        files = _in_order((file, *(one for one in before.files if one.name not in gone)))
        logs.replace_index(replace(before, files=files, waste={**before.waste, **dict.fromkeys(gone, now_us)}))


def _packs(files: Iterable[LogFile], now_us: int) -> list[list[LogFile]]:
    groups: defaultdict[tuple[str, int], list[LogFile]] = defaultdict(list)
    for file in files:
        if file.rows <= ROWS_MAX // 2:
            day, hour = file.last_us // _DAY_US, file.last_us // _HOUR_US
            groups["day" if day < now_us // _DAY_US else "hour", day if day < now_us // _DAY_US else hour].append(file)
    packs = []
    for (kind, number), group in groups.items():
        if kind == "hour" and number >= now_us // _HOUR_US and len(group) < _SMALL_FILES:
            continue
        pack: list[LogFile] = []
        for file in group:
            if sum(one.rows for one in pack) + file.rows > ROWS_MAX:
                packs.append(pack)
                pack = []
            pack.append(file)
        packs.append(pack)
    return [pack for pack in packs if len(pack) > 1]


# --- room -------------------------------------------------------------------------------------------------------------


def _drop(logs: FlowLogs, retention: LogRetention, now_us: int) -> None:
    """Let go of files that are too old, and of the oldest where there is too much."""
    before = logs.index()
    kept = [file for file in before.files if file.last_us >= now_us - retention.keep_us]
    size = sum(file.size_bytes for file in kept)
    while kept and size > retention.max_bytes:
        size -= kept.pop(0).size_bytes
    gone = {file.name for file in before.files} - {file.name for file in kept}
    if gone:
        waste = {**before.waste, **dict.fromkeys(gone, now_us)}
        logs.replace_index(replace(before, files=tuple(kept), waste=waste))


def _clean(logs: FlowLogs, now_us: int) -> None:
    """Remove what an earlier pass, or one that a crash ended, left behind."""
    before = logs.index()
    present = {journal.id: journal for journal in journal_files(logs.folder)}
    for name in before.covered:
        if name in present:
            present[name].path.unlink(missing_ok=True)
    old = {name for name, since_us in before.waste.items() if now_us - since_us >= _KEPT_US}
    for name in old:
        logs.path_of(name).unlink(missing_ok=True)
    known = {file.name for file in before.files} | set(before.waste)
    for path in (logs.folder / ENTRIES).iterdir():
        if path.name not in known:  # written by a pass that died before it could say so
            path.unlink(missing_ok=True)
    covered = {name: since_us for name, since_us in before.covered.items() if now_us - since_us < _KEPT_US}
    waste: Mapping[str, int] = {name: since_us for name, since_us in before.waste.items() if name not in old}
    after = Index(before.files, covered, before.totals, waste)
    if after != before:
        logs.replace_index(after)


def _in_order(files: Iterable[LogFile]) -> tuple[LogFile, ...]:
    return tuple(sorted(files, key=lambda file: (file.first_us, file.name)))


def _frame(table: pa.Table) -> pl.DataFrame:
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    return found
