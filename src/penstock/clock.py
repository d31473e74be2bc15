"""The only source of time, randomness and ids.

Everything that decides by time takes a `Clock`, so that a test can hold it. Times are integers of microseconds
since 1970-01-01 UTC (`_us`), as in Arrow's `timestamp[us]`.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from random import Random
from typing import Protocol

__all__ = [
    "Clock",
    "ManualClock",
    "Random",
    "SystemClock",
    "epoch_id",
    "epoch_random",
    "epoch_time",
    "ids_from",
    "new_id",
    "now",
    "seeded",
    "to_datetime",
]


class Clock(Protocol):
    """Wall time, a stopwatch, and a sleep that a test can shorten."""

    def now_us(self) -> int:
        """Wall-clock time, in microseconds since 1970-01-01 UTC."""
        ...

    def stopwatch_s(self) -> float:
        """A reading that only grows; the difference of two is a duration in seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait, or let simulated time pass."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Wall-clock time, in microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000

    def stopwatch_s(self) -> float:
        """A reading that only grows; the difference of two is a duration in seconds."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        time.sleep(seconds)


class ManualClock:
    """Time that stands still until a test moves it; `sleep` moves it."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        """The simulated time, in microseconds since 1970-01-01 UTC."""
        return self._now_us

    def stopwatch_s(self) -> float:
        """The simulated time in seconds."""
        return self._now_us / 1e6

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass, at once."""
        self._now_us += round(seconds * 1e6)


_IDS: ContextVar[random.Random | None] = ContextVar("penstock_ids", default=None)


def new_id() -> str:
    """A fresh random id, 32 hexadecimal digits."""
    chance = _IDS.get()
    return uuid.uuid4().hex if chance is None else f"{chance.getrandbits(128):032x}"


@contextmanager
def ids_from(chance: random.Random) -> Iterator[None]:
    """Inside, in this thread, `new_id` draws from `chance`: the same ids in every run. For tests."""
    token = _IDS.set(chance)
    try:
        yield
    finally:
        _IDS.reset(token)


def seeded(seed: int) -> Random:
    """A random generator that gives the same numbers for the same seed."""
    return random.Random(seed)  # noqa: S311 - repeatable on purpose, never a secret


def to_datetime(time_us: int) -> datetime:
    """Microseconds since 1970 as an aware UTC datetime."""
    return datetime.fromtimestamp(time_us / 1e6, UTC)


class _EpochTime:
    """Time, chance and ids inside one epoch: the same when it runs again."""

    def __init__(self, now_us: int, seed: int) -> None:
        self.now_us = now_us
        self.random = seeded(seed)


_EPOCH: ContextVar[_EpochTime | None] = ContextVar("penstock_epoch", default=None)


@contextmanager
def epoch_time(now_us: int, seed: int) -> Iterator[None]:
    """Inside, `now`, `epoch_random` and `epoch_id` are those of an epoch."""
    token = _EPOCH.set(_EpochTime(now_us, seed))
    try:
        yield
    finally:
        _EPOCH.reset(token)


def now() -> datetime:
    """The processing time of the epoch that runs, naive UTC; the same when the epoch runs again.

    Outside of an epoch (at a prompt, while a flow is checked on empty frames) it is the machine's time.
    """
    epoch = _EPOCH.get()
    now_us = SystemClock().now_us() if epoch is None else epoch.now_us
    return to_datetime(now_us).replace(tzinfo=None)


def epoch_random() -> random.Random:
    """The epoch's own random generator: it gives the same numbers when the epoch runs again."""
    epoch = _EPOCH.get()
    return seeded(0) if epoch is None else epoch.random


def epoch_id() -> str:
    """A fresh id (32 hexadecimal digits) that comes out the same when the epoch runs again."""
    return f"{epoch_random().getrandbits(128):032x}"
