"""Windows of event time, as frozen values: tumbling, sliding and session (the names of Flink and Beam), or the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from penstock.errors import DefinitionError
from penstock.flow.durations import Duration, duration_text, duration_us

__all__ = [
    "SameWindow",
    "Session",
    "Sliding",
    "Tumbling",
    "Window",
    "same_window",
    "session",
    "sliding",
    "tumbling",
]


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Windows of one size, end to end: [k * size + offset, (k + 1) * size + offset)."""

    size_us: int
    offset_us: int = 0

    def __str__(self) -> str:
        return f"tumbling {duration_text(self.size_us)}"


@dataclass(frozen=True, slots=True)
class Sliding:
    """Windows of one size, one beginning every `every_us`; a row is in size/every of them."""

    size_us: int
    every_us: int
    offset_us: int = 0

    def __str__(self) -> str:
        return f"sliding {duration_text(self.size_us)} every {duration_text(self.every_us)}"


@dataclass(frozen=True, slots=True)
class Session:
    """Windows that end where a key was silent for `gap_us`: [first row, last row + gap)."""

    gap_us: int

    def __str__(self) -> str:
        return f"session gap {duration_text(self.gap_us)}"


@dataclass(frozen=True, slots=True)
class SameWindow:
    """The windows that the rows have already: they are results of a windowed step."""

    def __str__(self) -> str:
        return "the same window"


Window: TypeAlias = Tumbling | Sliding | Session | SameWindow


def _positive(value: Duration, what: str) -> int:
    value_us = duration_us(value, what=what)
    if value_us <= 0:
        raise DefinitionError(f"{what} {value!r} is not positive", hint='give a length, e.g. "1m"')
    return value_us


def tumbling(size: Duration, *, offset: Duration = "0s") -> Tumbling:
    """Windows of `size`, end to end, starting at multiples of it since 1970 (moved by `offset`)."""
    return Tumbling(_positive(size, "window size"), duration_us(offset, what="window offset"))


def sliding(size: Duration, every: Duration, *, offset: Duration = "0s") -> Sliding:
    """Windows of `size`, one beginning `every` so often. `size` has to be a multiple of `every`."""
    size_us, every_us = _positive(size, "window size"), _positive(every, "window step")
    if size_us % every_us:
        raise DefinitionError(
            f"a sliding window of {size!r} can't begin every {every!r}: not a whole number of steps",
            hint="make the size a multiple of the step",
        )
    return Sliding(size_us, every_us, duration_us(offset, what="window offset"))


def session(gap: Duration) -> Session:
    """Windows that end where a key was silent for `gap`."""
    return Session(_positive(gap, "session gap"))


def same_window() -> SameWindow:
    """The windows that the rows have already, to group the results of a windowed step once more.

    All rows of one window come together, so nothing is remembered and nothing is late.
    """
    return SameWindow()
