"""The state store: immutable segments of changes to a flow's tables, written by epoch and folded again on load.

The ledger says which segments count; a file that it does not name is garbage. So a file is written first, under a name
that was never used before, and the commit that names it makes it part of the state.
"""

from __future__ import annotations

import io
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from penstock.clock import new_id
from penstock.errors import CorruptState
from penstock.ledger.contract import SegmentRef
from penstock.ledger.durable import TEMPORARY, make_folder, write_file
from penstock.ledger.failures import disk_failure
from penstock.ledger.folding import fold
from penstock.ledger.formats.segments import encode_segment, read_segment
from penstock.ledger.tablestate import Segment, TableChange, TableImage

__all__ = ["LocalStateStore", "MemoryStateStore", "StateStore"]

ENDING = ".state"


class StateStore(ABC):
    """Where the segments of one flow are. Safe to use from the epoch loop and a compacting thread at the same time.

    `owner`: the process that writes, where several of a flow write at the same time; it is in the names of its files.
    """

    owner: str = ""

    def write(self, first: int, last: int, changes: Sequence[TableChange], *, whole: bool = False) -> SegmentRef:
        """Write the changes of the epochs first..last; durable on return, part of the state once the ledger names it.

        `whole`: they are everything (`TableImage.as_change`), nothing before them counts; the reference then begins at
        0, as a `first` of 0 says too. Raises LedgerError (disk full, a column of Python objects).
        """
        whole = whole or first == 0
        segment = Segment(0 if whole else first, last, whole, changes)
        pieces, size_bytes, crc32 = encode_segment(segment)
        whose = f"{self.owner}." if self.owner else ""
        file = f"{segment.first:012d}-{last:012d}-{whose}{new_id()[:12]}{ENDING}"
        self._put(file, pieces, last)
        return SegmentRef(segment.first, last, file, size_bytes, crc32)

    def load(self, segments: Sequence[SegmentRef]) -> dict[str, TableImage]:
        """Fold segments, in the order in which they are given, to the tables as they are. Raises CorruptState."""
        return fold(self.read(ref) for ref in segments)

    @abstractmethod
    def read(self, ref: SegmentRef) -> Segment:
        """One segment, checked against its reference. Raises CorruptState."""

    @abstractmethod
    def prune(self, keep: Collection[SegmentRef]) -> int:
        """Delete segments that are not in `keep`; gives how many files went.

        Promise: a file that another process wrote after this store was opened is never deleted (this process may be
        fenced and not know it yet), nor one that this store wrote and that may just be about to be named in the ledger.
        Such a file, if it is garbage, goes when the next process prunes; or here, once this store has read it or a
        `keep` has named it, for then the ledger has named it too.
        """

    def strays(self) -> Mapping[str, str]:
        """The files of other owners that are there now, with their owners; `""` where a name says none."""
        return {}

    def sweep(self, files: Collection[str]) -> int:
        """Delete files of `strays`; gives how many.

        Trap: which of them nobody needs is to be found out after `strays` was asked, in this order: who is alive, then
        what the ledger names. A file of that time whose owner is gone can't be named any more.
        """
        return 0

    def missing(self, segments: Sequence[SegmentRef]) -> list[SegmentRef]:
        """Those of the segments whose files are not there, without reading them."""
        return []

    @abstractmethod
    def _put(self, file: str, pieces: Sequence[bytes | memoryview], epoch: int) -> None:
        """Make the pieces durable under a new name."""


class _Garbage:
    """Which files this store may delete: those that it knows to have been named by the ledger, or never to be.

    These are the ones that were there at the beginning, that were read, or that a `keep` named.
    A file that was just written may belong to an epoch that commits at this moment: it is spared until it is read, or
    a `keep` names it or one of a later epoch. One that does not reach beyond the newest (a merge, or an epoch that runs
    again) is spared until it is read or a `keep` names it.
    """

    def __init__(self, present: Collection[str]) -> None:
        self._lock = threading.Lock()
        self._known = set(present)
        self._newest = max((_last_of(file) for file in present), default=0)
        self._deltas: set[str] = set()
        self._merged: set[str] = set()

    def written(self, file: str) -> None:
        """Note a file. Call before it appears."""
        with self._lock:
            last = _last_of(file)
            (self._deltas if last > self._newest else self._merged).add(file)
            self._newest = max(self._newest, last)

    def dropped(self, file: str) -> None:
        """Forget a file that could not be written."""
        with self._lock:
            self._deltas.discard(file)
            self._merged.discard(file)

    def named(self, file: str) -> None:
        """Note that the ledger names, or named, a file."""
        with self._lock:
            self._name({file})
            self._newest = max(self._newest, _last_of(file))

    def take(self, keep: Collection[SegmentRef]) -> set[str]:
        """The files that may go now; they are forgotten."""
        kept = {ref.file for ref in keep}
        committed = max((ref.last for ref in keep), default=0)
        with self._lock:
            self._name(kept | {file for file in self._deltas if _last_of(file) <= committed})
            garbage = self._known - kept
            self._known -= garbage
            return garbage

    def _name(self, files: AbstractSet[str]) -> None:
        self._known |= files
        self._deltas -= files
        self._merged -= files


