"""When sources may forget what was read: after the commit, and not while somebody may want to read it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial

from penstock.clock import Clock
from penstock.connect import Source
from penstock.engine.patience import Patience
from penstock.ledger import EpochPlan, EpochRecord

__all__ = ["Forgetting"]


class Forgetting:
    """Holds back what sources are told to forget: for `hold_s`, and from epoch `hold_from` on while that is set."""

    def __init__(self, sources: Mapping[str, Source], patience: Patience, clock: Clock, hold_s: float) -> None:
        self._sources = sources
        self._patience = patience
        self._clock = clock
        self._hold_s = hold_s
        self._waiting: deque[tuple[float, EpochPlan]] = deque()
        self.hold_from: int | None = None

    def resume(self, last: EpochRecord, now_us: int) -> None:
        """Go on from the last epoch of an earlier process, whose input may be held still."""
        age_s = max(0.0, (now_us - last.committed_us) / 1e6)
        self._waiting.append((self._clock.stopwatch_s() - age_s, last.plan))

    def committed(self, plan: EpochPlan) -> None:
        """Take note of a committed epoch, and let sources forget all that nobody holds any more."""
        now_s = self._clock.stopwatch_s()
        self._waiting.append((now_s, plan))
        free: EpochPlan | None = None
        while self._waiting and self._is_free(*self._waiting[0], now_s):
            free = self._waiting.popleft()[1]
        if free is None:
            return
        for name, source in self._sources.items():
            if name in free.ranges:
                self._patience(partial(source.forget, free.ranges[name]["end"]), f"forget {name}")

    def _is_free(self, committed_s: float, plan: EpochPlan, now_s: float) -> bool:
        held = self.hold_from is not None and plan.epoch >= self.hold_from
        return not held and now_s - committed_s >= self._hold_s
