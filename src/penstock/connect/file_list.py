"""Which files there are, in which order: a durable list, so that an offset is a file's number and a place in it."""

from __future__ import annotations

import fcntl
import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from penstock.clock import Clock
from penstock.errors import ConnectorError, did_you_mean

__all__ = ["FileEntry", "FileList", "Pattern", "format_of"]

FORMATS = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
UNFINISHED = (".tmp", ".part")
LIST_NAME = "files.jsonl"
LOOK_INTERVAL_S = 0.1
LOOK_SHARE = 20
"""Looking through a folder may take one part in so many of the time."""


def format_of(name: str) -> tuple[str | None, str | None]:
    """Format and compression by the ending of a file's name, None where the ending does not say."""
    path = PurePath(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    ending = PurePath(path.stem).suffix if compression else path.suffix
    return FORMATS.get(ending), compression


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the list: its number, its path, and what it was when it was taken."""

    number: int
    path: str
    """As found; relative to the project's root where it is inside."""
    size: int
    inode: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """What the author wrote: a path, a folder or a glob, relative to `root`."""

    path: str
    root: Path
    explicit_format: bool

    @property
    def resolved(self) -> Path:
        """The absolute path that the pattern means."""
        return self.root / Path(self.path).expanduser()

    def look(self) -> dict[str, os.stat_result]:
        """The files that are there now and finished by their names: path -> its status."""
        target = self.resolved
        found: Iterator[Path]
        if target.is_dir():
            found = (one for one in target.iterdir() if self.explicit_format or format_of(one.name)[0])
        elif glob.has_magic(str(target)) and not target.exists():
            found = (Path(one) for one in glob.iglob(str(target), recursive=True))  # noqa: PTH207 - the pattern may be absolute
        else:
            found = iter((target,))
        seen: dict[str, os.stat_result] = {}
        for path in found:
            if path != target and (path.name.startswith((".", "_")) or path.name.endswith(UNFINISHED)):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if not path.is_dir():
                seen[self._short(path)] = status
        return seen

    def nearest(self) -> str:
        """The first part of the path that is not there, with the closest name that is; "" where all of it is there."""
        place, wrong = self.resolved, None
        while glob.has_magic(str(place)):
            place = place.parent
        while not place.exists():
            wrong, place = place, place.parent
        if wrong is None:
            return ""
        close = did_you_mean(wrong.name, sorted(one.name for one in place.iterdir())) if place.is_dir() else ""
        return f".{close}" if wrong == self.resolved else f": there is no {wrong}.{close}"

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


class FileList:
    """The files that were taken, in the order in which they were; kept in `folder`, shared by processes.

    `watch`: files are added as long as the source lives, each once its size held still between two looks (`growing`:
    at once). Otherwise the list is made at the first look, sorted by name, and stays. The first look is two, so that a
    run that only takes what is there finds it.
    """

    def __init__(self, pattern: Pattern, folder: Path, clock: Clock, *, watch: bool, growing: bool) -> None:
        self.pattern = pattern
        self.entries: list[FileEntry] = []
        self._path = folder / LIST_NAME
        self._clock = clock
        self._watch = watch
        self._growing = growing
        self._known: set[str] = set()
        self._sizes: dict[str, tuple[int, int]] = {}
        self._read_to = 0
        self._next_look_s = 0.0
        self._complete = False
        self._looked = False

    def refresh(self) -> None:
        """Look for files, where it is time to. Raises ConnectorError where there are none and none are waited for."""
        if self._complete:
            return
        self._load()
        if self.entries and not self._watch:
            self._complete = True
            return
        begun_s = self._clock.stopwatch_s()
        if begun_s < self._next_look_s:
            return
        try:
            self._take(self.pattern.look())
            if self._sizes and not self._looked:
                self._clock.sleep(LOOK_INTERVAL_S)
                self._take(self.pattern.look())
            self._looked = True
        except OSError as error:
            raise ConnectorError(f"can't look for files at {self.pattern.resolved}: {error.strerror}") from error
        took_s = self._clock.stopwatch_s() - begun_s
        self._next_look_s = begun_s + max(LOOK_INTERVAL_S, took_s * LOOK_SHARE)
        self._complete = bool(self.entries) and not self._watch

    def entry(self, number: int) -> FileEntry | None:
        """The file of this number, None where the list ends before it."""
        if number >= len(self.entries):
            self._load()
        return self.entries[number] if number < len(self.entries) else None

    def _take(self, seen: dict[str, os.stat_result]) -> None:
        if not seen and not self._watch and not self.entries:
            missing = ConnectorError(
                f"no file at {self.pattern.resolved}{self.pattern.nearest()}",
                state_left="nothing was read",
                hint="check the path, or set watch=True to wait for files",
            )
            missing.heals = False  # nobody said that files are still to come
            raise missing
        new = {path: status for path, status in seen.items() if path not in self._known}
        if self._watch and not self._growing:
            ripe = {path for path, status in new.items() if self._sizes.get(path) == _size(status)}
            self._sizes = {path: _size(status) for path, status in new.items() if path not in ripe}
            new = {path: new[path] for path in ripe}
        if new:
            with self._locked():
                self._load()
                self._append({path: status for path, status in new.items() if path not in self._known})

    def _append(self, new: dict[str, os.stat_result]) -> None:
        """Make entries durable before any offset names them."""
        if not new or (self.entries and not self._watch):
            return
        first = len(self.entries)
        entries = [
            FileEntry(first + number, path, new[path].st_size, new[path].st_ino)
            for number, path in enumerate(sorted(new))
        ]
        text = "".join(f"{json.dumps(asdict(entry))}\n" for entry in entries).encode()
        if not self._read_to:
            text = json.dumps({"pattern": self.pattern.path}).encode() + b"\n" + text
        try:
            with self._path.open("r+b" if self._path.exists() else "w+b") as file:
                file.truncate(self._read_to)  # what a crash left of a line
                file.seek(self._read_to)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(self._path.parent)
        except OSError as error:
            raise ConnectorError(
                f"can't write the list of files {self._path}: {error.strerror}", state_left="no new file was taken"
            ) from error
        self._load()

    def _load(self) -> None:
        """Read what this or another process has added since."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_to)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if lines and not self._read_to:
            self._check_pattern(lines.pop(0))
        for line in lines:
            try:
                entry = FileEntry(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise self._damaged(error) from error
            self.entries.append(entry)
            self._known.add(entry.path)
        self._read_to += len(whole)

    def _check_pattern(self, line: bytes) -> None:
        """The list must be one of the files that are asked for: its numbers mean nothing for others."""
        try:
            listed = json.loads(line)["pattern"]
        except (ValueError, TypeError, KeyError) as error:
            raise self._damaged(error) from error
        if listed != self.pattern.path:
            raise ConnectorError(
                f"this source has read {listed!r} so far and is asked for {self.pattern.path!r} now;"
                f" its positions mean nothing there",
                state_left=f"the list of files {self._path} is untouched",
                hint="give the source another name; it then starts at its first file",
            )

    def _damaged(self, error: Exception) -> ConnectorError:
        return ConnectorError(
            f"the list of files {self._path} is damaged after {len(self.entries)} entries: {error}",
            hint="restore it from a backup; without it no offset of this source has a meaning",
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time gives out numbers."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _size(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
