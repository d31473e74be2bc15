"""Which slots are due at a time, in O(what is due): buckets of slots by time, looked at again when their time comes.

A slot sits in one bucket, that of the earliest time it was ever armed for; when the bucket opens and the slot's time
has moved on, it goes into a later bucket. So a key that is touched a thousand times costs no thousand entries.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from penstock.engine.batch import END_US
from penstock.engine.columns import grown
from penstock.engine.index import Slots

__all__ = ["NEVER_US", "Expiry"]

NEVER_US = END_US
"""A time that does not come."""
_BUCKET_US = 100_000


class Expiry:
    """The time of each slot, and the slots by time."""

    def __init__(self) -> None:
        self._times: NDArray[np.int64] = np.full(16, NEVER_US, dtype=np.int64)
        self._armed: NDArray[np.int64] = np.full(16, NEVER_US, dtype=np.int64)
        self._buckets: dict[int, list[Slots]] = {}
        self._heap: list[int] = []
        self._earliest: int | None = None
        self._is_earliest_known = True

    def reserve(self, size: int) -> None:
        """Make room for slots below `size`."""
        before = len(self._times)
        self._times, self._armed = grown(self._times, size), grown(self._armed, size)
        self._times[before:] = NEVER_US
        self._armed[before:] = NEVER_US

    def times(self, slots: Slots) -> NDArray[np.int64]:
        """The times of slots."""
        return self._times[slots]

    def set(self, slots: Slots, times_us: NDArray[np.int64] | int) -> None:
        """Give slots their times."""
        self._times[slots] = times_us
        self._is_earliest_known = False
        buckets = self._times[slots] // _BUCKET_US
        sooner = (buckets < self._armed[slots]) & (self._times[slots] < NEVER_US)
        self._arm(slots[sooner], buckets[sooner])

    def clear(self, slots: Slots) -> None:
        """The slots are free: they are never due."""
        self._times[slots] = NEVER_US
        self._is_earliest_known = False

    def due(self, now_us: int) -> Slots:
        """The slots whose time is `<= now_us`, each once; those that are not dealt with come again."""
        slots = self._opened(now_us // _BUCKET_US)
        return slots[self._times[slots] <= now_us]

    def earliest(self) -> int | None:
        """The first time that a slot is due, or None."""
        while not self._is_earliest_known and self._heap:
            bucket = self._heap[0]
            times = self._times[np.concatenate(self._buckets[bucket])]
            times = times[times // _BUCKET_US == bucket]
            if len(times):
                self._earliest, self._is_earliest_known = int(times.min()), True
            else:
                self._opened(bucket)
        return self._earliest if self._heap else None

    def _opened(self, last: int) -> Slots:
        """The slots of the buckets up to `last`, each once, put into the buckets of the times that they have now."""
        opened: list[Slots] = [np.empty(0, dtype=np.int64)]
        while self._heap and self._heap[0] <= last:
            opened.extend(self._buckets.pop(heapq.heappop(self._heap)))
        slots = np.unique(np.concatenate(opened))
        self._armed[slots] = NEVER_US
        times = self._times[slots]
        waiting = times < NEVER_US
        self._arm(slots[waiting], times[waiting] // _BUCKET_US)
        return slots

    def _arm(self, slots: Slots, buckets: NDArray[np.int64]) -> None:
        if not len(slots):
            return
        self._armed[slots] = buckets
        order = np.argsort(buckets, kind="stable")
        slots, buckets = slots[order], buckets[order]
        starts = np.flatnonzero(np.r_[True, buckets[1:] != buckets[:-1]])
        for part, bucket in zip(np.split(slots, starts[1:]), buckets[starts].tolist(), strict=True):
            if bucket not in self._buckets:
                self._buckets[bucket] = []
                heapq.heappush(self._heap, bucket)
            self._buckets[bucket].append(part)
