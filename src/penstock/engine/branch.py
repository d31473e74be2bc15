"""A line of state beside the ledger's: that of a process which follows, until it takes over and its line becomes the
ledger's.

It begins from files that are there (those of a savepoint, or migrated copies) and adds the changes of the epochs that
this process ran. Changes wait in memory and go to files in batches: a follower need not be as durable as a leader,
since it can always run its epochs again.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors import LedgerError
from penstock.ledger import Segment, SegmentRef, StateStore, TableChange, due, merge, merge_changes

__all__ = ["Branch", "merged_change"]

_WAITING_ROWS = 200_000
_WAITING_EPOCHS = 2_000


def merged_change(waiting: Sequence[tuple[int, Sequence[TableChange]]]) -> list[TableChange]:
    """The changes of several epochs, in order, as one."""
    if len(waiting) == 1:
        return list(waiting[0][1])
    return merge_changes([Segment(epoch, epoch, whole=False, tables=changes) for epoch, changes in waiting])


class Branch:
    """`segments`: files that hold the state after `epoch`. Changes of later epochs wait."""

    def __init__(self, store: StateStore, segments: Sequence[SegmentRef], epoch: int) -> None:
        self._store = store
        self.segments = list(segments)
        self.epoch = epoch
        self.waiting: list[tuple[int, Sequence[TableChange]]] = []
        self._rows = 0

    def add(self, epoch: int, changes: Sequence[TableChange]) -> None:
        """Take the changes of the next epoch: perhaps none, perhaps in the files already."""
        if changes and epoch > self.epoch:
            self.waiting.append((epoch, changes))
            self._rows += sum(part.height for change in changes for part in change.parts.values())

    @property
    def is_full(self) -> bool:
        """Whether so much waits that it should go to a file."""
        return self._rows > _WAITING_ROWS or len(self.waiting) > _WAITING_EPOCHS

    def flush(self, upto: int) -> None:
        """Write what waits, up to and with epoch `upto`, to a file. Raises LedgerError."""
        ready = [entry for entry in self.waiting if entry[0] <= upto]
        if ready:
            first = self.epoch + 1
            self.segments.append(self._store.write(first, ready[-1][0], merged_change(ready)))
            self.waiting = self.waiting[len(ready) :]
            self._rows = sum(
                part.height for _, changes in self.waiting for one in changes for part in one.parts.values()
            )
        self.epoch = max(self.epoch, upto)
        group = due(self.segments)
        if group:
            self.check()
            place = self.segments.index(group[0])
            merged = merge(self._store, group, whole=place == 0)
            self.segments[place : place + len(group)] = [merged]

    def check(self) -> None:
        """Raise LedgerError where files that it begins with are gone: they are kept for a while, not for ever."""
        missing = self._store.missing(self.segments)
        if missing:
            error = LedgerError(
                f"state files that this process began from are gone: {', '.join(ref.file for ref in missing[:3])}",
                epoch=self.epoch,
                state_left="the flow goes on as it is",
                hint="start the process again, from a savepoint that is there",
            )
            error.heals = False
            raise error

    def make_own(self) -> None:
        """Hold the state in one file that this process wrote, instead of files that others may let go of."""
        if self.segments:
            self.check()
            self.segments = [merge(self._store, self.segments, whole=True)]
