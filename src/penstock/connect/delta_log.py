"""The log of a Delta table in a local folder: follow it, and add to it only right after what was seen.

A Delta table is what its log says: `_delta_log/<version>.json`, one file a commit, whose lines add and remove data
files. `DeltaLog` keeps the set of live files in memory. A commit is a hard link to the *next* version's name, which
fails where that name is taken; then the log is read on and the writer decides again. So nobody commits on top of
something it has not read. deltalake rebases a commit silently on what others wrote; a fence can't be built on that,
so it is used for the rest: creating tables, reading snapshots, checkpoints and vacuum.

Source of the format: the Delta transaction log protocol, sections "Delta Log Entries" and "Actions".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from penstock.clock import Clock, new_id
from penstock.connect.disk import sync_folder
from penstock.errors import ConnectorError

__all__ = [
    "Action",
    "Commit",
    "DeltaLog",
    "Note",
    "Part",
    "Replacement",
    "checkpointed",
    "read_commit",
    "refuse_unknown",
]

Action: TypeAlias = dict[str, Any]
NOTE = "penstock"
"""The key in `commitInfo` under which a commit says whose it is."""
KNOWN_FEATURES = frozenset({"appendOnly", "invariants", "timestampNtz"})
LEGACY_WRITER = 2


@dataclass(frozen=True, slots=True)
class Part:
    """What one epoch of a replacement did: the files that it added and removed, as they are spelled in actions.

    A file that a later part of the same commit removes is on the disk, but never was live.
    """

    epoch: int
    digest: str
    adds: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replacement:
    """One commit that took back epochs >= `first` and wrote several: `before` is the last one that it left alone."""

    first: int
    before: int
    parts: tuple[Part, ...]

    def as_dict(self) -> Action:
        """The replacement as it stands in the log."""
        parts = [
            {"epoch": part.epoch, "digest": part.digest, "add": part.adds, "remove": part.removes}
            for part in self.parts
        ]
        return {"first": self.first, "before": self.before, "parts": parts}

    @classmethod
    def of(cls, found: Action) -> Replacement:
        """The replacement in a note."""
        parts = (
            Part(part["epoch"], part["digest"], tuple(part["add"]), tuple(part["remove"])) for part in found["parts"]
        )
        return cls(found["first"], found["before"], tuple(parts))


@dataclass(frozen=True, slots=True)
class Note:
    """What a commit of ours says of itself. `epoch`: the last that the table holds after it, None where rows stay."""

    flow: str
    step: str
    epoch: int | None
    generation: int
    digest: str = ""
    replacement: Replacement | None = None

    def as_dict(self) -> Action:
        """The note as it stands in the log."""
        note = {
            "flow": self.flow,
            "step": self.step,
            "epoch": self.epoch,
            "generation": self.generation,
            "digest": self.digest,
        }
        return note if self.replacement is None else {**note, "replacement": self.replacement.as_dict()}


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a table."""

    version: int
    actions: tuple[Action, ...]

    @property
    def adds(self) -> dict[str, Action]:
        """Added files: path -> the `add` action."""
        return {path_of(action["add"]): action["add"] for action in self.actions if "add" in action}

    @property
    def removes(self) -> dict[str, Action]:
        """Removed files: path -> the `remove` action."""
        return {path_of(action["remove"]): action["remove"] for action in self.actions if "remove" in action}

    @property
    def changes_data(self) -> bool:
        """Whether rows came or went; a compaction only arranges them anew."""
        return any(action["dataChange"] for action in (*self.adds.values(), *self.removes.values()))

    @property
    def info(self) -> Action:
        """What the writer says of the commit, or nothing."""
        found: Action = next((action["commitInfo"] for action in self.actions if "commitInfo" in action), {})
        return found

    def note(self, flow: str, step: str) -> Note | None:
        """The note, where that flow and step committed."""
        found = self.info.get(NOTE)
        if not isinstance(found, dict) or (found.get("flow"), found.get("step")) != (flow, step):
            return None
        replacement = Replacement.of(found["replacement"]) if "replacement" in found else None
        return Note(flow, step, found["epoch"], found["generation"], found.get("digest", ""), replacement)


def path_of(action: Mapping[str, Any]) -> str:
    """The file of an action, relative to the table; the log has it URL-encoded."""
    return unquote(str(action["path"]))


