"""The journal of one process: lines in a file that is mapped into memory, so that a line costs a copy and no call of
the system, and is there for all others at once. It survives the death of the process (`kill -9`), because the pages are
the kernel's; of a power cut it survives what the kernel has written back, as any file.

A journal is NDJSON. Its first line says whose it is; the others are entries, with short names (docs/formats.md). Behind
the last line are zeros up to the end, which no line contains. It is `ID.live` while its process writes to it and holds
a lock on it, so that everybody can see whether that is still there, and `ID.full` from then on.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.clock import Clock, SystemClock

__all__ = ["FULL", "JOURNALS", "JOURNAL_BYTES", "LIVE", "Identity", "JournalWriter", "Quota"]

JOURNALS = "journals"
"""The folder of a flow's journals, in the one of its logs."""
LIVE, FULL = ".live", ".full"
JOURNAL_BYTES = 4 << 20
_STAGED = ".new"
_FORMAT = 1
_ERROR = 500
_WARNING = 400
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """What all entries of a process have in common."""

    project: str
    flow: str
    env: str
    version: str
    worker: str

    def header(self, journal: str) -> bytes:
        """The first line of a journal."""
        values = {
            "penstock": _FORMAT,
            "id": journal,
            "project": self.project,
            "flow": self.flow,
            "env": self.env,
            "version": self.version,
            "worker": self.worker,
        }
        return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a process may log: `burst` lines at once, and `lines_per_s` for good. Entries of ERROR and above have a
    share of their own, so that no flood of others hides them.
    """

    lines_per_s: int = 20_000
    burst: int = 20_000_000


class _Bucket:
    """Tokens that come back with time: a line takes one."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.left = quota.burst
        self.filled_us = 0
        self.refused = 0
        self.told_us = 0

    def refill(self, now_us: int) -> bool:
        """Take one token, where time has brought any."""
        gained = (now_us - self.filled_us) * self.quota.lines_per_s // _SECOND_US if self.filled_us else 0
        if self.filled_us == 0 or gained > 0:
            self.filled_us = now_us
        self.left = min(self.quota.burst, max(self.left, 0) + gained)
        if self.left <= 0:
            self.refused += 1
            return False
        self.left -= 1
        return True


