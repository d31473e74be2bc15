"""Keeping samples: a duty of the server that leads, done in a thread of its own, at times that are multiples of the
interval.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from penstock.control.metering.meter import Meter
from penstock.control.supervising.crew import Crew
from penstock.errors import PenstockError
from penstock.observe import MetricFamily, MetricHistory

__all__ = ["Push", "Sampler"]

Push = Callable[[list[MetricFamily]], None]
"""Sends numbers on. May raise PenstockError."""


class Sampler:
    """Keeps a sample each `every_s` in `history`; hands the numbers to `push` each `push_every_s`.

    A server that only waits to lead is never asked to step, and so keeps none.
    """

    def __init__(
        self,
        meter: Meter,
        history: MetricHistory,
        *,
        every_s: float,
        push: Push | None = None,
        push_every_s: float = 60.0,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._meter = meter
        self._history = history
        self._every_us = round(every_s * 1e6)
        self._push = push
        self._push_every_us = round(push_every_s * 1e6)
        self._tell = tell
        self._slot: int | None = None
        self._push_slot: int | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="penstock-metrics")
        self._sampling: Future[None] | None = None
        self._pushing: Future[None] | None = None
        self._told = ""

    def step(self, crew: Crew) -> bool:
        """Begin a sample where it is time for one, and the last one is done. Never hurries anybody."""
        now_us = self._meter.clock.now_us()
        slot = now_us // self._every_us
        if slot != self._slot and (self._sampling is None or self._sampling.done()):
            self._slot = slot
            self._sampling = self._threads.submit(self._guarded, self.sample)
        push_slot = now_us // self._push_every_us
        if self._push is not None and push_slot != self._push_slot and (self._pushing is None or self._pushing.done()):
            self._push_slot = push_slot
            self._pushing = self._threads.submit(self._guarded, self._send)
        return False

    def close(self) -> None:
        """Let what is under way end, and begin no more."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def sample(self) -> None:
        """Keep a sample now. Raises LedgerError."""
        meter = self._meter
        now_us = meter.clock.now_us()
        samples = meter.samples()
        meter.count_objectives(samples)
        self._history.append(now_us, meter.families(samples), meter.kept())

    def _send(self) -> None:
        assert self._push is not None
        self._push(self._meter.families())

    def _guarded(self, work: Callable[[], None]) -> None:
        """What fails is told once, and tried again: no flow depends on it."""
        try:
            work()
            self._told = ""
        except PenstockError as error:
            if error.message != self._told:
                self._told = error.message
                self._tell(f"metrics: {error.message}")
