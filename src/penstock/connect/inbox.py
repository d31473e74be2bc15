"""The inbox: rows of a system that can't be read twice, kept durably until their epoch is committed.

One SQLite file (WAL, `synchronous=FULL`: a commit is on the disk). Rows are JSON lines, stored as they came, a batch
a record; the offset is the row's number since the inbox began, from 1. Several requests share one commit. An
idempotency key is written in the same transaction as its rows, so both are there or neither. SQLite instead of a log of
our own: it stored a million rows a second in shared commits, half of what bare appends did, and brings an index.

Several processes may have it open: numbers are given inside the transaction.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.clock import Clock
from penstock.connect.complaints import forgotten
from penstock.connect.contract import Backlog, Budget
from penstock.connect.ndjson import nth_newline
from penstock.errors import ConnectorError

__all__ = ["Entry", "Inbox", "Outcome"]

FORMAT = 1
BUSY_S = 10.0
KEY_RETENTION_S = 24 * 3600.0
TABLES = """
create table if not exists batch (first integer primary key, rows integer not null, body blob not null);
create table if not exists idempotency_key (
    id text primary key, first integer not null, rows integer not null, digest blob not null, stored_us integer not null
) without rowid;
create index if not exists idempotency_key_by_time on idempotency_key (stored_us);
create table if not exists counter (name text primary key, value integer not null) without rowid;
insert or ignore into counter values ('next', 1);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """Rows to store together: whole JSON lines, each with its newline, and the sender's idempotency key."""

    body: bytes
    rows: int
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where an entry's rows are. `repeated`: they were there already. `conflict`: the key stands for other rows."""

    first: int
    rows: int
    repeated: bool = False
    conflict: bool = False