def _owner_of(file: str) -> str:
    """Who wrote a file, by its name; "" for a file without an owner."""
    named = file.partition(ENDING)[0].rpartition("-")[2]
    return named.rpartition(".")[0]


def _last_of(file: str) -> int:
    """The last epoch that a file's name says, 0 for another name."""
    parts = file.split("-")
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0  # noqa: PLR2004 - first, last, id


class LocalStateStore(StateStore):
    """Segments as files in a folder of a local disk. Open it after the flow was claimed.

    `tidy`: files that lie there now and that nobody names may be pruned. False where other processes of the flow may
    have written some of them: then only what this store read, wrote or was told to keep is ever pruned. `owner`:
    letters and digits, another for each process.
    """

    def __init__(self, folder: Path, *, flow: str | None = None, tidy: bool = True, owner: str = "") -> None:
        self.folder = folder
        self.owner = owner
        self._flow = flow
        make_folder(folder)
        present = [entry.name for entry in folder.iterdir() if entry.name.endswith((ENDING, TEMPORARY))]
        self._garbage = _Garbage(present if tidy else ())

    def read(self, ref: SegmentRef) -> Segment:
        """One segment, checked against its reference. Raises CorruptState, or LedgerError where the disk fails."""
        self._garbage.named(ref.file)
        file = self.folder / ref.file
        try:
            with file.open("rb") as opened:
                return read_segment(opened, os.fstat(opened.fileno()).st_size, ref, str(file))
        except FileNotFoundError as problem:
            raise CorruptState(
                f"state file {file} (epochs {ref.first} to {ref.last}, {ref.size_bytes} bytes) is missing",
                flow=self._flow,
                epoch=ref.last,
                state_left="the ledger and the other state files were not changed",
                hint=f"restore {ref.file} from a copy; without one, start over: penstock run FLOW --reset",
            ) from problem
        except OSError as problem:
            raise disk_failure(problem, file, left="nothing was changed", flow=self._flow, epoch=ref.last) from problem

    def prune(self, keep: Collection[SegmentRef]) -> int:
        """Delete files that are not in `keep`, and what crashes left half-written."""
        garbage = self._garbage.take(keep)
        for file in garbage:
            with suppress(OSError):  # it is garbage still, and goes when the next process prunes
                (self.folder / file).unlink(missing_ok=True)
        return len(garbage)

    def strays(self) -> Mapping[str, str]:
        """The files of other owners that are there now, half-written ones too."""
        names = (entry.name for entry in self.folder.iterdir() if entry.name.endswith((ENDING, TEMPORARY)))
        owners = {name: _owner_of(name) for name in names}
        return {name: owner for name, owner in owners.items() if owner != self.owner}

    def sweep(self, files: Collection[str]) -> int:
        """Delete files that nobody needs."""
        for file in files:
            with suppress(OSError):  # it is swept the next time
                (self.folder / file).unlink(missing_ok=True)
        return len(files)

    def missing(self, segments: Sequence[SegmentRef]) -> list[SegmentRef]:
        """Those of the segments whose files are not there."""
        return [ref for ref in segments if not (self.folder / ref.file).is_file()]

    def _put(self, file: str, pieces: Sequence[bytes | memoryview], epoch: int) -> None:
        self._garbage.written(file)
        try:
            write_file(self.folder / file, lambda opened: opened.writelines(pieces))
        except OSError as problem:
            self._garbage.dropped(file)
            left = f"epoch {epoch} is planned and will run again with the same ranges"
            raise disk_failure(problem, self.folder / file, left=left, flow=self._flow, epoch=epoch) from problem


class MemoryStateStore(StateStore):
    """Segments in this process's memory, in the same format, for tests and runs that need not survive."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._garbage = _Garbage(())

    def read(self, ref: SegmentRef) -> Segment:
        """One segment, checked against its reference. Raises CorruptState."""
        self._garbage.named(ref.file)
        data = self.files.get(ref.file)
        if data is None:
            raise CorruptState(f"state segment {ref.file} is missing", epoch=ref.last)
        return read_segment(io.BytesIO(data), len(data), ref, ref.file)

    def prune(self, keep: Collection[SegmentRef]) -> int:
        """Drop segments that are not in `keep`."""
        garbage = self._garbage.take(keep)
        for file in garbage:
            self.files.pop(file, None)
        return len(garbage)

    def _put(self, file: str, pieces: Sequence[bytes | memoryview], epoch: int) -> None:
        self._garbage.written(file)
        self.files[file] = b"".join(pieces)
