"""The care of a Delta table while it is written: fewer files, checkpoints of the log, and deletion of what is old.

Runs in one thread beside the writer and shares its `DeltaLog` and lock only to look and to commit. A compaction reads
and writes its files without the lock and commits only where all files that it read are still live; it never changes
rows, so it can be given up at any point. Vacuum and checkpoints are deltalake's.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from polars.exceptions import PolarsError

from penstock.connect.delta_files import FILE_PREFIX, ROWS_MAX, DeltaFiles
from penstock.connect.delta_log import DeltaLog, Note
from penstock.errors import PenstockError

__all__ = ["COMPACT_FILES", "RETENTION_HOURS", "Care", "DeltaCare"]

LOGGER = logging.getLogger(__name__)
COMPACT_FILES = 32
RETENTION_HOURS = 24
SMALL_BYTES = 16 * 1024 * 1024
HOT_FILES = 4
AT_ONCE_BYTES = 128 * 1024 * 1024
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Care:
    """How a table is kept.

    `compact_files`: small files that start a compaction (0: never). `retention_hours`: how long removed files and log
    entries stay, which is how far an undo and a slow reader can go back.
    """

    compact_files: int = COMPACT_FILES
    checkpoint_commits: int = 50
    retention_hours: int = RETENTION_HOURS


class DeltaCare:
    """The thread. `poke` after each commit, `close` at the end; `run_once` does what is due at once (tests)."""

    def __init__(
        self,
        care: Care,
        log: DeltaLog,
        files: DeltaFiles,
        lock: threading.RLock,
        note: Callable[[], Note | None],
    ) -> None:
        self._care = care
        self._log = log
        self._files = DeltaFiles(files.table, files.schema, (), files.clock)
        self._keyed = bool(files.key)
        self._lock = lock
        self._note = note
        self._checkpointed = log.version
        self._vacuumed_s = files.clock.stopwatch_s()
        self._due = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"delta-care {files.table.name}", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """Look whether something is due, soon and in the background."""
        self._due.set()

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._stop.set()
        self._due.set()
        self._thread.join()

    def run_once(self) -> None:
        """Do what is due. Raises DeltaError, OSError, PenstockError; nothing of it harms the table."""
        if self._care.compact_files:
            self.compact()
        if self._log.version - self._checkpointed >= self._care.checkpoint_commits:
            self.checkpoint()
        now_s = self._files.clock.stopwatch_s()
        if now_s - self._vacuumed_s >= HOUR_S:
            self._vacuumed_s = now_s
            self.vacuum()

    def compact(self) -> bool:
        """Put many small files of ours into one. Gives whether it did."""
        with self._lock:
            small = self._small()
        if len(small) < self._care.compact_files:
            return False
        rows = self._files.read(small)
        adds = self._files.write(rows, changes_data=False)
        if self._swap(small, adds):
            self._files.commit_done()
            return True
        self._files.drop_written()
        return False

    def checkpoint(self) -> None:
        """Write the whole state of the log into one file, so that opening the table stays fast."""
        DeltaTable(self._files.table).create_checkpoint()
        self._checkpointed = self._log.version

    def vacuum(self) -> None:
        """Delete files that were removed, or were never committed, longer ago than `retention_hours`; then old log."""
        table = DeltaTable(self._files.table)
        table.vacuum(self._care.retention_hours, dry_run=False, enforce_retention_duration=False, full=True)
        table.cleanup_metadata()

    def _small(self) -> list[str]:
        """Files worth merging, the oldest first, as many as fit into memory with ease."""
        found: list[str] = []
        size_bytes = 0
        live = list(self._log.files.items())
        # The newest files of a keyed table are what updates go to: in one large file, each would cost that much.
        for path, add in live[: max(0, len(live) - HOT_FILES)] if self._keyed else live:
            rows = json.loads(add["stats"] or "{}").get("numRecords", 0)
            if not path.startswith(FILE_PREFIX) or add["size"] >= SMALL_BYTES or rows > ROWS_MAX // 2:
                continue
            size_bytes += add["size"]
            if size_bytes > AT_ONCE_BYTES:
                break
            found.append(path)
        return found

    def _swap(self, old: list[str], adds: dict[str, dict[str, object]]) -> bool:
        with self._lock:
            while True:
                self._log.catch_up()
                note = self._note()
                if note is None or any(path not in self._log.files for path in old):
                    return False
                actions = [self._log.remove(path, changes_data=False) for path in old]
                actions += [{"add": add} for add in adds.values()]
                if self._log.try_commit(actions, note, "OPTIMIZE"):
                    return True

    def _run(self) -> None:
        while not self._stop.is_set():
            self._due.wait()
            self._due.clear()
            if self._stop.is_set():
                return
            try:
                self.run_once()
            except (DeltaError, OSError, PenstockError, PolarsError) as error:
                self._files.drop_written()
                LOGGER.warning("care of the Delta table %s put off: %s", self._files.table, error)