class Inbox:
    """One inbox in a folder. All methods may be called from any thread; each raises ConnectorError."""

    def __init__(self, folder: Path, clock: Clock, *, key_retention_s: float = KEY_RETENTION_S) -> None:
        self.path = folder / "inbox.sqlite"
        self._clock = clock
        self._key_retention_us = round(key_retention_s * 1e6)
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        with self._named():
            # Writing and reading have a connection each, so that a long read does not hold up a sender.
            self._writer = self._connect()
            self._reader = self._connect()
        self._read_lock = threading.Lock()
        self._size_bytes = 0
        self.count()

    def append(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Store entries in one commit; durable on return. A key that is known stores nothing."""
        with self._lock, self._named(), self._transaction():
            row = self._writer.execute("select value from counter where name = 'next'").fetchone()
            begin = following = int(row[0])
            outcomes = []
            size_bytes = 0
            for entry in entries:
                outcome = self._append(entry, following)
                outcomes.append(outcome)
                if not outcome.repeated and not outcome.conflict:
                    following += entry.rows
                    size_bytes += len(entry.body)
            if following != begin:
                self._writer.execute("update counter set value = ? where name = 'next'", [following])
        self._size_bytes += size_bytes
        return outcomes

    def end(self) -> int:
        """The number that the next row will get."""
        with self._read_lock, self._named():
            row = self._reader.execute("select value from counter where name = 'next'").fetchone()
        return int(row[0])

    def cut(self, start: int, budget: Budget) -> int:
        """How far a range from `start` may go within the budget; at least one row where there is one."""
        end = self.end()
        if start > end:
            another = ConnectorError(
                f"the flow stands at row {start} of the inbox {self.path}, which has given numbers only to {end - 1}",
                state_left="the inbox is another one than the flow has read from",
                hint="bring the inbox's folder back, or start the flow from the beginning (--reset)",
            )
            another.heals = False
            raise another
        at, size_bytes = start, 0
        for first, rows, length in self._batches(start):
            rows_here = first + rows - at
            length_here = length * rows_here // rows
            room = min(rows_here, start + budget.rows - at)
            if size_bytes + length_here > budget.size_bytes:
                room = min(room, (budget.size_bytes - size_bytes) * rows_here // max(1, length_here))
            if room < rows_here:
                return at + room if at + room > start else min(start + 1, end)
            at += rows_here
            size_bytes += length_here
        return at

    def read(self, start: int, end: int) -> bytes:
        """The lines of rows start..end. Raises ConnectorError where some of them are gone."""
        parts: list[bytes] = []
        at = start
        with self._read_lock, self._named():
            query = "select first, rows, body from batch where first >= ? and first < ? order by first"
            for first, rows, body in self._reader.execute(query, [self._first_of(start), end]):
                if first > at:
                    break
                begin = _line(body, at - first)
                stop = len(body) if first + rows <= end else _line(body, end - first)
                parts.append(body[begin:stop])
                at = min(end, first + rows)
        if at < end:
            raise self._gone(at)
        return b"".join(parts)

    def forget(self, end: int) -> None:
        """Delete batches that lie before `end`, and keys whose time is over."""
        with self._lock, self._named(), self._transaction():
            before = "from batch where first < ? and first + rows <= ?"
            query = f"select coalesce(sum(length(body)), 0) {before}"
            gone_bytes = int(self._writer.execute(query, [end, end]).fetchone()[0])
            self._writer.execute(f"delete {before}", [end, end])
            horizon_us = self._clock.now_us() - self._key_retention_us
            self._writer.execute("delete from idempotency_key where stored_us < ?", [horizon_us])
        self._size_bytes = max(0, self._size_bytes - gone_bytes)

    def backlog(self, at: int) -> Backlog:
        """Rows from `at` on, and about how many bytes they are."""
        with self._read_lock, self._named():
            query = "select value, (select min(first) from batch) from counter where name = 'next'"
            end, oldest = self._reader.execute(query).fetchone()
        rows = max(0, end - at)
        return Backlog(rows, self._size_bytes * rows // (end - oldest) if oldest is not None else 0)

    def size_bytes(self) -> int:
        """The bytes of all rows that are kept: as this process has counted them, exact when it alone writes."""
        return self._size_bytes

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._read_lock:
            self._writer.close()
            self._reader.close()

    def count(self) -> None:
        """Count the bytes that are kept: other processes may have written and deleted since it was opened."""
        with self._read_lock, self._named():
            kept = self._reader.execute("select coalesce(sum(length(body)), 0) from batch").fetchone()
        self._size_bytes = int(kept[0])

    def _gone(self, row: int) -> ConnectorError:
        """The error for a row that is not there."""
        with self._read_lock, self._named():
            query = "select value, (select min(first) from batch) from counter where name = 'next'"
            following, oldest = self._reader.execute(query).fetchone()
        if row >= following:
            return forgotten(
                f"the inbox {self.path} has no row {row}: it has given numbers only to {following - 1}",
                since=f"row {oldest or following}",
                hint="it is another inbox than the flow has read from: bring its folder back",
            )
        return forgotten(
            f"the inbox {self.path} has no row {row} any more: rows are deleted once they are committed and out of "
            "reach of an undo",
            since=f"row {oldest or following}",
        )

    def _append(self, entry: Entry, first: int) -> Outcome:
        digest = b""
        if entry.key is not None:
            digest = hashlib.blake2b(entry.body, digest_size=16).digest()
            query = "select first, rows, digest from idempotency_key where id = ? and stored_us >= ?"
            oldest_us = self._clock.now_us() - self._key_retention_us
            known = self._writer.execute(query, [entry.key, oldest_us]).fetchone()
            if known is not None:
                return Outcome(known[0], known[1], repeated=known[2] == digest, conflict=known[2] != digest)
        if entry.rows:
            self._writer.execute("insert into batch values (?, ?, ?)", [first, entry.rows, entry.body])
        if entry.key is not None:
            values = [entry.key, first, entry.rows, digest, self._clock.now_us()]
            self._writer.execute("insert or replace into idempotency_key values (?, ?, ?, ?, ?)", values)
        return Outcome(first, entry.rows)

    def _batches(self, start: int) -> Iterator[tuple[int, int, int]]:
        """First row, rows and bytes of the batches from the one that holds `start` on, a few at a time."""
        at = start
        while True:
            with self._read_lock, self._named():
                query = "select first, rows, length(body) from batch where first >= ? order by first limit 1000"
                found = self._reader.execute(query, [self._first_of(at)]).fetchall()
            yield from (batch for batch in found if batch[0] + batch[1] > at)
            if not found or found[-1][0] + found[-1][1] <= at:
                return
            at = found[-1][0] + found[-1][1]

    def _first_of(self, row: int) -> int:
        """Where the batch begins that holds `row`. Call it with the read lock."""
        found = self._reader.execute("select max(first) from batch where first <= ?", [row]).fetchone()[0]
        return row if found is None else int(found)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        version = connection.execute("pragma user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise ConnectorError(f"the inbox {self.path} has format {version}, this release knows {FORMAT}")
        if version == 0:
            connection.executescript(f"begin immediate; {TABLES} pragma user_version = {FORMAT}; commit;")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("begin immediate")
        try:
            yield
            self._writer.execute("commit")
        finally:
            if self._writer.in_transaction:
                self._writer.execute("rollback")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise ConnectorError(
                f"the inbox {self.path}: {error}",
                state_left="what was acknowledged is stored; what failed is not",
                hint="look for free space on that disk",
            ) from error


def _line(body: bytes, number: int) -> int:
    """Where line `number` (from 0) begins."""
    place = 0 if number <= 0 else nth_newline(body, number)
    return len(body) if place is None else place
