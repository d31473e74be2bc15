"""Time as a run has it: nobody waits, the wall clock may be set, and who sleeps lets others go on."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["ProcessClock", "WorldClock"]

BEGIN_US = 1_700_000_000_000_000


class WorldClock:
    """One clock for all processes. Setting the wall clock leaves the stopwatch alone."""

    def __init__(self) -> None:
        self._passed_us = 0
        self._set_us = 0

    def now_us(self) -> int:
        """Wall-clock time, in microseconds since 1970-01-01 UTC."""
        return BEGIN_US + self._passed_us + self._set_us

    def stopwatch_s(self) -> float:
        """Simulated seconds since the beginning."""
        return self._passed_us / 1e6

    def sleep(self, seconds: float) -> None:
        """Let time pass, at once."""
        self.pass_us(round(seconds * 1e6))

    def pass_us(self, time_us: int) -> None:
        """Let time pass."""
        self._passed_us += max(time_us, 0)

    def set_by(self, time_us: int) -> None:
        """Set the wall clock forward, or back."""
        self._set_us += time_us


class ProcessClock:
    """The world's clock as one process has it. `asleep`: called when it sleeps, with the seconds."""

    def __init__(self, world: WorldClock, asleep: Callable[[float], None]) -> None:
        self._world = world
        self._asleep = asleep

    def now_us(self) -> int:
        """Wall-clock time, in microseconds since 1970-01-01 UTC."""
        return self._world.now_us()

    def stopwatch_s(self) -> float:
        """Simulated seconds since the beginning."""
        return self._world.stopwatch_s()

    def sleep(self, seconds: float) -> None:
        """Let others go on meanwhile."""
        self._asleep(seconds)
