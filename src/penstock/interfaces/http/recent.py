"""The last hour of a flow in slices of some seconds: what the page's charts and sparklines are drawn from.

It is put together from the epochs in the ledger, and each look reads only those that came since the last one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from penstock.clock import Clock
from penstock.ledger import LAST_TIME_US, EpochRecord, Ledger

__all__ = ["SLICES", "SLICE_S", "FlowRecent", "RecentEpochs"]

SLICE_S = 5
SLICES = 720
_SLICE_US = SLICE_S * 1_000_000
_PAGE = 1_000
_LOOK_BACK = 2_000
"""How many older epochs a look adds, until an hour is there: so no look takes long."""
_BLOCKED = frozenset({"write"})
"""Phases in which the flow waits for what is behind it."""


@dataclass(slots=True)
class Slice:
    """Some seconds of a flow, by the time at which its epochs were committed."""

    rows_in: Counter[str] = field(default_factory=Counter)
    rows_out: Counter[str] = field(default_factory=Counter)
    rows_late: int = 0
    rows_dead: int = 0
    epochs: int = 0
    phases_ms: dict[str, float] = field(default_factory=dict)
    longest_ms: float = 0.0
    delay_us: int | None = None

    def add(self, record: EpochRecord) -> None:
        """Count an epoch."""
        self.rows_in.update(record.rows_in)
        self.rows_out.update(record.rows_out)
        self.rows_late += record.rows_late
        self.rows_dead += record.rows_dead
        self.epochs += 1
        for phase, took_ms in record.timings_ms.items():
            self.phases_ms[phase] = self.phases_ms.get(phase, 0.0) + took_ms
        self.longest_ms = max(self.longest_ms, sum(record.timings_ms.values()))
        if record.watermark_us is not None and record.watermark_us < LAST_TIME_US:
            self.delay_us = max(self.delay_us or 0, record.committed_us - record.watermark_us)


@dataclass(slots=True)
class FlowRecent:
    """What is kept of a flow. `since_us`: nothing is known of what was before, nor of epochs before `oldest`; 0: all is
    known. `lane`: who led from when on.
    """

    undos: int = 0
    since_us: int = 0
    oldest: int = 0
    last: tuple[int, int, int] | None = None
    slices: dict[int, Slice] = field(default_factory=dict)
    lane: list[tuple[int, str, int, int]] = field(default_factory=list)
    """Time of its first commit here (us), version, generation, epoch."""

    def add(self, record: EpochRecord) -> None:
        """Count an epoch."""
        self.slices.setdefault(record.committed_us // _SLICE_US, Slice()).add(record)
        if not self.lane or self.lane[-1][1:3] != (record.version, record.generation):
            self.lane.append((record.committed_us, record.version, record.generation, record.epoch))
        self.last = (record.epoch, record.generation, record.committed_us)

    def add_older(self, records: Sequence[EpochRecord], *, more: bool) -> None:
        """Count the epochs before those that are known; `more`: whether others are before them."""
        lane: list[tuple[int, str, int, int]] = []
        for record in records:
            self.slices.setdefault(record.committed_us // _SLICE_US, Slice()).add(record)
            if not lane or lane[-1][1:3] != (record.version, record.generation):
                lane.append((record.committed_us, record.version, record.generation, record.epoch))
        if lane and self.lane and lane[-1][1:3] == self.lane[0][1:3]:
            self.lane.pop(0)
        self.lane[:0] = lane
        self.oldest = records[0].epoch if records else self.oldest
        self.since_us = records[0].committed_us if records and more else 0

    def forget(self, before: int) -> None:
        """Let go of old slices, and of leaders that another one followed before that."""
        for number in [number for number in self.slices if number < before]:
            del self.slices[number]
        while len(self.lane) > 1 and self.lane[1][0] // _SLICE_US < before:
            self.lane.pop(0)


class RecentEpochs:
    """The recent past of all flows of an environment."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._kept: dict[str, FlowRecent] = {}
        self._lock = Lock()

    def of(self, flow: str) -> FlowRecent:
        """The last hour of a flow, as of now. Raises LedgerError."""
        with self._lock:
            standing = self._ledger.standing(flow)
            undos = 0 if standing is None else standing.undos
            kept = self._kept.get(flow)
            if kept is None or kept.undos != undos or not self._goes_on(flow, kept):
                kept = self._kept[flow] = self._first_look(flow, undos)
            else:
                self._read_on(flow, kept)
            self._read_back(flow, kept)
            kept.forget(self._now() - SLICES)
            return kept

    def is_known(self, flow: str) -> bool:
        """Whether somebody looked at this flow before: then the next look is quick."""
        return flow in self._kept

    def columns(self, flow: str, *, slices: int = SLICES) -> dict[str, Any]:
        """The last slices as columns: a chart's. Rates are rows a second; None: nothing was committed."""
        found, now = self.of(flow), self._now()
        numbers = range(now - slices + 1, now + 1)
        parts = [found.slices.get(number) for number in numbers]
        return {
            "slice_s": SLICE_S,
            "since_us": found.since_us,
            "times_s": [number * SLICE_S for number in numbers],
            "rows_in": _by_step([{} if part is None else part.rows_in for part in parts]),
            "rows_out": _by_step([{} if part is None else part.rows_out for part in parts]),
            "rows_late": [0 if part is None else part.rows_late for part in parts],
            "rows_dead": [0 if part is None else part.rows_dead for part in parts],
            "epochs": [0 if part is None else part.epochs for part in parts],
            "longest_ms": [None if part is None else round(part.longest_ms, 3) for part in parts],
            "delay_s": [None if part is None or part.delay_us is None else part.delay_us / 1e6 for part in parts],
            "busy": [_share(part, blocked=False) for part in parts],
            "blocked": [_share(part, blocked=True) for part in parts],
            "lane": [
                {"at_us": at_us, "version": version, "generation": generation, "epoch": epoch}
                for at_us, version, generation, epoch in found.lane
            ],
        }

    def glance(self, flow: str, *, over_s: int = 60, points: int = 60, each: int = 6) -> dict[str, Any]:
        """Rows a second in and out over the last whole slices; and `spark`: rows a second in, as few points, each the
        mean of some slices, the newest last.
        """
        found, now = self.of(flow), self._now()
        parts = [part for number in range(now - over_s // SLICE_S, now) if (part := found.slices.get(number))]
        first = now - points * each
        sums = [0.0] * points
        for number, part in found.slices.items():
            if first <= number < now:
                sums[(number - first) // each] += sum(part.rows_in.values())
        return {
            "rows_in_per_s": sum(sum(part.rows_in.values()) for part in parts) / over_s,
            "rows_out_per_s": sum(sum(part.rows_out.values()) for part in parts) / over_s,
            "spark": [round(total / (each * SLICE_S), 2) for total in sums],
        }

    def _now(self) -> int:
        return self._clock.now_us() // _SLICE_US

    def _goes_on(self, flow: str, kept: FlowRecent) -> bool:
        if kept.last is None:
            return False
        epoch, generation, committed_us = kept.last
        found = self._ledger.epochs(flow, first=epoch, last=epoch)
        return [(one.generation, one.committed_us) for one in found] == [(generation, committed_us)]

    def _first_look(self, flow: str, undos: int) -> FlowRecent:
        found = FlowRecent(undos)
        records = self._ledger.epochs(flow, limit=_LOOK_BACK, newest=True)
        if records:
            newest = records[-1]
            found.last = (newest.epoch, newest.generation, newest.committed_us)
            found.add_older(records, more=len(records) == _LOOK_BACK)
        return found

    def _read_back(self, flow: str, kept: FlowRecent) -> None:
        if kept.since_us // _SLICE_US <= self._now() - SLICES:
            return
        records = self._ledger.epochs(flow, last=kept.oldest - 1, limit=_LOOK_BACK, newest=True)
        kept.add_older(records, more=len(records) == _LOOK_BACK)

    def _read_on(self, flow: str, kept: FlowRecent) -> None:
        while True:
            assert kept.last is not None
            page = self._ledger.epochs(flow, first=kept.last[0] + 1, limit=_PAGE)
            for record in page:
                kept.add(record)
            if len(page) < _PAGE:
                return


def _by_step(counts: Sequence[Mapping[str, int]]) -> dict[str, list[float]]:
    steps = sorted({step for one in counts for step in one})
    return {step: [one.get(step, 0) / SLICE_S for one in counts] for step in steps}


def _share(part: Slice | None, *, blocked: bool) -> float:
    """The share of a slice's time that was spent in phases that wait for a sink, or in all others."""
    if part is None:
        return 0.0
    spent_ms = sum(took_ms for phase, took_ms in part.phases_ms.items() if (phase in _BLOCKED) is blocked)
    return round(min(1.0, spent_ms / (SLICE_S * 1000)), 4)
