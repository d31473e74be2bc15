"""How long the phases of an epoch took."""

from __future__ import annotations

from penstock.clock import Clock

__all__ = ["Stopwatch"]


class Stopwatch:
    """Times the phases of an epoch."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = self._lap_s = clock.stopwatch_s()
        self.laps_ms: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """The phase that ends now."""
        now_s = self._clock.stopwatch_s()
        self.laps_ms[phase] = round((now_s - self._lap_s) * 1000, 3)
        self._lap_s = now_s

    @property
    def total_s(self) -> float:
        """Since the beginning."""
        return self._clock.stopwatch_s() - self._began_s
