"""One epoch from its plan to its results, in memory: what a leader, a follower and a replay have in common.

A computation holds the state of the flow after the last epoch that it ran. It plans nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.clock import Clock, epoch_time
from penstock.connect import Change
from penstock.engine.assembly import Assembly
from penstock.engine.background import Background, one_thread
from penstock.engine.batch import Epoch
from penstock.engine.migrating import renamed_facts, renamed_plan
from penstock.engine.patience import Patience
from penstock.engine.points import Probe
from penstock.engine.reading import Reader, Reads, rows_of
from penstock.engine.redrive import redriven_rows
from penstock.engine.step_times import StepTimes
from penstock.engine.stopwatch import Stopwatch
from penstock.engine.trials import Trials
from penstock.engine.watermark import WatermarkTracker
from penstock.errors import PenstockError, StepFailed
from penstock.flow import Recorder, recording
from penstock.ledger import DeadLetter, EpochPlan, EpochRecord, SegmentRef, TableChange, TableImage
from penstock.observe import Scope, log_scope

__all__ = ["Computation", "Computed"]


@dataclass(slots=True)
class Computed:
    """What an epoch came to: what each sink gets, what changed in the state, and all that its record says."""

    plan: EpochPlan
    changes: Mapping[str, Change]
    state: Sequence[TableChange]
    watch: Stopwatch
    watermark_us: int | None
    watermarks_us: Mapping[str, Any]
    rows_in: Mapping[str, int]
    rows_late: int
    rows_dead: int
    dead: Sequence[DeadLetter]
    checks: Mapping[str, Any]
    marks: Mapping[str, int | None] = field(default_factory=dict)
    bytes_in: Mapping[str, int] = field(default_factory=dict)
    steps: dict[str, dict[str, float]] = field(default_factory=dict)
    """By step: `ms` that it worked, rows `in` and `out`, as far as they are known."""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_ms(self) -> float:
        """How long reading and the steps took: the part that is the same for who leads and who follows."""
        return self.watch.laps_ms.get("read", 0.0) + self.watch.laps_ms.get("run", 0.0)

    def record(
        self, generation: int, version: str, *, receipts: Mapping[str, Any], segment: SegmentRef | None, now_us: int
    ) -> EpochRecord:
        """The record of the epoch as it was written by a generation."""
        return EpochRecord(
            epoch=self.plan.epoch,
            generation=generation,
            version=version,
            plan=self.plan,
            watermark_us=self.watermark_us,
            watermarks_us=self.watermarks_us,
            rows_in=self.rows_in,
            rows_out={name: change.rows.height for name, change in self.changes.items()},
            rows_late=self.rows_late,
            rows_dead=self.rows_dead,
            checks=self.checks,
            receipts=receipts,
            timings_ms=self.watch.laps_ms,
            segment=segment,
            committed_us=now_us,
            bytes_in=self.bytes_in,
            bytes_out={name: round(change.rows.estimated_size()) for name, change in self.changes.items()},
            steps=self.steps,
            metrics=self.metrics,
        )


class Computation:
    """A flow's program at work in this process: its state, its watermarks, and the last epoch that they include."""

    def __init__(
        self,
        assembly: Assembly,
        version: str,
        *,
        clock: Clock,
        patience: Patience,
        probe: Probe,
        background: Background = one_thread,
    ) -> None:
        self.assembly = assembly
        self.version = version
        self.generation: int | None = None
        """Whose epochs these are, for what is logged meanwhile."""
        self.follows = False
        """Whether another process leads, and logs the same."""
        self.names_of: Callable[[str], Mapping[str, str]] = lambda _: {}
        """From another version to what its author says was renamed, old name -> new name."""
        self._versions: set[str] = {version}
        self.last: EpochPlan | None = None
        self.trials: Trials | None = None
        """Where some epochs are to be run twice more, to see whether they come to the same."""
        self.began_us: int | None = None
        """When the epoch that runs began; None while none runs."""
        self._clock = clock
        self._patience = patience
        self._probe = probe
        self._reader = Reader(assembly.sources, background)
        self.tracker = WatermarkTracker(assembly.definition)

    @property
    def epoch(self) -> int:
        """The last epoch that the state includes; 0 for none."""
        return 0 if self.last is None else self.last.epoch

    @property
    def at_step(self) -> str | None:
        """The step that runs, or ran last."""
        return self.assembly.program.at_step

    def restore(self, images: Mapping[str, TableImage], last: EpochRecord | None) -> None:
        """Take the state after an epoch, whose record is `last`."""
        self.assembly.program.load(images)
        facts = None
        if last is not None:
            self.learn(last.version)
            facts = renamed_facts(last.watermarks_us, self.assembly.names.own)
        self.last = None if last is None else self.named(last.plan)
        self.tracker = WatermarkTracker(self.assembly.definition, facts)

    def learn(self, version: str) -> None:
        """Know the names that another version gives steps: plans that it made may come."""
        if version not in self._versions:
            self._versions.add(version)
            self.assembly.names.add(self.names_of(version))

    def named(self, plan: EpochPlan) -> EpochPlan:
        """The plan by the names of this version's steps."""
        names = self.assembly.names.own
        return renamed_plan(plan, names) if names else plan

    def due_us(self) -> int | None:
        """When an epoch is wanted even where no rows come: for a timer, a window, or a source that becomes idle."""
        times = (self.assembly.program.due_us(), self.tracker.idle_us())
        return min((time for time in times if time is not None), default=None)

    def run(self, plan: EpochPlan, upcoming: Callable[[], EpochPlan | None] = lambda: None) -> Computed:
        """Run one epoch, the one after `last`; what is logged meanwhile is marked as of this epoch.

        `upcoming`: asked once the rows are there for a plan to read ahead of its turn. Raises StepFailed, CheckFailed,
        ConnectorError; then the state may be touched: this computation is of no use any more.
        """
        times, recorder = StepTimes(self._clock), Recorder()
        epoch = Epoch(plan.epoch, plan.now_us, plan.seed, self.version, times=times, recorder=recorder)
        flow = self.assembly.definition.name
        scope = Scope(flow, generation=self.generation, epoch=plan.epoch, at=epoch, following=self.follows)
        with log_scope(scope):
            return self._computed(plan, epoch, times, recorder, upcoming)

    def _computed(
        self,
        plan: EpochPlan,
        epoch: Epoch,
        times: StepTimes,
        recorder: Recorder,
        upcoming: Callable[[], EpochPlan | None],
    ) -> Computed:
        watch = Stopwatch(self._clock)
        self.began_us = self._clock.now_us()
        own = self.named(plan)
        reads = self._patience(lambda: self._reader.read(own), "read")
        self._probe("read", plan.epoch)
        watch.lap("read")
        before = self._observe(own, reads)
        after = self.tracker.marks()
        ahead = upcoming()
        if ahead is not None:
            self._reader.ahead(self.named(ahead))
        with recording(recorder):
            changes = self._run(own, reads, before, after, epoch)
        self._probe("ran", plan.epoch)
        state = self.assembly.program.changes()
        watch.lap("run")
        if self.trials is not None:
            self.trials.look(own, reads, before, after)
        self.last = own
        self.began_us = None
        rows_in = {name: sum(part.frame.height for part in parts) for name, parts in reads.items()}
        return Computed(
            plan=plan,
            changes=changes,
            state=state,
            watch=watch,
            watermark_us=self.tracker.least_us(),
            watermarks_us=self.tracker.facts(),
            rows_in=rows_in,
            rows_late=epoch.rows_late,
            rows_dead=epoch.rows_dead,
            dead=epoch.dead,
            checks=epoch.checks,
            marks=after,
            bytes_in={name: sum(round(part.frame.estimated_size()) for part in parts) for name, parts in reads.items()},
            steps=self._step_facts(times, rows_in, changes, watch.laps_ms["read"]),
            metrics=recorder.as_json(),
        )

    def _step_facts(
        self, times: StepTimes, rows_in: Mapping[str, int], changes: Mapping[str, Change], read_ms: float
    ) -> dict[str, dict[str, float]]:
        """What is known of each step in this epoch. Reads share the time of reading by their rows."""
        definition, program = self.assembly.definition, self.assembly.program
        rows = {**program.step_rows, **{name: change.rows.height for name, change in changes.items()}}
        read_rows = sum(rows_in.values())
        facts: dict[str, dict[str, float]] = {}
        for step in definition.steps:
            busy_ms = 1000 * times.busy_s.get(step.name, 0.0)
            if not step.inputs and read_rows:
                busy_ms += read_ms * rows_in.get(step.name, 0) / read_rows
            given = [rows.get(name) for name in step.inputs]
            known = [count for count in given if count is not None]
            told: dict[str, float] = {"ms": round(busy_ms, 3)}
            if given and len(known) == len(given):
                told["in"] = sum(known)
            out = rows.get(step.name)
            if out is not None:
                told["out"] = out
            facts[step.name] = {name: value for name, value in told.items() if value}
        return {name: told for name, told in facts.items() if told}

    def close(self) -> None:
        """End the reading thread."""
        self._reader.close()

    def _observe(self, plan: EpochPlan, reads: Reads) -> Mapping[str, int | None]:
        """Move the watermarks; gives those of before."""
        before = self.tracker.marks()
        for name, parts in reads.items():
            self.tracker.observe(name, parts, plan.now_us)
        self.tracker.finish([name for name, entry in plan.ranges.items() if entry.get("finished")])
        self.tracker.settle(plan.now_us)
        return before

    def _run(
        self,
        plan: EpochPlan,
        reads: Reads,
        before: Mapping[str, int | None],
        after: Mapping[str, int | None],
        epoch: Epoch,
    ) -> dict[str, Change]:
        flow, program = self.assembly.definition.name, self.assembly.program
        left = "the epoch is planned, not committed: running again does it again from the same offsets"
        try:
            rows = rows_of(reads, plan, self.assembly.analysis, epoch)
            again = redriven_rows(plan.redrive, self.assembly.analysis, epoch) if plan.redrive else None
            with epoch_time(plan.now_us, plan.seed):
                return program.run(rows, before, after, epoch, again)
        except PenstockError as error:
            error.flow, error.state_left = error.flow or flow, error.state_left or left
            raise
        except Exception as error:
            raise StepFailed(
                f"{type(error).__name__}: {error}",
                flow=flow,
                step=program.at_step,
                epoch=plan.epoch,
                state_left=left,
                hint="mend the step and run again; no row is lost",
            ) from error
