"""Leading a flow: plan, run, write, keep the state, commit, forget. Streaming and batch are the same.

Whatever happens between two points of an epoch, the next process finds in the ledger the last epoch that is a fact and
the plan of the one that may have begun, and does that one again (see ARCHITECTURE.md, "Crash points").
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial

from penstock.clock import Clock
from penstock.engine.background import Background, one_thread
from penstock.engine.branch import merged_change
from penstock.engine.compaction import Compactor
from penstock.engine.computing import Computation, Computed
from penstock.engine.forgetting import Forgetting
from penstock.engine.options import RunOptions, StopSignal
from penstock.engine.patience import Patience
from penstock.engine.planning import Planner
from penstock.engine.points import Probe
from penstock.engine.redrive import in_order
from penstock.engine.spill import Spill
from penstock.engine.tally import Tally
from penstock.engine.telling import log_damaged_state, log_dead_letters
from penstock.errors import ConnectorError, CorruptState, Fenced, LedgerError
from penstock.ledger import EpochPlan, Ledger, Resume, SegmentRef, StateStore, TableChange, thinned
from penstock.observe import Scope, StepMark, log_scope

__all__ = ["Leader", "Outcome", "Post"]

_IDLE_REPORT_S = 0.1
_REST_S = 0.02
_ROLL_UP_EVERY = 10_000
_REDRIVE_EVERY_S = 0.5
_REDRIVES_MAX = 1_000
_FENCE_LOOK_EVERY_S = 0.2
_WHOLE_LOOK_EVERY_S = 0.25
_SWEEP_EVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class Post:
    """What a process needs to lead or follow, and that outlives its changes of role."""

    flow: str
    version: str
    ledger: Ledger
    store: StateStore
    options: RunOptions
    clock: Clock
    patience: Patience
    probe: Probe
    stop: StopSignal
    tally: Tally
    background: Background = one_thread


class Outcome(Enum):
    """What a step of leading came to."""

    RAN = "ran"
    IDLE = "idle"
    OVER = "over"


class Leader:
    """One generation of a flow. `computation` holds the state after the last epoch that it ran."""

    def __init__(self, post: Post, computation: Computation, resume: Resume) -> None:
        self.post = post
        self.computation = computation
        self.generation = computation.generation = resume.generation
        computation.follows = False
        self.paused = False
        self.drain = post.options.until_drained
        self.spill: Spill | None = None
        self.uncopied: str | None = None
        """Why there is no copy of what it writes, though there should be one."""
        self.running: Computed | None = None
        """The epoch that was computed and is not committed yet."""
        self.plan = resume.planned
        self.filed = 0 if resume.last is None else min(resume.state_epoch, resume.last.epoch)
        """The epoch whose state the files hold."""
        self.undos = resume.undos
        """How many undos had ended in the history that this process goes on from."""
        self._known = 0 if resume.last is None else resume.last.epoch
        """The last epoch that was committed when this process began to lead."""
        # An epoch that was planned may have reached some sinks: it is written to all, even where it has no rows.
        self.repeating = resume.planned is not None
        self.unsaved: list[tuple[int, list[TableChange]]] = []
        """Changes of state that belong to committed epochs and are in no file yet; they go with the next commit."""
        self._at = StepMark()
        """The sink that is written, for what is logged meanwhile."""
        self.uncorrected: dict[str, str] = {}
        """Sinks that an undo could not correct, and why."""
        self.epochs = 0
        self.run_ms = 0.0
        """How long the steps of the last epoch took."""
        assembly = computation.assembly
        self.compactor = Compactor(post.store, post.background)
        self.compactor.segments = list(resume.segments)
        self.planner = Planner(
            assembly.definition, assembly.sources, post.clock, post.options, min_epoch_ms=assembly.min_epoch_ms
        )
        self.forgetting = Forgetting(assembly.sources, post.patience, post.clock, post.options.hold_s)
        if resume.last is not None:
            self.forgetting.resume(resume.last, post.clock.now_us())
        self.caught_up_us: int | None = None
        """When this process had last worked off all that there was to read; None: not yet."""
        self.waits = True
        """Whether input waits, or may."""
        self.savepoint_ms: float | None = None
        """How long it took to make the last savepoint."""
        self._commit_ms: float | None = None
        self._rows_per_s = 0.0
        self._whole = 0
        """The epoch whose plan took all that there was."""
        self._whole_looked_s = -1e9
        self._redrive_looked_s = -1e9
        self._swept_s = -1e9
        self._fence_looked_s = post.clock.stopwatch_s()
        self._savepoint_s = post.clock.stopwatch_s()

    # --- beginning ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take in what comes, and raise every sink's fence."""
        assembly = self.computation.assembly
        assembly.lead()
        for name in assembly.sinks:
            self.post.patience(partial(self._open_sink, name), f"open {name}")

    def _open_sink(self, name: str) -> None:
        """Raise the sink's fence; refuse a target that knows more epochs of this flow than the ledger does."""
        known = self._known if self.plan is None else self.plan.epoch
        hint = "start both anew with `penstock run --reset`, or bring the ledger back from a backup"
        sink = self.computation.assembly.sinks[name]
        try:
            sink.open(self.generation)
        except Fenced as fenced:
            if known == 0:
                fenced.hint = f"if no other process runs this flow, its ledger was lost: {hint}"
            raise
        held = sink.last_epoch()
        if held is not None and held > known:
            self.check_fence()  # a newer process may have written since the fence was raised
            lost = LedgerError(
                f"the target of {name} holds this flow's epochs up to {held}, the ledger knows {known}: it was lost or "
                "replaced, and going on would write rows twice",
                flow=self.post.flow,
                step=name,
                state_left="nothing was written",
                hint=hint,
            )
            lost.heals = False
            raise lost

    # --- an epoch -----------------------------------------------------------------------------------------------------

    def step(self) -> Outcome:
        """Run one epoch, or wait a moment where there is nothing to do. Raises Fenced and what epochs raise."""
        if self.running is not None:  # a takeover brought it
            self._finish(self.running)
            return Outcome.RAN
        if self.plan is None:
            if self.paused or self._is_over():
                return self._rest(self.paused)
            self.plan = self._redrive() or self._next()
            if self.plan is None and (self._has_ended() or self._is_drained()):
                self.plan = self._redrive(now=True)  # before the end: the next run may be far away
                if self.plan is None:
                    return Outcome.OVER
            if self.plan is None:
                return self._rest(idle=True)
            self._look_behind(self.plan)
            self.post.ledger.plan(self.post.flow, self.generation, self.plan)
            self.post.probe("planned", self.plan.epoch)
        elif self.paused or self._is_over():
            return self._rest(self.paused)
        plan = self.plan
        ahead: list[EpochPlan] = []
        computed = self.computation.run(plan, partial(self._ahead, plan, ahead))
        self.running = computed
        self._finish(computed, ahead[0] if ahead else None)
        return Outcome.RAN

    def _ahead(self, plan: EpochPlan, found: list[EpochPlan]) -> EpochPlan | None:
        """The plan of the next epoch where the flow is so far behind that reading it may begin now."""
        upcoming = self._next_plan(self.computation.named(plan), self.computation.tracker.marks(), ahead=True)
        if upcoming is not None:
            found.append(upcoming)
        return upcoming

    def _finish(self, computed: Computed, ahead: EpochPlan | None = None) -> None:
        """Write the sinks and the state of an epoch that was computed, commit it, and let go of its input."""
        with log_scope(Scope(self.post.flow, generation=self.generation, epoch=computed.plan.epoch, at=self._at)):
            self._finish_inside(computed, ahead)

    def _finish_inside(self, computed: Computed, ahead: EpochPlan | None) -> None:
        plan, probe = computed.plan, self.post.probe
        self._copy(computed)
        receipts = self._write(computed)
        computed.watch.lap("write")
        segment = self._save(computed)
        probe("state-written", plan.epoch)
        computed.watch.lap("state")
        if self._commit_ms is not None:
            computed.watch.laps_ms["commit"] = self._commit_ms
        record = computed.record(
            self.generation, self.post.version, receipts=receipts, segment=segment, now_us=self.post.clock.now_us()
        )
        rows_in, took_s = sum(computed.rows_in.values()), computed.watch.total_s
        self.planner.learn(rows_in, took_s)
        if rows_in and took_s > 0:
            self._rows_per_s = rows_in / took_s
        upcoming = ahead
        if upcoming is None and self._may_plan() and self.planner.due():
            upcoming = self._next_plan(self.computation.named(plan), computed.marks)
        if upcoming is not None:
            self._look_behind(upcoming)
        probe("before-commit", plan.epoch)
        began_s = self.post.clock.stopwatch_s()
        self.post.ledger.commit(self.post.flow, record, next_plan=upcoming, dead=computed.dead)
        self._commit_ms = round(1000 * (self.post.clock.stopwatch_s() - began_s), 3)
        probe("committed", plan.epoch)
        if self._whole == plan.epoch:
            self.caught_up_us = plan.now_us
        log_dead_letters(computed.dead, self._at)
        self.unsaved.clear()
        self.filed = plan.epoch
        self.running, self.plan, self.repeating = None, upcoming, False
        self.epochs += 1
        self.run_ms = computed.run_ms
        self.forgetting.committed(self.computation.named(plan))
        probe("forgotten", plan.epoch)
        self.post.tally.count(record)
        self._care(plan, segment)
        self._show("draining" if plan.final else "running", computed.watch.total_s * 1000)

    def _copy(self, computed: Computed) -> None:
        """Keep what the epoch writes for whoever compares it. Without room for that the flow goes on all the same."""
        if self.spill is not None:
            try:
                self.spill.put(computed)
            except LedgerError as full:
                self.spill.close()
                self.spill, self.uncopied = None, full.message

    def _write(self, computed: Computed) -> dict[str, object]:
        """Write every sink that has something to write, or that may hold something of an earlier try."""
        plan = computed.plan
        receipts: dict[str, object] = {}
        for name, change in computed.changes.items():
            if change.is_empty and not self.repeating:
                continue
            sink = self.computation.assembly.sinks[name]
            self._at.at_step = name
            self.post.probe("before-write", plan.epoch)
            began_s = self.post.clock.stopwatch_s()
            receipts[name] = self.post.patience(
                partial(sink.write, plan.epoch, self.generation, change), f"write {name}"
            )
            told = computed.steps.setdefault(name, {})
            told["ms"] = round(told.get("ms", 0.0) + 1000 * (self.post.clock.stopwatch_s() - began_s), 3)
            self.post.probe("after-write", plan.epoch)
        self._at.at_step = None
        return receipts

    def _save(self, computed: Computed) -> SegmentRef | None:
        """Make durable what changed in the state since the last file."""
        waiting = [*self.unsaved]
        if computed.state:
            waiting.append((computed.plan.epoch, list(computed.state)))
        if not waiting:
            return None
        return self.post.store.write(waiting[0][0], computed.plan.epoch, merged_change(waiting))

    # --- what is next -------------------------------------------------------------------------------------------------

    def _next(self) -> EpochPlan | None:
        last, marks, due_us = self.computation.last, self.computation.tracker.marks(), self.computation.due_us()
        return self.post.patience(lambda: self.planner.plan(last, marks, due_us=due_us), "ask the sources")

    def _next_plan(self, plan: EpochPlan, marks: Mapping[str, int | None], *, ahead: bool = False) -> EpochPlan | None:
        """The plan after the epoch that runs, where there is one already. A source that is away holds up no commit."""
        if ahead and not self._may_plan():
            return None
        try:
            return self.planner.plan(plan, marks, due_us=self.computation.due_us(), ahead=ahead)
        except ConnectorError:
            return None

    def _look_behind(self, plan: EpochPlan) -> None:
        """Note now and then whether a plan takes all that there is: after it the flow has caught up to its time."""
        self.waits = True
        now_s = self.post.clock.stopwatch_s()
        if now_s - self._whole_looked_s < _WHOLE_LOOK_EVERY_S:
            return
        self._whole_looked_s = now_s
        with suppress(ConnectorError):  # what is told stops no flow
            if self.planner.is_whole(self.computation.named(plan), self._rows_per_s):
                self._whole = plan.epoch

    def _may_plan(self) -> bool:
        """Whether the next epoch may be planned in the commit of the one before, without a look at what is wished."""
        return not (self.post.stop.requested or self.paused or self._is_redrive_due())

    def _is_redrive_due(self) -> bool:
        return self.post.clock.stopwatch_s() - self._redrive_looked_s >= _REDRIVE_EVERY_S

    def _redrive(self, *, now: bool = False) -> EpochPlan | None:
        """An epoch for the dead letters that somebody wants to be tried again; `now`: whenever it was looked last."""
        if not (now or self._is_redrive_due()):
            return None
        waiting = self.post.ledger.waiting_redrives(self.post.flow, limit=_REDRIVES_MAX)
        letters = in_order(waiting, self.computation.assembly.definition)
        if len(letters) == len(waiting):  # else the others are next, at once
            self._redrive_looked_s = self.post.clock.stopwatch_s()
        return self.planner.redrive(self.computation.last, letters) if letters else None

    def _is_over(self) -> bool:
        limit = self.post.options.max_epochs
        return self.post.stop.requested or (limit is not None and self.epochs >= limit)

    def _has_ended(self) -> bool:
        """Whether the input has an end and it is reached."""
        return self.computation.last is not None and self.computation.last.final

    def _is_drained(self) -> bool:
        return self.drain and self.post.patience(lambda: self.planner.is_drained(self.computation.last), "ask")

    # --- beside the epochs --------------------------------------------------------------------------------------------

    def _rest(self, idle: bool) -> Outcome:  # noqa: FBT001 - paused or idle, or else over
        if not idle:
            return Outcome.OVER
        self._note_rest()
        now_s = self.post.clock.stopwatch_s()
        if now_s - self._fence_looked_s >= _FENCE_LOOK_EVERY_S:
            self._fence_looked_s = now_s
            self.check_fence()
        if now_s - self.post.tally.shown_s >= _IDLE_REPORT_S:
            self._show("idle")
        if self.paused:  # a source with rows would not let it wait
            self.post.clock.sleep(_REST_S)
        else:
            self.post.patience(lambda: self.planner.wait(self.computation.last, _REST_S), "wait")
        return Outcome.IDLE

    def _note_rest(self) -> None:
        """Whether it rests because nothing waits. While it is paused, a source that can't count may have something."""
        if not self.paused:
            self.waits = not self.planner.found_nothing
        else:
            progress = self.post.tally.progress
            known = [count for count in (progress.backlog_rows, progress.backlog_bytes) if count is not None]
            self.waits = any(known) if known else True
        if not self.waits:
            self.caught_up_us = self.post.clock.now_us()

    def check_fence(self) -> None:
        """A leader without work learns only so that another process leads by now."""
        standing = self.post.ledger.standing(self.post.flow)
        if standing is not None and standing.generation > self.generation:
            raise Fenced(
                f"generation {self.generation} is fenced: {standing.holder} leads as generation {standing.generation}",
                flow=self.post.flow,
                state_left=f"epoch {standing.last_epoch} is the last committed; the newer process goes on from there",
                hint="end this process; it must not write any more",
            )

    def _care(self, plan: EpochPlan, segment: SegmentRef | None) -> None:
        """What keeps the flow from growing without bound, and lets an undo begin near its epoch."""
        options, ledger, flow = self.post.options, self.post.ledger, self.post.flow
        if segment is not None:
            self.compactor.segments.append(segment)
        if options.compact:
            done = self._merged()
            if done is not None:
                ledger.replace_segments(flow, self.generation, *done)
                kept = [ref for savepoint in ledger.savepoints(flow) for ref in savepoint.segments]
                self.post.store.prune([*self.compactor.segments, *kept])
                self.post.probe("compacted", plan.epoch)
        self._sweep()
        if plan.epoch % _ROLL_UP_EVERY == 0 and plan.epoch > options.keep_epochs:
            self.compactor.roll_up(ledger, flow, plan.epoch - options.keep_epochs)
        now_s = self.post.clock.stopwatch_s()
        if options.savepoint_s is not None and now_s - self._savepoint_s >= options.savepoint_s:
            self._savepoint_s = now_s
            ledger.savepoint(flow, why="now and then")
            self.savepoint_ms = round(1000 * (self.post.clock.stopwatch_s() - now_s), 3)
            gone = thinned(ledger.savepoints(flow), self.post.clock.now_us(), options.keep_s)
            ledger.drop_savepoints(flow, gone)

    def _merged(self) -> tuple[list[SegmentRef], SegmentRef] | None:
        """A merge that is done: (old, new) files. Raises Fenced where a newer process let go of the files.

        A file that is damaged or gone ends no flow that runs: the state is in memory, and is written whole.
        """
        try:
            return self.compactor.step()
        except CorruptState as damage:
            self.check_fence()
            old = [*self.compactor.segments]
            whole = self.post.store.write(0, self.filed, self.computation.assembly.program.whole(), whole=True)
            self.compactor.segments = [whole]
            log_damaged_state(damage, self.post.ledger.savepoints(self.post.flow), self.filed)
            return old, whole

    def _sweep(self) -> None:
        """Now and then delete state files of processes that are gone, where nothing names them.

        A process that was killed left some, and so did one that followed and never led. Processes of `penstock run` are
        no members; where one runs, it is alone.
        """
        now_s = self.post.clock.stopwatch_s()
        if now_s - self._swept_s < _SWEEP_EVERY_S:
            return
        self._swept_s = now_s
        ledger, store, flow = self.post.ledger, self.post.store, self.post.flow
        there = store.strays()
        if not there:
            return
        alive = {member.id for member in ledger.members(flow)}
        named = {ref.file for ref in (*ledger.segments(flow), *self.compactor.segments)}
        named |= {ref.file for savepoint in ledger.savepoints(flow) for ref in savepoint.segments}
        store.sweep([file for file, owner in there.items() if owner not in alive and file not in named])

    def _show(self, phase: str, epoch_ms: float | None = None) -> None:
        tally = self.post.tally
        if not tally.is_due(phase):
            return
        try:
            backlogs = self.planner.backlogs(self.computation.last)
        except ConnectorError:  # what is shown stops no flow; the next question to the source is asked with patience
            backlogs = {}
        watermark_us = self.computation.tracker.least_us()
        tally.show(phase, epoch=self.computation.epoch, watermark_us=watermark_us, backlogs=backlogs, epoch_ms=epoch_ms)
