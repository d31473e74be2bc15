"""Alerts as a duty of the server that leads: looked at now and then, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from penstock.clock import Clock
from penstock.control.alerting.looking import Alerting, Looked
from penstock.control.supervising.crew import Crew
from penstock.errors import PenstockError
from penstock.observe import State

__all__ = ["AlertDuty"]


class AlertDuty:
    """Looks at alerts each `every_s`. A server that only waits to lead is never asked to step, and looks at none.

    `make`: begins looking, from what is in the ledger; called when this server first looks, and after a fault.
    """

    def __init__(
        self,
        make: Callable[[], Alerting],
        clock: Clock,
        *,
        every_s: float,
        tell: Callable[[str, str], None],
        on: bool = True,
    ) -> None:
        self._make = make
        self._clock = clock
        self._every_s = every_s
        self._on = on
        self._tell = tell
        self._alerting: Alerting | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="penstock-alerts")
        self._looking: Future[None] | None = None
        self._next_s = -1e9
        self._said: dict[str, str] = {}
        self._firing: set[str] = set()

    def step(self, crew: Crew) -> bool:
        """Begin a look where it is time for one, and the last one is done. Never hurries anybody."""
        now_s = self._clock.stopwatch_s()
        if self._on and now_s >= self._next_s and (self._looking is None or self._looking.done()):
            self._next_s = now_s + self._every_s
            self._looking = self._threads.submit(self._guarded)
        return False

    def close(self) -> None:
        """Let the look that is under way end, and begin no more."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _guarded(self) -> None:
        """A look. What fails is told once, and tried again from what is in the ledger: no flow depends on it."""
        try:
            if self._alerting is None:
                self._alerting = self._make()
            self._show(self._alerting.look())
        except PenstockError as error:
            self._alerting = None
            self._once("alerts", error.message)
        else:
            self._said.pop("alerts", None)

    def _show(self, looked: Looked) -> None:
        firing = {one.id: one for one in looked.alerts if one.state is State.FIRING and one.rule != "Watchdog"}
        for id_, alert in firing.items():
            if id_ not in self._firing and id_ not in looked.quiet:
                self._tell(alert.labels.get("flow", ""), f"alert {alert.rule} ({alert.severity.value})")
        for id_ in self._firing - firing.keys():
            over = next((one for one in looked.alerts if one.id == id_), None)
            if over is not None:
                self._tell(over.labels.get("flow", ""), f"alert {over.rule} is over")
        self._firing = set(firing)
        for name, fault in looked.faults.items():
            self._once(name, fault)
        self._said = {name: fault for name, fault in self._said.items() if name in looked.faults}

    def _once(self, name: str, fault: str) -> None:
        if self._said.get(name) != fault:
            self._said[name] = fault
            self._tell("", f"alerts: {fault}")
