"""The spill: what a process computed for the sinks, kept in files of its own so that others can look at it.

A follower writes nowhere else. The gate compares two spills, an undo writes one to the sinks, a replay shows it. It is
not durable: whoever needs it after a crash runs the epochs again.

Format: files `000001.frames`, ... each a row of frames. A frame is a line of JSON (`epoch`, `sink`, sizes in bytes)
followed by Arrow IPC; the frame `{"epoch": n, "end": true}` says that epoch n is complete. A reader that meets a frame
which is not all there yet stops before it and goes on there the next time.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from penstock.connect import Change
from penstock.engine.computing import Computed
from penstock.errors import LedgerError

__all__ = ["Spill", "SpillReader"]

_FILE_BYTES = 32 * 1024 * 1024
ENDING = ".frames"


class Spill:
    """The writing end. One process has it; it begins anew each time it is opened.

    Raises LedgerError, which heals, where the disk says no: what is there of that epoch is not complete, and a reader
    passes it over.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        with self._disk():
            folder.mkdir(parents=True, exist_ok=True)
        self._number = 0
        self._file: BinaryIO | None = None
        self._size_bytes = 0
        self._last_of: dict[int, int] = {}
        """File number -> the last epoch in it."""

    def put(self, computed: Computed) -> None:
        """Add an epoch."""
        epoch = computed.plan.epoch
        frames = bytearray()
        for sink, change in computed.changes.items():
            if change.is_empty:
                continue
            rows = _packed(change.rows)
            deleted = b"" if change.deleted is None else _packed(change.deleted)
            frames += _line({"epoch": epoch, "sink": sink, "rows": len(rows), "deleted": len(deleted)})
            frames += rows + deleted
        frames += _line({"epoch": epoch, "end": True})
        with self._disk(epoch):
            file = self._opened(len(frames))
            file.write(frames)
            file.flush()
        self._size_bytes += len(frames)
        self._last_of[self._number] = epoch

    def drop_before(self, epoch: int) -> None:
        """Nobody needs the epochs before this one any more; files that hold nothing else go."""
        for number, last in list(self._last_of.items()):
            if last < epoch and number != self._number:
                (self.folder / f"{number:06d}{ENDING}").unlink(missing_ok=True)
                del self._last_of[number]

    def close(self) -> None:
        """Close the file; what is in it stays."""
        if self._file is not None:
            with suppress(OSError):  # of what could not be written, nothing more can be
                self._file.close()
            self._file = None

    @contextmanager
    def _disk(self, epoch: int | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LedgerError(
                f"what an epoch computed can't be kept in {self.folder}: {error.strerror}",
                epoch=epoch,
                state_left="the ledger and the sinks are as they were",
                hint="make room on the disk",
            ) from error

    def _opened(self, size_bytes: int) -> BinaryIO:
        if self._file is None or (self._size_bytes and self._size_bytes + size_bytes > _FILE_BYTES):
            self.close()
            self._number += 1
            self._size_bytes = 0
            self._file = (self.folder / f"{self._number:06d}{ENDING}").open("ab")
        return self._file


@dataclass(slots=True)
class _Place:
    """Where the frames of one sink in one epoch are."""

    file: Path
    at: int
    rows: int
    deleted: int


@dataclass(slots=True)
class _Position:
    """How far a file was looked through."""

    at: int = 0
    open_epoch: dict[str, _Place] = field(default_factory=dict)


class SpillReader:
    """The reading end; may be in any process, and look while the other end writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._positions: dict[Path, _Position] = {}
        self._epochs: dict[int, dict[str, _Place]] = {}

    def epochs(self) -> list[int]:
        """The epochs that are complete, in order; looks for new ones."""
        for file in sorted(self.folder.glob(f"*{ENDING}")):
            self._look(file)
        return sorted(self._epochs)

    def read(self, epoch: int) -> dict[str, Change]:
        """What an epoch had for each sink; a sink that got nothing is not there. Raises KeyError, OSError."""
        found: dict[str, Change] = {}
        for sink, place in self._epochs[epoch].items():
            with place.file.open("rb") as opened:
                opened.seek(place.at)
                rows = _unpacked(opened.read(place.rows))
                deleted = _unpacked(opened.read(place.deleted)) if place.deleted else None
            found[sink] = Change(rows, deleted)
        return found

    def changes(self, sink: str, first: int, last: int) -> Iterator[tuple[int, Change]]:
        """What one sink got in the epochs first..last, epochs without anything left out."""
        for epoch in self.epochs():
            if first <= epoch <= last and sink in self._epochs[epoch]:
                yield epoch, self.read(epoch)[sink]

    def _look(self, file: Path) -> None:
        position = self._positions.setdefault(file, _Position())
        try:
            size = file.stat().st_size
            if size <= position.at:
                return
            with file.open("rb") as opened:
                while position.at < size:
                    opened.seek(position.at)
                    line = opened.readline()
                    if not line.endswith(b"\n"):
                        return
                    head: dict[str, Any] = json.loads(line)
                    begin = position.at + len(line)
                    length = head.get("rows", 0) + head.get("deleted", 0)
                    if begin + length > size:
                        return
                    self._take(head, position, file, begin)
                    position.at = begin + length
        except FileNotFoundError:  # it was dropped meanwhile
            return

    def _take(self, head: dict[str, Any], position: _Position, file: Path, begin: int) -> None:
        if head.get("end"):
            self._epochs[head["epoch"]] = position.open_epoch
            position.open_epoch = {}
        else:
            position.open_epoch[head["sink"]] = _Place(file, begin, head["rows"], head["deleted"])


def _line(head: dict[str, Any]) -> bytes:
    return json.dumps(head, separators=(",", ":")).encode() + b"\n"


def _packed(frame: pl.DataFrame) -> bytes:
    target = io.BytesIO()
    frame.write_ipc_stream(target)
    return target.getvalue()


def _unpacked(data: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(io.BytesIO(data))
