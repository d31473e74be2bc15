"""Which rows the next epoch takes: what is there, at once, up to a budget of rows, bytes and time.

A quiet flow has short epochs and answers in milliseconds, a busy one has long epochs and the speed of a batch engine.
Lookup tables with an end are read before everything else, and no source runs far ahead of the others in event time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.clock import Clock
from penstock.connect import Backlog, Budget, Offsets, Source
from penstock.engine.batch import BEGINNING_US, END_US
from penstock.engine.options import RunOptions
from penstock.flow import Definition, ops
from penstock.ledger import EpochPlan

__all__ = ["Planner"]

_BUSY_ROWS = 10_000
_BUSY_BYTES = 2 * 1024 * 1024
_LEAST_ROWS = 1_000
_FIRST_ROWS = 100_000
_MOMENT_S = 0.1
_MOMENT_BYTES = 65_536


class Planner:
    """Plans one epoch after the other. Deciding is quick and never blocks."""

    def __init__(
        self,
        definition: Definition,
        sources: Mapping[str, Source],
        clock: Clock,
        options: RunOptions,
        *,
        min_epoch_ms: int = 0,
    ) -> None:
        self._reads: dict[str, ops.Read] = {
            step.name: step.operation for step in definition.reads if isinstance(step.operation, ops.Read)
        }
        self._sources = sources
        self._clock = clock
        self._options = options
        self._align_us = definition.align_us
        self._min_epoch_s = min_epoch_ms / 1000
        self._rows_per_s = 0.0
        self._planned_s: float | None = None
        self.found_nothing = False
        """Whether the last time that `plan` was asked all sources said that they have nothing more."""

    def learn(self, rows: int, seconds: float) -> None:
        """Take note of how fast the last epoch was: the budget of rows follows from it."""
        if rows >= _LEAST_ROWS and seconds > 0:
            rate = rows / seconds
            self._rows_per_s = rate if not self._rows_per_s else 0.7 * self._rows_per_s + 0.3 * rate

    def budget(self) -> Budget:
        """How much one epoch may take now."""
        rows = self._options.epoch_rows
        if self._rows_per_s:
            rows = min(rows, max(_LEAST_ROWS, int(self._rows_per_s * self._options.epoch_ms / 1000)))
        else:
            # Nothing is known yet: a short first epoch shows how fast the flow is, and reading runs ahead sooner.
            rows = min(rows, _FIRST_ROWS)
        return Budget(rows, self._options.epoch_bytes)

    def start_of(self, last: EpochPlan | None) -> dict[str, Offsets]:
        """Where each source goes on: the end of the last plan, or its beginning."""
        done = {} if last is None else {step: entry["end"] for step, entry in last.ranges.items()}
        return {step: done[step] if step in done else source.initial() for step, source in self._sources.items()}

    def due(self) -> bool:
        """Whether the sinks' shortest epoch has passed since the last plan."""
        return self._due_in_s() <= 0.0

    def _due_in_s(self) -> float:
        if self._planned_s is None:
            return 0.0
        return self._min_epoch_s - (self._clock.stopwatch_s() - self._planned_s)

    def plan(
        self,
        last: EpochPlan | None,
        marks: Mapping[str, int | None],
        *,
        due_us: int | None = None,
        ahead: bool = False,
    ) -> EpochPlan | None:
        """The next epoch after `last`; None where there is nothing to do yet.

        `due_us`: when a timer wants an epoch even without rows. `ahead`: only where the flow is so far behind that it
        is worth reading before the epoch before is done.
        """
        if last is not None and last.final:
            self.found_nothing = True
            return None
        starts = self.start_of(last)
        ended = {step for step, entry in (last.ranges.items() if last is not None else ()) if entry.get("finished")}
        behind = [step for step in starts if step not in ended and self._is_behind(step, starts)]
        if ahead and not behind:
            return None
        self.found_nothing = False
        if not ahead and not behind and not self.due():
            return None
        taken = self._ranges(starts, ended, marks)
        now_us = self._now_us(last)
        final = bool(taken) and all(entry.get("finished") for entry in taken.values())
        moved = any(entry["start"] != entry["end"] for entry in taken.values())
        self.found_nothing = not moved
        news = moved or final or len([1 for entry in taken.values() if entry.get("finished")]) > len(ended)
        if not news and not (due_us is not None and due_us <= now_us and not ahead):
            return None
        return self._numbered(last, taken, now_us, final=final)

    def _now_us(self, last: EpochPlan | None) -> int:
        """The time of the next epoch: the clock's, and never before the last epoch's.

        Where somebody set the clock back, time goes on from the last epoch by the stopwatch: windows and timers must
        not wait until the clock has caught up.
        """
        shown_us = self._clock.now_us()
        if last is None or shown_us >= last.now_us:
            return shown_us
        passed_s = 0.0 if self._planned_s is None else self._clock.stopwatch_s() - self._planned_s
        return last.now_us + round(passed_s * 1e6)

    def redrive(self, last: EpochPlan | None, letters: Sequence[Mapping[str, Any]]) -> EpochPlan:
        """An epoch that reads nothing and gives dead letters another try."""
        ended = {step for step, entry in (last.ranges.items() if last is not None else ()) if entry.get("finished")}
        ranges: dict[str, dict[str, Any]] = {}
        for step, start in self.start_of(last).items():
            ranges[step] = {"start": dict(start), "end": dict(start)} | ({"finished": True} if step in ended else {})
        final = last is not None and last.final
        return self._numbered(last, ranges, self._now_us(last), final=final, redrive=tuple(letters))

    def _numbered(
        self,
        last: EpochPlan | None,
        ranges: Mapping[str, Mapping[str, Any]],
        now_us: int,
        *,
        final: bool,
        redrive: Sequence[Mapping[str, Any]] = (),
    ) -> EpochPlan:
        epoch = 1 if last is None else last.epoch + 1
        self._planned_s = self._clock.stopwatch_s()
        return EpochPlan(epoch, ranges, now_us, (epoch * 0x9E3779B97F4A7C15) % (1 << 63), final, redrive)

    def is_drained(self, last: EpochPlan | None) -> bool:
        """Whether no source has anything to offer after `last`."""
        starts = self.start_of(last)
        one = Budget(1, self._options.epoch_bytes)
        return all(source.offer(starts[step], one) == starts[step] for step, source in self._sources.items())

    def is_whole(self, plan: EpochPlan, rows_per_s: float) -> bool:
        """Whether a plan takes all that there is, or leaves what comes in while one looks: a moment's work.

        `rows_per_s`: how fast the flow works.
        """
        starts = self.start_of(plan)
        one = Budget(1, self._options.epoch_bytes)
        for step, source in self._sources.items():
            if source.offer(starts[step], one) == starts[step]:
                continue
            left = source.backlog(starts[step])
            if left.rows is not None:
                if left.rows > rows_per_s * _MOMENT_S:
                    return False
            elif left.size_bytes is None or left.size_bytes > _MOMENT_BYTES:
                return False
        return True

    def backlogs(self, last: EpochPlan | None) -> dict[str, Backlog]:
        """What waits at each read, as far as its source knows."""
        starts = self.start_of(last)
        return {step: source.backlog(starts[step]) for step, source in self._sources.items()}

    def wait(self, last: EpochPlan | None, timeout_s: float) -> None:
        """Give the sources a moment; or the sinks, where the shortest epoch is not over yet.

        A source that has something to read would not wait, and a flow with slow sinks would ask it all the time.
        """
        due_in_s = self._due_in_s()
        if due_in_s > 0.0:
            self._clock.sleep(min(timeout_s, due_in_s))
            return
        starts = self.start_of(last)
        if len(self._sources) == 1:
            ((step, source),) = self._sources.items()
            source.wait(starts[step], timeout_s)
        else:
            self._clock.sleep(min(timeout_s, 0.005))

    def _is_behind(self, step: str, starts: Mapping[str, Offsets]) -> bool:
        waiting = self._sources[step].backlog(starts[step])
        return (waiting.rows or 0) >= _BUSY_ROWS or (waiting.size_bytes or 0) >= _BUSY_BYTES

    def _ranges(
        self, starts: Mapping[str, Offsets], ended: set[str], marks: Mapping[str, int | None]
    ) -> dict[str, dict[str, Any]]:
        """For each source its range; `finished` where it is bounded and the range is its last."""
        loading = [
            step
            for step, read in self._reads.items()
            if read.table and self._sources[step].bounded and step not in ended
        ]
        waiting = {step for step in starts if loading and step not in loading}
        held = self._held_back(marks, ended)
        ends = self._offers(starts, ended | waiting | held)
        if held and all(ends[step] == starts[step] for step in ends):
            # Those behind have nothing to read: holding the others back would only stop the flow.
            ends |= self._offers({step: starts[step] for step in held}, ended | waiting)
            held = set()
        ranges: dict[str, dict[str, Any]] = {}
        for step, source in self._sources.items():
            entry: dict[str, Any] = {"start": dict(starts[step]), "end": dict(ends.get(step, starts[step]))}
            still = step in waiting or step in held
            if step in ended or (not still and source.bounded and source.exhausted(entry["end"])):
                entry["finished"] = True
            ranges[step] = entry
        return ranges

    def _offers(self, starts: Mapping[str, Offsets], without: set[str]) -> dict[str, Offsets]:
        budget = self.budget()
        return {step: self._sources[step].offer(start, budget) for step, start in starts.items() if step not in without}

    def _held_back(self, marks: Mapping[str, int | None], ended: set[str]) -> set[str]:
        """The sources that are too far ahead of the slowest one in event time."""
        times = {
            step: mark
            for step, mark in marks.items()
            if mark is not None and step not in ended and not self._reads[step].table and mark < END_US
        }
        if len(times) < 2:  # noqa: PLR2004 - alone, nobody is ahead
            return set()
        slowest = min(times.values())
        limit = slowest + (self._align_us or 0)
        return {step for step, mark in times.items() if mark > limit and mark != BEGINNING_US}