class DeltaLog:
    """The live files of one table and the version they are of. Not safe for threads: hold a lock around it.

    `files`: path -> `add` action, in the order in which they came. `transactions`: the versions of the application
    ids that it was opened for.
    """

    def __init__(self, table: Path, applications: Iterable[str], clock: Clock) -> None:
        self.table = table
        self.version = -1
        self.files: dict[str, Action] = {}
        self.transactions: dict[str, int] = {}
        self._applications = tuple(applications)
        self._clock = clock
        self._load()
        self._begun = (self.version, _identity(table, self.version))
        self._reloaded = False

    def catch_up(self) -> None:
        """Read what others have committed since. Raises ConnectorError where we can't write such a table any more."""
        while (commit := read_commit(self.table, self.version + 1)) is not None:
            if any("protocol" in action or "metaData" in action for action in commit.actions):
                self._load()
                self._reloaded = True
                continue
            self._apply(commit)
        # A process that slept for longer than the log is kept does not find the next version, although there are newer.
        if checkpointed(self.table) > self.version:
            self._load()

    def goes_on(self) -> bool:
        """Catch up; False where the table is not the one that was loaded, or its columns may have changed since."""
        version, identity = self._begun
        if identity is None or _identity(self.table, version) != identity:
            return False
        self.catch_up()
        return not self._reloaded

    def try_commit(self, actions: list[Action], note: Note, operation: str) -> bool:
        """Make `actions` the next version; False where another commit took that version. Durable on return.

        Raises OSError. Where `version` has grown in spite of it, the commit is there, but perhaps not yet durable.
        """
        now_ms = self._clock.now_us() // 1000
        info = {
            "timestamp": now_ms,
            "operation": operation,
            "operationParameters": {},
            "engineInfo": "penstock",
            NOTE: note.as_dict(),
        }
        lines = [{"commitInfo": info}, *actions]
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        log = self.table / "_delta_log"
        staged = log / f"_commit_{new_id()}.json.tmp"
        try:
            with staged.open("wb") as handle:
                handle.write(text.encode())
                handle.flush()
                os.fsync(handle.fileno())
            try:
                os.link(staged, log_file(self.table, self.version + 1))
            except FileExistsError:
                return False
        finally:
            staged.unlink(missing_ok=True)
        self._apply(Commit(self.version + 1, tuple(lines)))
        sync_folder(log)
        return True

    def transaction(self, application: str, version: int) -> Action:
        """The action that records `version` for an application id."""
        return {"txn": {"appId": application, "version": version, "lastUpdated": self._clock.now_us() // 1000}}

    def remove(self, path: str, *, changes_data: bool) -> Action:
        """The action that removes a live file."""
        add = self.files[path]
        return {
            "remove": {
                "path": add["path"],
                "deletionTimestamp": self._clock.now_us() // 1000,
                "dataChange": changes_data,
                "extendedFileMetadata": True,
                "partitionValues": {},
                "size": add["size"],
            }
        }

    def _apply(self, commit: Commit) -> None:
        adds = commit.adds
        for path in commit.removes:
            if path not in adds:
                self.files.pop(path, None)
        self.files.update(adds)
        for action in commit.actions:
            if "txn" in action and action["txn"]["appId"] in self._applications:
                self.transactions[action["txn"]["appId"]] = action["txn"]["version"]
        self.version = commit.version

    def _load(self) -> None:
        """Read the newest snapshot, through the last checkpoint."""
        try:
            table = DeltaTable(self.table)
            refuse_unknown(table, self.table, verb="write")
            found = pa.table(table.get_add_actions(flatten=False)).to_pylist()
            versions = {app: table.transaction_version(app) for app in self._applications}
        except DeltaError as error:
            raise ConnectorError(f"can't open the Delta table {self.table}: {error}") from error
        self.files = {row["path"]: _add_of(row) for row in sorted(found, key=_age)}
        self.transactions = {app: version for app, version in versions.items() if version is not None}
        self.version = table.version()


def log_file(table: Path, version: int) -> Path:
    """Where the log of a table keeps one commit."""
    return table / "_delta_log" / f"{version:020d}.json"


def _identity(table: Path, version: int) -> tuple[int, int] | None:
    """By what the file of a commit can be told from one of the same name in another table that came in its place."""
    try:
        status = log_file(table, version).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def read_commit(table: Path, version: int) -> Commit | None:
    """One commit, or None where its file is not there: not yet, or not any more (see `checkpointed`)."""
    try:
        text = log_file(table, version).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return Commit(version, tuple(json.loads(line) for line in text.splitlines() if line.strip()))


def checkpointed(table: Path) -> int:
    """The version of the table's last checkpoint, -1 where there is none: a version that surely is in the past."""
    try:
        text = (table / "_delta_log/_last_checkpoint").read_text(encoding="utf-8")
        return int(json.loads(text)["version"])
    except (OSError, ValueError, KeyError):
        return -1


def refuse_unknown(table: DeltaTable, where: Path, *, verb: str) -> None:
    """Raise ConnectorError where a table asks of those who `verb` it what we don't do."""
    protocol = table.protocol()
    features = {*(protocol.writer_features or ()), *(protocol.reader_features or ())} - KNOWN_FEATURES
    legacy = LEGACY_WRITER < protocol.min_writer_version < 7  # noqa: PLR2004 - 7 is the version that lists features
    metadata = table.metadata()
    if metadata.partition_columns:
        reason = f"it is partitioned by {', '.join(metadata.partition_columns)}"
    elif features:
        reason = f"it uses {', '.join(sorted(features))}"
    elif legacy or metadata.configuration.get("delta.enableChangeDataFeed") == "true":
        reason = f"it asks for writer version {protocol.min_writer_version} and what belongs to it"
    else:
        return
    raise ConnectorError(
        f"can't {verb} the Delta table {where}: {reason}",
        hint=f"{verb} another table, or copy this one into a plain one",
    )


def _age(row: Mapping[str, Any]) -> tuple[int, str]:
    return int(row["modification_time"] or 0), str(row["path"])


def _add_of(row: Mapping[str, Any]) -> Action:
    rows = row.get("num_records")
    return {
        "path": row["path"],
        "partitionValues": {},
        "size": row["size_bytes"],
        "modificationTime": row["modification_time"],
        "dataChange": True,
        "stats": None if rows is None else json.dumps({"numRecords": rows}),
    }
