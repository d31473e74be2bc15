"""The logs of one flow on disk: journals, Parquet files made of them, and the index that says which of them are true.

`index.json` is replaced as a whole, by whoever holds the lock. It lists the Parquet files, and the journals that these
cover: so a crash between writing a file and removing its journals leaves no entry twice, and one before leaves none
out. A reader reads the journals first and the index then, and leaves out the journals that are covered by now.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from penstock.clock import new_id
from penstock.observe.logs.journal import JOURNALS
from penstock.observe.logs.reading import count_severities, journal_files

__all__ = ["ENTRIES", "FlowLogs", "Index", "LogFile", "flows_with_logs", "severity_counts"]

ENTRIES = "entries"
"""The folder of the Parquet files of a flow, in the one of its logs."""
_INDEX, _LOCK = "index.json", "lock"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class LogFile:
    """One Parquet file: sorted by time, from `first_us` to `last_us`, both inclusive. `severities`: entries of each."""

    name: str
    first_us: int
    last_us: int
    rows: int
    size_bytes: int
    severities: Mapping[str, int] = field(default_factory=dict)

    def overlaps(self, since_us: int | None, until_us: int | None) -> bool:
        """Whether it may have entries at or after `since_us` and before `until_us`."""
        return (since_us is None or self.last_us >= since_us) and (until_us is None or self.first_us < until_us)


@dataclass(frozen=True, slots=True)
class Index:
    """What is true.

    `covered`: journals whose entries are in `files`, and when that became so. `totals`: entries of each severity that
    ever were in a Parquet file; they stay where files are dropped. `waste`: files to be removed, and when they became
    so: a reader may be in them still.
    """

    files: tuple[LogFile, ...] = ()
    covered: Mapping[str, int] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)
    waste: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> str:
        """As it is on disk."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def parsed(cls, text: str) -> Index:
        """Raises ValueError, KeyError, TypeError for what is no index."""
        values: Mapping[str, Any] = json.loads(text)
        known = set(LogFile.__dataclass_fields__)
        files = tuple(LogFile(**{name: one[name] for name in known & set(one)}) for one in values["files"])
        return cls(files, values["covered"], values["totals"], values["waste"])


class FlowLogs:
    """The logs of one flow in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.folder.name

    def index(self) -> Index:
        """What is true now; nothing where there is no index yet, or none that can be read."""
        try:
            return Index.parsed((self.folder / _INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Index()
        except (ValueError, KeyError, TypeError):
            return Index()  # made by hand, or damaged: journals are visible still, and the next ones make a new one

    def replace_index(self, index: Index) -> None:
        """Make an index the true one, durably. Only for who holds the lock. Raises OSError."""
        staged = self.folder / f".{_INDEX}.{new_id()[:8]}"
        try:
            with staged.open("w", encoding="utf-8") as handle:
                handle.write(index.as_json())
                handle.flush()
                os.fsync(handle.fileno())
            staged.replace(self.folder / _INDEX)
        except OSError:
            staged.unlink(missing_ok=True)
            raise
        sync_folder(self.folder)

    def path_of(self, file: LogFile | str) -> Path:
        """Where a Parquet file lies."""
        return self.folder / ENTRIES / (file if isinstance(file, str) else file.name)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Inside, nobody else changes the files. False where somebody does so now."""
        (self.folder / ENTRIES).mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(handle)

    def counts(self) -> dict[int, int]:
        """How many entries of each severity were ever logged."""
        found: Counter[int] = Counter()
        journals = journal_files(self.folder)
        counted = {one.id: count_severities(one.path) for one in journals}
        index = self.index()
        for name, counts in counted.items():
            if name not in index.covered:
                found.update(counts)
        found.update({int(number): count for number, count in index.totals.items()})
        return dict(found)


def flows_with_logs(root: Path) -> list[FlowLogs]:
    """The flows that ever logged in an environment, by name. `root`: the folder of its logs."""
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []
    return [FlowLogs(path) for path in folders if (path / JOURNALS).is_dir() or (path / ENTRIES).is_dir()]


def severity_counts(root: Path) -> dict[str, dict[int, int]]:
    """Flow -> severity (a number of `SEVERITIES`) -> how many entries were ever logged; no Parquet file is opened."""
    return {logs.flow: logs.counts() for logs in flows_with_logs(root)}


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
