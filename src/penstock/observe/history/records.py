"""Samples and what they come to by the minute and by the hour, as columns; and their bytes.

One record stands for one sample, or for all samples of a minute or an hour. Bytes of equal significance are put beside
each other before they are compressed: numbers that change little take next to no space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from threading import Lock

import numpy as np
import numpy.typing as npt
import zstandard

__all__ = ["Floats", "Ids", "Records", "grown", "packed_tick", "unpacked_tick"]

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint32]

_COMPRESSOR = zstandard.ZstdCompressor(level=3)
_DECOMPRESSOR = zstandard.ZstdDecompressor()
_ONE_AT_A_TIME = Lock()
"""Making these costs more than using them, and they may be used by one thread at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Columns of equal length, in the order of time.

    `at_us`: when the newest sample of a record was taken; `last` its value. `low`, `high`, `total`, `count`: of all its
    samples. `increase`: how much a counter grew since the record before, also where it began again.
    """

    at_us: Times
    last: Floats
    low: Floats
    high: Floats
    total: Floats
    count: Floats
    increase: Floats

    def __len__(self) -> int:
        return len(self.at_us)

    @classmethod
    def of_samples(cls, at_us: Times, values: Floats) -> Records:
        """Each sample a record; the growth of the first is not known."""
        ones = np.ones(len(at_us))
        return cls(at_us, values, values, values, values, ones, grown(values))

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """One behind the other."""
        if not parts:
            return cls.of_samples(np.empty(0, np.int64), np.empty(0))
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def between(self, start_us: int, end_us: int) -> Records:
        """Those with `start_us <= at_us < end_us`."""
        first, stop = np.searchsorted(self.at_us, [start_us, end_us])
        return Records(*(getattr(self, field.name)[first:stop] for field in fields(self)))

    def by(self, span_us: int) -> Records:
        """One record for each span that has any. Spans begin at multiples of their length."""
        if not len(self):
            return self
        slots = self.at_us // span_us
        first = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])
        last = np.r_[first[1:] - 1, len(self) - 1]
        return Records(
            self.at_us[last],
            self.last[last],
            np.minimum.reduceat(self.low, first),
            np.maximum.reduceat(self.high, first),
            np.add.reduceat(self.total, first),
            np.add.reduceat(self.count, first),
            np.add.reduceat(self.increase, first),
        )

    def packed(self, *, samples: bool) -> bytes:
        """As bytes; `samples`: they are single samples, of which time and value are enough."""
        columns = [self.at_us, self.last]
        if not samples:
            columns += [self.low, self.high, self.total, self.count, self.increase]
        return _compressed(columns)

    @classmethod
    def unpacked(cls, body: bytes, *, samples: bool) -> Records:
        """Back from `packed`. Raises ValueError for other bytes."""
        columns = _columns(body, 2 if samples else len(fields(cls)))
        times = columns[0].view(np.int64)
        values = [column.view(np.float64) for column in columns[1:]]
        return cls.of_samples(times, values[0]) if samples else cls(times, *values)


def grown(values: Floats, before: float | None = None) -> Floats:
    """How much a counter grew from value to value. One that is lower than before began again at 0."""
    if not len(values):
        return values
    previous = np.r_[values[0] if before is None else before, values[:-1]]
    return np.where(values >= previous, values - previous, values)


def packed_tick(ids: Ids, values: Floats) -> bytes:
    """The values of all series at one moment."""
    return _compressed([ids.astype(np.int64), values])


def unpacked_tick(body: bytes) -> tuple[Times, Floats]:
    """Series and values. Raises ValueError for other bytes."""
    ids, values = _columns(body, 2)
    return ids.view(np.int64), values.view(np.float64)


def _compressed(columns: Sequence[npt.NDArray[np.generic]]) -> bytes:
    rows = len(columns[0])
    parts = []
    for column in columns:
        numbers = np.ascontiguousarray(column).view(np.uint64)
        if column.dtype == np.int64 and rows:
            numbers = np.r_[numbers[:1], np.diff(numbers)]
        parts.append(numbers.view(np.uint8).reshape(rows, 8).T.tobytes())
    with _ONE_AT_A_TIME:
        return _COMPRESSOR.compress(b"".join(parts))


def _columns(body: bytes, count: int) -> list[npt.NDArray[np.uint64]]:
    """The columns of `_compressed`; the first one is of integers, whose differences are kept."""
    try:
        with _ONE_AT_A_TIME:
            plain = _DECOMPRESSOR.decompress(body)
    except zstandard.ZstdError as problem:
        raise ValueError("not the bytes of samples") from problem
    if len(plain) % (8 * count):
        raise ValueError("not the bytes of so many columns")
    rows = len(plain) // (8 * count)
    found = []
    for place in range(count):
        part = np.frombuffer(plain, np.uint8, 8 * rows, 8 * rows * place)
        numbers = np.ascontiguousarray(part.reshape(8, rows).T).reshape(-1).view(np.uint64)
        found.append(np.cumsum(numbers, dtype=np.uint64) if place == 0 else numbers)
    return found
