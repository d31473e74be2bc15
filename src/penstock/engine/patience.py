"""Doing something with a system that may be away: again and again, ever more slowly, while that can help."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from penstock.clock import Clock
from penstock.engine.options import StopSignal
from penstock.engine.telling import LOG
from penstock.errors import ConnectorError

__all__ = ["Patience"]

T = TypeVar("T")
_FIRST_S = 0.1
_LONGEST_S = 5.0
LEFT = "the ledger is as of the last committed epoch; nothing is lost"


class Patience:
    """Tries for `patience_s` at most, and not once somebody wants the run to stop."""

    def __init__(
        self, flow: str, clock: Clock, stop: StopSignal, patience_s: float, on_retry: Callable[[str], None]
    ) -> None:
        self._flow = flow
        self._clock = clock
        self._stop = stop
        self._patience_s = patience_s
        self._on_retry = on_retry

    def __call__(self, action: Callable[[], T], what: str) -> T:
        """Do `action`. Raises ConnectorError where it does not heal, or not soon enough."""
        began_s, pause_s, tries = self._clock.stopwatch_s(), _FIRST_S, 0
        while True:
            try:
                done = action()
            except ConnectorError as error:
                waited_s = self._clock.stopwatch_s() - began_s
                if not error.heals or self._stop.requested or waited_s + pause_s > self._patience_s:
                    error.flow = error.flow or self._flow
                    error.state_left = error.state_left or LEFT
                    raise
                self._on_retry(f"{what}: {error.message}")
                LOG.warning("waits for a system that is away: %s: %s", what, error.message)
                tries += 1
                self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_S)
                continue
            if tries:
                LOG.info("went on after %.1f s: %s", self._clock.stopwatch_s() - began_s, what)
            return done
