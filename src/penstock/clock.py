"""The only source of time, randomness and ids.

Everything that decides by time takes a `Clock`, so that a test can hold it. Times are integers of microseconds
since 1970-01-01 UTC (`_us`), as in Arrow's `timestamp[us]`.
"""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock", "new_id", "seeded", "to_datetime"]


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


def new_id() -> str:
    """A fresh random id, 32 hexadecimal digits."""
    return uuid.uuid4().hex


def seeded(seed: int) -> random.Random:
    """A random generator that gives the same numbers for the same seed."""
    return random.Random(seed)  # noqa: S311 - repeatable on purpose, never a secret


def to_datetime(time_us: int) -> datetime:
    """Microseconds since 1970 as an aware UTC datetime."""
    return datetime.fromtimestamp(time_us / 1e6, UTC)
