"""What an author's keyed function is given: its key, its state, timers, and the time. See `Keyed.process`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeAlias

__all__ = ["KeyContext", "ProcessFunction", "Row"]

Row: TypeAlias = Mapping[str, Any]
"""One row, column name -> value."""


class KeyContext(Protocol):
    """One key in one epoch. Times are microseconds since 1970 UTC."""

    @property
    def key(self) -> Row:
        """The key columns of this key."""
        ...

    @property
    def state(self) -> dict[str, Any]:
        """The state of this key, to be read and changed; every column is None for a key that is new."""
        ...

    @property
    def now_us(self) -> int:
        """The processing time of the epoch: the same when the epoch runs again."""
        ...

    @property
    def watermark_us(self) -> int | None:
        """The watermark before this epoch; None where the stream has no event time or saw nothing yet."""
        ...

    def set_timer(self, time: int | datetime) -> None:
        """Call `on_timer` when the watermark reaches `time`. A key has one such timer; setting it again moves it."""
        ...

    def set_processing_timer(self, time: int | datetime) -> None:
        """Call `on_timer` when the processing time reaches `time`. A key has one; setting it again moves it."""
        ...

    def clear(self) -> None:
        """Forget this key: its state and timers."""
        ...


class ProcessFunction(Protocol):
    """An author's keyed function. A plain function does where there are no timers; else an object that has also
    `on_timer(context, time_us)`, called with the time for which the timer was set.
    """

    def __call__(self, context: KeyContext, rows: list[Row]) -> Iterable[Row] | None:
        """The rows that came for one key in an epoch, in order, to the rows that go on."""
        ...
