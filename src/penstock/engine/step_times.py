"""How long each step of an epoch worked, by whose turn it was."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.clock import Clock

__all__ = ["StepTimes"]


class StepTimes:
    """A stopwatch that is handed from step to step. Steps that run as one query share its time: who took which part of
    it, only the query knows.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: tuple[str, ...] = ()
        self._since_s = clock.stopwatch_s()
        self.busy_s: dict[str, float] = {}

    def enter(self, steps: Sequence[str]) -> None:
        """It is the turn of these steps from now on."""
        now_s = self._clock.stopwatch_s()
        if self._at:
            share_s = (now_s - self._since_s) / len(self._at)
            for step in self._at:
                self.busy_s[step] = self.busy_s.get(step, 0.0) + share_s
        self._at, self._since_s = tuple(steps), now_s
