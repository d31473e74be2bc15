"""A hash index from 64-bit hashes to slots, for whole batches at a time: open addressing, linear probing, on numpy.

Every probing round handles all keys of a batch that are still open, so the cost follows the batch, not the table.
Growth is incremental: the old table is emptied a little with every call, so no epoch pays for a whole rehash.
The index never decides that two keys are one: the owner compares the keys behind equal hashes (`same`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["ABSENT", "HashIndex", "Hashes", "Same", "Slots"]

Slots: TypeAlias = NDArray[np.int64]
Hashes: TypeAlias = NDArray[np.uint64]
Same: TypeAlias = Callable[[Slots, Slots], NDArray[np.bool_]]
"""(slots, positions in the batch) -> which of the keys stored there are those of the batch."""

ABSENT = -1
_EMPTY = np.uint64(0)
_DELETED = np.uint64(1)
_FIRST = np.uint64(2)
_TAG = np.uint64(0xFFFFFFFF00000000)
_SLOT = np.uint64(0x00000000FFFFFFFF)
_LOAD = 0.5
_MIGRATE_ROWS = 16_384


class _Probes:
    """One table of cells: the upper half of the hash beside the slot, so that a miss is seen without another look.

    `used` counts what is stored and what was deleted and still lengthens probes.
    """

    def __init__(self, capacity: int) -> None:
        self.cells = np.zeros(capacity, dtype=np.uint64)
        self.mask = np.uint64(capacity - 1)
        self.used = 0

    def find(self, hashes: Hashes, same: Same) -> Slots:
        found = np.full(len(hashes), ABSENT, dtype=np.int64)
        where = hashes & self.mask
        tags = hashes & _TAG
        open_ = np.arange(len(hashes))
        while len(open_):
            cells = self.cells[where]
            hit = ((cells & _TAG) == tags) & ((cells & _SLOT) >= _FIRST)
            if hit.any():
                slots = ((cells[hit] & _SLOT) - _FIRST).astype(np.int64)
                equal = same(slots, open_[hit])
                found[open_[hit][equal]] = slots[equal]
                hit[hit] = equal
            go_on = (cells != _EMPTY) & ~hit
            open_, tags = open_[go_on], tags[go_on]
            where = (where[go_on] + np.uint64(1)) & self.mask
        return found

    def insert(self, hashes: Hashes, slots: Slots) -> None:
        """Store slots of keys that are not in the table; several may want one cell: one wins, the others go on."""
        where = hashes & self.mask
        wanted = (hashes & _TAG) | (slots.astype(np.uint64) + _FIRST)
        while len(wanted):
            cells = self.cells[where]
            free = cells <= _DELETED
            targets = where[free]
            self.cells[targets] = wanted[free]
            lost = np.ones(len(wanted), dtype=bool)
            lost[free] = self.cells[targets] != wanted[free]
            self.used += int(((cells == _EMPTY) & ~lost).sum())
            wanted, where = wanted[lost], (where[lost] + np.uint64(1)) & self.mask

    def remove(self, hashes: Hashes, slots: Slots) -> NDArray[np.bool_]:
        """Forget slots; tells which of them were here."""
        gone = np.zeros(len(slots), dtype=bool)
        where = hashes & self.mask
        wanted = (hashes & _TAG) | (slots.astype(np.uint64) + _FIRST)
        open_ = np.arange(len(slots))
        while len(open_):
            cells = self.cells[where]
            hit = cells == wanted[open_]
            self.cells[where[hit]] = _DELETED
            gone[open_[hit]] = True
            go_on = (cells != _EMPTY) & ~hit
            open_ = open_[go_on]
            where = (where[go_on] + np.uint64(1)) & self.mask
        return gone


class HashIndex:
    """Hash -> slot for up to 2**32 - 2 slots. The owner keeps the hash of every slot in `slot_hashes`."""

    def __init__(self, capacity: int = 1024) -> None:
        self._new = _Probes(_power_of_two(capacity / _LOAD))
        self._old: _Probes | None = None
        self._migrated = 0
        self._count = 0

    def find(self, hashes: Hashes, same: Same) -> Slots:
        """The slot of each key of a batch, or ABSENT."""
        found = self._new.find(hashes, same)
        if self._old is not None:
            missing = np.flatnonzero(found == ABSENT)
            if len(missing):
                found[missing] = self._old.find(hashes[missing], lambda slots, at: same(slots, missing[at]))
        return found

    def insert(self, hashes: Hashes, slots: Slots, slot_hashes: Hashes) -> None:
        """Add keys that are not there yet. `slot_hashes` must hold the hashes of all stored slots."""
        self._migrate(slot_hashes, max(_MIGRATE_ROWS, 4 * len(slots)))
        if self._new.used + len(slots) > _LOAD * len(self._new.cells):
            self._migrate(slot_hashes, None)
            self._old, self._migrated = self._new, 0
            self._new = _Probes(_power_of_two(2 * (self._count + len(slots)) / _LOAD))
        self._new.insert(hashes, slots)
        self._count += len(slots)

    def remove(self, hashes: Hashes, slots: Slots) -> None:
        """Forget slots that are in the index."""
        gone = self._new.remove(hashes, slots)
        if self._old is not None and not gone.all():
            self._old.remove(hashes[~gone], slots[~gone])
        self._count -= len(slots)

    def _migrate(self, slot_hashes: Hashes, cells: int | None) -> None:
        """Move the entries of the next `cells` cells (None: all that is left) of the old table to the new one."""
        if self._old is None:
            return
        end = len(self._old.cells) if cells is None else self._migrated + cells
        part = self._old.cells[self._migrated : end]
        stored = part >= _FIRST
        slots = ((part[stored] & _SLOT) - _FIRST).astype(np.int64)
        # What moved must not be found twice; deleted, not empty, so that probes over it go on.
        part[stored] = _DELETED
        self._new.insert(slot_hashes[slots], slots)
        self._migrated = end
        if end >= len(self._old.cells):
            self._old = None


def _power_of_two(at_least: float) -> int:
    return 1 << max(4, int(np.ceil(np.log2(max(at_least, 1)))))