class JournalWriter:
    """Appends lines to the journals of one process in `folder`, the folder of its flow's logs. Threads may share it.

    Nothing is raised: where the disk is full, lines are lost, and the first that gets through again says how many.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        *,
        quota: Quota | None = None,
        clock: Clock | None = None,
        size_bytes: int = JOURNAL_BYTES,
    ) -> None:
        self.folder = folder / JOURNALS
        self.identity = identity
        self.lost = 0
        """Lines that had no room on the disk and were not told of yet."""
        self._clock = clock or SystemClock()
        self._usual = _Bucket(quota or Quota())
        self._urgent = _Bucket(quota or Quota())
        self._bytes = size_bytes
        self._take_lock()
        self._map: mmap.mmap | None = None
        self._file = -1
        self._path: Path | None = None
        self._entries_from = 0
        self._end = 0
        self._size = 0
        self._tried_us = 0
        self._count = 0
        self._closed = False
        _WRITERS.add(self)

    def append(self, line: bytes, severity: int, time_us: int) -> None:
        """Append one line, a JSON object with a newline at its end. `time_us` is the time of the entry: about now."""
        self._acquire()  # half of what `with` costs, on the one path where that is to be seen
        try:
            bucket = self._usual
            bucket.left -= 1
            if bucket.left < 0 and not self._may(severity, time_us):
                return
            start = self._end
            end = start + len(line)
            if end >= self._size:  # at least one zero stays behind the last line
                if not self._make_room(len(line), time_us):
                    self.lost += 1
                    return
                start = self._end
                end = start + len(line)
            self._end = end
            self._map[start:end] = line  # type: ignore[index]
        finally:
            self._release()

    def rename(self, version: str) -> None:
        """Go on as another version: it was not known yet, or the code was loaded meanwhile."""
        with self._lock:
            if version != self.identity.version:
                self.identity = replace(self.identity, version=version)
                self._seal()

    def close(self) -> None:
        """Seal the journal. Lines that come later are dropped."""
        with self._lock:
            if not self._closed:
                now_us = self._clock.now_us()
                self._tell_refused(now_us, at_end=True)
                if self.lost:
                    self._make_room(0, now_us, now=True)
                self._seal()
                self._closed = True

    def forget(self) -> None:
        """In the child of a fork: the journal is the parent's; this process begins one of its own."""
        self._take_lock()
        if self._map is not None:
            self._map.close()
            os.close(self._file)
        self._map, self._file, self._path, self._size, self._end = None, -1, None, 0, 0
        self.identity = replace(self.identity, worker=f"{self.identity.worker}.{os.getpid()}")
        self._count, self.lost = 0, 0
        self._closed = False

    def _take_lock(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may log, while this thread does
        self._acquire, self._release = self._lock.acquire, self._lock.release

    # --- limits -------------------------------------------------------------------------------------------------------

    def _may(self, severity: int, time_us: int) -> bool:
        """Whether there is a token after all."""
        before = self._usual.refused
        if self._usual.refill(time_us):
            if before:
                self._tell_refused(time_us)
            return True
        if severity >= _ERROR and self._urgent.refill(time_us):
            self._usual.refused -= 1
            return True
        if time_us - self._usual.told_us >= _SECOND_US:
            self._tell_refused(time_us)
        return False

    def _tell_refused(self, time_us: int, *, at_end: bool = False) -> None:
        """Say how many lines were suppressed since it was said last: once a second at most, and at the end."""
        count = self._usual.refused
        if not count or (time_us - self._usual.told_us < _SECOND_US and not at_end):
            return
        self._usual.refused, self._usual.told_us = 0, time_us
        limit = self._usual.quota.lines_per_s
        line = _own_line(
            f"{count:,} lines were suppressed: this process logs more than {limit:,} lines a second",
            {"suppressed": count, "lines_per_s": limit},
            time_us,
        )
        if self._end + len(line) < self._size or self._make_room(len(line), time_us):
            self._put(line)

    # --- files --------------------------------------------------------------------------------------------------------

    def _put(self, line: bytes) -> None:
        start, self._end = self._end, self._end + len(line)
        assert self._map is not None
        self._map[start : self._end] = line

    def _make_room(self, length: int, time_us: int, *, now: bool = False) -> bool:
        """Begin the next journal. False where there is no room on the disk; that is tried again once a second."""
        if self._closed or (not now and self.lost and abs(time_us - self._tried_us) < _SECOND_US):
            return False
        self._tried_us = time_us
        try:
            self._seal()
            self._open(time_us, length)
        except OSError:
            self._drop_staged()
            return False
        if self.lost:
            count, self.lost = self.lost, 0
            text = f"{count:,} lines were lost: there was no room for them on the disk"
            self._put(_own_line(text, {"lost": count}, time_us))
        return True

    def _open(self, time_us: int, length: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{time_us:016d}-{self.identity.worker}-{self._count:06d}"
        header = self.identity.header(name)
        size = max(self._bytes, len(header) + length + 4096)
        staged = self.folder / f"{name}{_STAGED}"
        self._path = staged
        self._file = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        # Blocks of the disk are taken now: a page that finds none later would end the process by SIGBUS.
        os.posix_fallocate(self._file, 0, size)
        self._map = mmap.mmap(self._file, size)
        self._map[: len(header)] = header
        self._path = staged.rename(staged.with_suffix(LIVE))
        self._count += 1
        self._size, self._end, self._entries_from = size, len(header), len(header)

    def _seal(self) -> None:
        """Cut the journal to its length and give it its last name. One without entries is removed."""
        if self._map is None or self._path is None:
            return
        self._map.close()
        path, length = self._path, self._end
        empty = length == self._entries_from
        self._map, self._path, self._size, self._end = None, None, 0, 0
        try:
            if empty:
                path.unlink(missing_ok=True)
            else:
                os.ftruncate(self._file, length)
                path.rename(path.with_suffix(FULL))
        except FileNotFoundError:
            pass  # somebody removed the folder: what was in it is gone, and the next journal makes it anew
        finally:
            os.close(self._file)  # and so lets go of the lock
            self._file = -1

    def _drop_staged(self) -> None:
        if self._map is not None:
            self._map.close()
        if self._file >= 0:
            os.close(self._file)
        if self._path is not None:
            with suppress(OSError):  # then an empty file stays, under a name that no reader takes for a journal
                self._path.unlink(missing_ok=True)
        self._map, self._file, self._path, self._size, self._end = None, -1, None, 0, 0


def _own_line(message: str, attrs: Mapping[str, int], time_us: int) -> bytes:
    values = {"s": _WARNING, "t": time_us, "m": message, "a": json.dumps({"logger": "penstock.logs", **attrs})}
    # With the beginning of all entries: they are counted by it.
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


_WRITERS: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


def _in_child() -> None:
    for writer in list(_WRITERS):
        writer.forget()


os.register_at_fork(after_in_child=_in_child)
