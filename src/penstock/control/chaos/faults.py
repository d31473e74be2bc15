"""What goes wrong inside the process that is tried: it dies, freezes, its disk fills up, its sink breaks.

None of this is in the way of a flow that runs for good: only `victim` arms it.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.clock import SystemClock
from penstock.connect import Change, Receipt, Sink
from penstock.control.kill_points import KillPoint
from penstock.engine import Assembly, Probe
from penstock.errors import ConnectorError

__all__ = ["BrokenSink", "EpochClock", "all_of", "break_sink", "probe_of_faults"]


class EpochClock:
    """The machine's stopwatch, and a time of day that is a second later in every epoch.

    So an epoch has the same time whenever and however often it is planned, and a flow that writes `ps.now()` can be
    compared row by row.
    """

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self._epoch = 0
        self._clock = SystemClock()

    def now_us(self) -> int:
        """So many seconds after the start as epochs have been seen."""
        return self._start_us + self._epoch * 1_000_000

    def stopwatch_s(self) -> float:
        """The machine's."""
        return self._clock.stopwatch_s()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._clock.sleep(seconds)

    def probe(self, _point: str, epoch: int) -> None:
        """Note the epoch that is under way."""
        self._epoch = max(self._epoch, epoch)


@dataclass(slots=True)
class BrokenSink:
    """How a sink is broken: from `epoch` on, the first `times` writes of rows fail (None: all).

    `mode`: `raises` before anything is written, `answer-lost` after the rows are there.
    """

    mode: str
    epoch: int
    times: int | None

    def is_due(self, epoch: int, change: Change) -> bool:
        """Whether this write fails; it is counted."""
        if epoch < self.epoch or change.is_empty or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class _Breaking(Sink):
    """A sink that does what another one does, and fails where it is told to."""

    def __init__(self, sink: Sink, broken: BrokenSink) -> None:
        super().__init__(sink.dataset, sink.context)
        self._sink = sink
        self._broken = broken
        for name in ("delivery", "undoable", "replaces_at_once", "upserts", "min_epoch_ms"):
            setattr(self, name, getattr(sink, name))

    def prepare(self) -> None:
        self._sink.prepare()

    def open(self, generation: int) -> None:
        self._sink.open(generation)

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        due = self._broken.is_due(epoch, change)
        if due and self._broken.mode == "raises":
            raise self._failure("the sink is away")
        receipt = self._sink.write(epoch, generation, change)
        if due:
            raise self._failure("the answer of the sink is lost")
        return receipt

    def retract(self, first_epoch: int, generation: int) -> Receipt:
        return self._sink.retract(first_epoch, generation)

    def replace(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        return self._sink.replace(first_epoch, generation, changes)

    def last_epoch(self) -> int | None:
        return self._sink.last_epoch()

    def close(self) -> None:
        self._sink.close()

    def _failure(self, message: str) -> ConnectorError:
        error = ConnectorError(f"{message} (chaos)", flow=self.context.flow, step=self.context.step)
        error.heals = True
        return error


def break_sink(assembly: Assembly, faults: Mapping[str, Any]) -> None:
    """Put a broken sink in the place of each sink, where that is among the faults: the first one that writes fails."""
    given = faults.get("sink")
    if given is None:
        return
    broken = BrokenSink(str(given["mode"]), int(given["epoch"]), given.get("times"))
    for name, sink in assembly.sinks.items():
        assembly.sinks[name] = _Breaking(sink, broken)


def probe_of_faults(faults: Mapping[str, Any]) -> Probe:
    """The probe that kills, freezes, or lets no file grow any more."""
    probes: list[Probe] = []
    if faults.get("kill"):
        probes.append(KillPoint.parsed(str(faults["kill"])).probe())
    if faults.get("disk"):
        probes.append(_full_disk(KillPoint.parsed(str(faults["disk"]))))
    return all_of(*probes)


def all_of(*probes: Probe) -> Probe:
    """One probe that calls them all, in this order."""

    def probe(point: str, epoch: int) -> None:
        for one in probes:
            one(point, epoch)

    return probe


def _full_disk(at: KillPoint) -> Probe:
    """From a point on every write to a file fails, as on a full disk: the limit on the size of files is 0."""
    passed = 0
    fill: Callable[[], None] = lambda: resource.setrlimit(  # noqa: E731
        resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    )

    def probe(here: str, epoch: int) -> None:
        nonlocal passed
        if here == at.point and epoch >= at.epoch:
            passed += 1
            if passed == at.nth:
                fill()

    return probe
