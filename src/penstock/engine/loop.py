"""The epoch loop: plan, read, run, write, keep the state, commit, forget. Streaming and batch are the same loop.

Whatever happens between two steps of the loop, the next process finds in the ledger the last epoch that is a fact and
the plan of the one that may have begun, and does that one again (see ARCHITECTURE.md, "Crash points").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from penstock.analysis import Analysis, analyse, needed_columns
from penstock.clock import Clock, SystemClock, epoch_time
from penstock.connect import Change, Context, Sink, Source, open_sink, open_source
from penstock.engine.batch import Epoch
from penstock.engine.compaction import Compactor
from penstock.engine.options import Progress, RunOptions, RunResult, StopSignal
from penstock.engine.planning import Planner
from penstock.engine.points import Probe, nothing
from penstock.engine.program import Program
from penstock.engine.reading import Reader, rows_of
from penstock.engine.stopwatch import Stopwatch
from penstock.engine.watermark import WatermarkTracker
from penstock.errors import ConnectorError, DefinitionError, Fenced, LedgerError, PenstockError, StepFailed
from penstock.flow import Dataset, Definition, Step, flow_version, ops
from penstock.ledger import (
    EpochPlan,
    EpochRecord,
    Ledger,
    Resume,
    SegmentRef,
    StateStore,
)

__all__ = ["run_flow"]

T = TypeVar("T")
_IDLE_REPORT_S = 0.1
_SHOW_EVERY_S = 0.05
_ROLL_UP_EVERY = 10_000
_RETRY_FIRST_S = 0.1
_RETRY_LONGEST_S = 5.0


def run_flow(
    definition: Definition,
    datasets: Mapping[str, Dataset],
    *,
    ledger: Ledger,
    store: StateStore,
    folder: Path,
    root: Path,
    clock: Clock | None = None,
    options: RunOptions | None = None,
    stop: StopSignal | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    holder: str = "",
    probe: Probe = nothing,
) -> RunResult:
    """Run one flow until its input ends, `stop` is requested, or an error.

    `datasets`: the concrete dataset of every read and write step. `folder`: this flow's own, for what connectors keep.
    `root`: what relative paths are relative to. `holder`: who runs it, for the ledger.
    `probe`: called at every point of `POINTS`.

    Raises SchemaError and DefinitionError before anything is connected, Fenced where a newer process took the flow
    over, ConnectorError where a system stayed away for longer than `options.patience_s`, LedgerError, CheckFailed,
    StepFailed. After any of them the ledger says where to go on, and running again does so.
    """
    run = _Run(definition, datasets, ledger, store, folder, root, clock or SystemClock(), options or RunOptions())
    run.stop = stop or StopSignal()
    run.on_progress = on_progress or (lambda _: None)
    run.probe = probe
    try:
        run.open(holder)
        return run.loop()
    finally:
        run.close()


class _Run:
    """One run of one flow, from claim to close."""

    def __init__(
        self,
        definition: Definition,
        datasets: Mapping[str, Dataset],
        ledger: Ledger,
        store: StateStore,
        folder: Path,
        root: Path,
        clock: Clock,
        options: RunOptions,
    ) -> None:
        self.definition = definition
        self.datasets = datasets
        self.ledger = ledger
        self.store = store
        self.folder = folder
        self.root = root
        self.clock = clock
        self.options = options
        self.stop = StopSignal()
        self.on_progress: Callable[[Progress], None] = lambda _: None
        self.probe: Probe = nothing
        self.version = flow_version(definition)
        self.tables = _lookup_tables(definition)
        self.sources: dict[str, Source] = {}
        self.sinks: dict[str, Sink] = {}
        self.totals: Counter[str] = Counter()
        self.checks_failed: Counter[str] = Counter()
        self.began_s = clock.stopwatch_s()
        self.shown_s = 0.0
        self.last: EpochPlan | None = None
        self.repeating = False
        self.progress = Progress(definition.name, 0, "loading")
        self.reader: Reader | None = None
        self.compactor = Compactor(store)

    def open(self, holder: str) -> None:
        """Connect, check, claim the flow, load its state."""
        self.on_progress(self.progress)
        for step in self.definition.reads:
            self.sources[step.name] = open_source(self.datasets[step.name], self._context(step))
        schemas = {name: self._patiently(source.schema, f"read {name}") for name, source in self.sources.items()}
        analysis = analyse(self.definition, schemas)
        needed = needed_columns(self.definition, analysis)
        pruned = {name: source.project(needed[name]) for name, source in self.sources.items()}
        if pruned != schemas:
            analysis = analyse(self.definition, pruned)
        self.analysis: Analysis = analysis
        self.program = Program(self.definition, analysis)
        for step in self.definition.writes:
            self.sinks[step.name] = self._sink(step, analysis)
        resume = self.ledger.claim(self.definition.name, version=self.version, holder=holder)
        self.generation = resume.generation
        self.probe("claimed", 0)
        self.reader = Reader(self.sources)
        self._resume(resume)
        shortest = max((sink.min_epoch_ms for sink in self.sinks.values()), default=0)
        self.planner = Planner(self.definition, self.sources, self.clock, self.options, min_epoch_ms=shortest)
        for name, sink in self.sinks.items():
            self._patiently(partial(self._open_sink, name, sink), f"open {name}")
        self.probe("loaded", self.last.epoch if self.last is not None else 0)

    def _open_sink(self, name: str, sink: Sink) -> None:
        """Raise the sink's fence; refuse a target that knows more epochs of this flow than the ledger does."""
        known = self.planned.epoch if self.planned is not None else self.last.epoch if self.last is not None else 0
        hint = "start both anew with `penstock run --reset`, or bring the ledger back from a backup"
        try:
            sink.open(self.generation)
        except Fenced as fenced:
            if known == 0:
                fenced.hint = f"if no other process runs this flow, its ledger was lost: {hint}"
            raise
        held = sink.last_epoch()
        if held is not None and held > known:
            lost = LedgerError(
                f"the target of {name} holds this flow's epochs up to {held}, the ledger knows {known}: it was lost or "
                "replaced, and going on would write rows twice",
                flow=self.definition.name,
                step=name,
                state_left="nothing was written",
                hint=hint,
            )
            lost.heals = False
            raise lost

    def loop(self) -> RunResult:
        """Run epochs until there is a reason to stop."""
        plan = self.planned
        epochs = 0
        while not self._is_over(epochs):
            if plan is None:
                plan = self._planned(self.last, self.tracker.marks())
                if plan is None:
                    if self._is_drained():
                        break
                    self._idle()
                    continue
                self.ledger.plan(self.definition.name, self.generation, plan)
                self.probe("planned", plan.epoch)
            plan = self._epoch(plan)
            epochs += 1
        return self._result(epochs)

    def close(self) -> None:
        """Give everything back; what is not committed is forgotten here and done again by the next process."""
        if self.reader is not None:
            self.reader.close()
        self.compactor.close()
        for source in self.sources.values():
            source.close()
        for sink in self.sinks.values():
            sink.close()

    def _resume(self, resume: Resume) -> None:
        self.last = resume.last.plan if resume.last is not None else None
        self.planned = resume.planned
        # An epoch that was planned may have reached some sinks: it is written to all, even where it has no rows.
        self.repeating = resume.planned is not None
        self.compactor.segments = list(resume.segments)
        self.program.load(self.store.load(resume.segments))
        self.tracker = WatermarkTracker(self.definition, resume.last.watermarks_us if resume.last is not None else None)

    def _is_over(self, epochs: int) -> bool:
        limit = self.options.max_epochs
        ended = self.last is not None and self.last.final
        return self.stop.requested or (limit is not None and epochs >= limit) or ended

    def _is_drained(self) -> bool:
        return self.options.until_drained and self._patiently(lambda: self.planner.is_drained(self.last), "ask")

    def _planned(self, last: EpochPlan | None, marks: Mapping[str, int | None]) -> EpochPlan | None:
        due_us = self._due_us()
        return self._patiently(lambda: self.planner.plan(last, marks, due_us=due_us), "ask the sources")

    def _due_us(self) -> int | None:
        """When an epoch is wanted even where no rows come: for a timer, a window, or a source that becomes idle."""
        times = (self.program.due_us(), self.tracker.idle_us())
        return min((time for time in times if time is not None), default=None)

    def _next_plan(self, plan: EpochPlan, marks: Mapping[str, int | None], *, ahead: bool = False) -> EpochPlan | None:
        """The plan after the epoch that runs, where there is one already. A source that is away holds up no commit."""
        try:
            return self.planner.plan(plan, marks, due_us=self._due_us(), ahead=ahead)
        except ConnectorError:
            return None

    def _epoch(self, plan: EpochPlan) -> EpochPlan | None:
        """One epoch from its plan to its commit; gives the plan of the next one where there is one already."""
        watch = Stopwatch(self.clock)
        epoch = Epoch(plan.epoch, plan.now_us, plan.seed, self.version)
        assert self.reader is not None
        reader = self.reader
        reads = self._patiently(lambda: reader.read(plan), "read")
        self.probe("read", plan.epoch)
        watch.lap("read")
        before = self.tracker.marks()
        for name, parts in reads.items():
            self.tracker.observe(name, parts, plan.now_us)
        self.tracker.finish([name for name, entry in plan.ranges.items() if entry.get("finished")])
        self.tracker.settle(plan.now_us)
        after = self.tracker.marks()
        ahead = self._next_plan(plan, after, ahead=True)
        if ahead is not None:
            reader.ahead(ahead)
        changes = self._run(plan, rows_of(reads, plan, self.analysis, epoch), before, after, epoch)
        self.probe("ran", plan.epoch)
        watch.lap("run")
        receipts = self._write(plan, changes)
        watch.lap("write")
        state = self.program.changes()
        segment = self.store.write(plan.epoch, plan.epoch, state) if state else None
        self.probe("state-written", plan.epoch)
        watch.lap("state")
        rows_in = {name: sum(part.frame.height for part in parts) for name, parts in reads.items()}
        record = EpochRecord(
            epoch=plan.epoch,
            generation=self.generation,
            version=self.version,
            plan=plan,
            watermark_us=self.tracker.least_us(),
            watermarks_us=self.tracker.facts(),
            rows_in=rows_in,
            rows_out={name: change.rows.height for name, change in changes.items()},
            rows_late=epoch.rows_late,
            rows_dead=epoch.rows_dead,
            checks=epoch.checks,
            receipts=receipts,
            timings_ms=watch.laps_ms,
            segment=segment,
            committed_us=self.clock.now_us(),
        )
        self.planner.learn(sum(rows_in.values()), watch.total_s)
        upcoming = ahead
        if upcoming is None and not self.stop.requested and self.planner.due():
            upcoming = self._next_plan(plan, after)
        self.probe("before-commit", plan.epoch)
        self.ledger.commit(self.definition.name, record, next_plan=upcoming, dead=epoch.dead)
        self.probe("committed", plan.epoch)
        self.last, self.repeating = plan, False
        self._after_commit(record, plan, segment, watch.total_s)
        return upcoming

    def _run(
        self,
        plan: EpochPlan,
        rows: Mapping[str, object],
        before: Mapping[str, int | None],
        after: Mapping[str, int | None],
        epoch: Epoch,
    ) -> dict[str, Change]:
        left = "the epoch is planned, not committed: running again does it again from the same offsets"
        try:
            with epoch_time(plan.now_us, plan.seed):
                return self.program.run(rows, before, after, epoch)  # type: ignore[arg-type]
        except PenstockError as error:
            error.flow, error.state_left = error.flow or self.definition.name, error.state_left or left
            raise
        except Exception as error:
            raise StepFailed(
                f"{type(error).__name__}: {error}",
                flow=self.definition.name,
                step=self.program.at_step,
                epoch=plan.epoch,
                state_left=left,
                hint="mend the step and run again; no row is lost",
            ) from error

    def _write(self, plan: EpochPlan, changes: Mapping[str, Change]) -> dict[str, object]:
        """Write every sink that has something to write, or that may hold something of an earlier try."""
        receipts: dict[str, object] = {}
        for name, change in changes.items():
            if change.is_empty and not self.repeating:
                continue
            sink = self.sinks[name]
            self.probe("before-write", plan.epoch)
            receipts[name] = self._patiently(
                partial(sink.write, plan.epoch, self.generation, change),
                f"write {name}",
            )
            self.probe("after-write", plan.epoch)
        return receipts

    def _after_commit(self, record: EpochRecord, plan: EpochPlan, segment: SegmentRef | None, seconds: float) -> None:
        for name, source in self.sources.items():
            self._patiently(partial(source.forget, plan.ranges[name]["end"]), f"forget {name}")
        self.probe("forgotten", plan.epoch)
        self.totals.update(
            rows_in=sum(rows for name, rows in record.rows_in.items() if name not in self.tables),
            rows_out=sum(record.rows_out.values()),
            rows_late=record.rows_late,
            rows_dead=record.rows_dead,
        )
        for name, counts in record.checks.items():
            if counts["failed"]:
                self.checks_failed[name] += counts["failed"]
        if segment is not None:
            self.compactor.segments.append(segment)
        if self.options.compact:
            done = self.compactor.step()
            if done is not None:
                self.ledger.replace_segments(self.definition.name, self.generation, *done)
                self.store.prune(self.compactor.segments)
                self.probe("compacted", plan.epoch)
        keep = self.options.keep_epochs
        if plan.epoch % _ROLL_UP_EVERY == 0 and plan.epoch > keep:
            self.compactor.roll_up(self.ledger, self.definition.name, plan.epoch - keep)
        self._show("draining" if plan.final else "running", seconds * 1000)

    def _show(self, phase: str, epoch_ms: float | None = None, message: str = "") -> None:
        now_s = self.clock.stopwatch_s()
        if phase == self.progress.phase and now_s - self.shown_s < _SHOW_EVERY_S:
            return
        self.shown_s = now_s
        try:
            rows, size = self.planner.backlog(self.last)
        except ConnectorError:  # what is shown stops no flow; the next question to the source is asked with patience
            rows, size = None, None
        seconds = max(now_s - self.began_s, 1e-9)
        self.progress = replace(
            self.progress,
            epoch=self.last.epoch if self.last is not None else 0,
            phase=phase,
            rows_in=self.totals["rows_in"],
            rows_out=self.totals["rows_out"],
            rows_late=self.totals["rows_late"],
            rows_dead=self.totals["rows_dead"],
            rows_per_s=self.totals["rows_in"] / seconds,
            epoch_ms=self.progress.epoch_ms if epoch_ms is None else epoch_ms,
            watermark_us=self.tracker.least_us(),
            backlog_rows=rows,
            backlog_bytes=size,
            checks_failed=dict(self.checks_failed),
            message=message,
        )
        self.on_progress(self.progress)

    def _idle(self) -> None:
        if self.clock.stopwatch_s() - self.shown_s >= _IDLE_REPORT_S:
            self._show("idle")
        self._patiently(lambda: self.planner.wait(self.last, 0.05), "wait")

    def _patiently(self, action: Callable[[], T], what: str) -> T:
        """Do something with a system that may be away; try again, ever more slowly, while that can help."""
        began_s, pause_s = self.clock.stopwatch_s(), _RETRY_FIRST_S
        while True:
            try:
                return action()
            except ConnectorError as error:
                waited_s = self.clock.stopwatch_s() - began_s
                if not error.heals or self.stop.requested or waited_s + pause_s > self.options.patience_s:
                    error.flow = error.flow or self.definition.name
                    error.state_left = (
                        error.state_left or "the ledger is as of the last committed epoch; nothing is lost"
                    )
                    raise
                self.on_progress(replace(self.progress, phase="retrying", message=f"{what}: {error.message}"))
                self.clock.sleep(pause_s)
                pause_s = min(2 * pause_s, _RETRY_LONGEST_S)

    def _context(self, step: Step) -> Context:
        return Context(
            flow=self.definition.name,
            step=step.name,
            folder=self.folder / step.name,
            root=self.root,
            clock=self.clock,
            key=self.datasets[step.name].key,
        )

    def _sink(self, step: Step, analysis: Analysis) -> Sink:
        assert isinstance(step.operation, ops.Write)
        facts = analysis.steps[step.name]
        dataset = self.datasets[step.name]
        sink = open_sink(dataset, replace(self._context(step), schema=facts.schema))
        if facts.updating and not sink.upserts:
            raise DefinitionError(
                f"{dataset.kind} {dataset.name!r} can't replace rows, and the results here are updating",
                flow=self.definition.name,
                step=step.name,
                hint="write them to a table with a key (delta, postgres, duckdb), or aggregate in a window",
            )
        return sink

    def _result(self, epochs: int) -> RunResult:
        return RunResult(
            flow=self.definition.name,
            generation=self.generation,
            version=self.version,
            epochs=epochs,
            last_epoch=self.last.epoch if self.last is not None else None,
            rows_in=self.totals["rows_in"],
            rows_out=self.totals["rows_out"],
            rows_late=self.totals["rows_late"],
            rows_dead=self.totals["rows_dead"],
            seconds=self.clock.stopwatch_s() - self.began_s,
            finished=self.last is not None and self.last.final,
            stopped=self.stop.requested,
            checks_failed=dict(self.checks_failed),
        )


def _lookup_tables(definition: Definition) -> frozenset[str]:
    """The steps that read a lookup table: its rows are not counted as rows of the stream."""
    reads = ((step.name, step.operation) for step in definition.reads)
    return frozenset(name for name, operation in reads if isinstance(operation, ops.Read) and operation.table)
