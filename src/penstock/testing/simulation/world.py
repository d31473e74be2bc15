"""The world of a run: processes, people, a supervisor, an input that grows, and faults; one thing happens at a time.

A process that is frozen in the middle of a step holds no thread: the others are stepped from within, and when they have
had their time it goes on. Everything is drawn from the seed, so the same seed gives the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.clock import ids_from
from penstock.engine import RunOptions
from penstock.errors import (
    CheckFailed,
    ConnectorError,
    CorruptState,
    Fenced,
    FlowBusy,
    LedgerError,
    MigrationFailed,
    PenstockError,
    StepFailed,
)
from penstock.ledger import BEGINNING, EpochRecord, Ledger, Member, Rewrite, Savepoint, Standing, Takeover
from penstock.testing.simulation.chance import Chance
from penstock.testing.simulation.clocks import WorldClock
from penstock.testing.simulation.deeds import DEEDS, Deed, rescue
from penstock.testing.simulation.disk import Damage
from penstock.testing.simulation.inputs import Input
from penstock.testing.simulation.lines import Line
from penstock.testing.simulation.process import Process
from penstock.testing.simulation.sinks import Written
from penstock.testing.simulation.versions import Version, Versions

__all__ = ["World"]

_DEPTH_MAX = 3
_DEEDS_MAX = 3
_GIVEN_UP = 0.005
_GROWS = 0.25
_OVER = object()
_NEVER_S = 1e9


@dataclass
class World:
    """Everything that a run has, and what was seen of it."""

    chance: Chance
    clock: WorldClock
    ledger: Ledger
    folder: Path
    versions: Versions
    inputs: Mapping[str, Input]
    options: RunOptions
    lines_seen: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    steps: int = 0
    taken: list[Written] = field(default_factory=list)
    """What the sinks took, in order."""
    commits: list[tuple[int, int]] = field(default_factory=list)
    """Epoch and generation of each commit, in order."""
    owners: dict[int, Line] = field(default_factory=dict)
    """Epoch -> the line of the process that committed it."""
    live: Line | None = None
    """The line whose state the ledger has."""
    handovers: int = 0
    undos: int = 0

    def __post_init__(self) -> None:
        self.flow = self.versions.all[0].definition.name
        self.state_folder = self.folder / "state"
        self.state_folder.mkdir()
        self.damage = Damage(self.state_folder)
        self._lines = 0
        self._started = 0
        self._depth = 0
        self._deeds: list[Deed] = []
        self._away_until_s: dict[str, float] = {}
        self._lost: list[tuple[Input, Mapping[str, Any]]] = []
        self._holds: list[tuple[str, int]] = []
        self._saved: dict[str, Line] = {}
        self._start_at = 0
        self._failures: list[str] = []
        self._unfit: set[str] = set()
        """Versions whose leader ended with an error of a step."""

    # --- what happens -------------------------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """Let so many things happen."""
        with ids_from(self.chance.ids):
            while self.steps < steps and not self.problems:
                self.step()

    def step(self) -> None:
        """One thing happens."""
        self.steps += 1
        random = self.chance.random
        self.clock.pass_us(random.choice((500, 5_000, 20_000, 120_000)))
        self._trouble()
        self._supervise()
        self._people()
        if random.random() < _GROWS:
            self._grow()
        ready = [one for one in self.processes if one.is_alive and not one.is_running]
        ready = [one for one in ready if one.frozen_until <= self.steps]
        if ready:
            random.choice(ready).step()

    def run_others(self, steps: int, why: str) -> bool:
        """Let others go on while somebody stands still; gives whether anything could happen."""
        if self._depth >= _DEPTH_MAX or steps == 0:
            return False
        self._depth += 1
        self.note(f"{why}, others go on")
        try:
            for _ in range(steps):
                self.step()
        finally:
            self._depth -= 1
        return True

    def settle(self, steps: int) -> None:
        """Faults stop, deeds are given up; the input ends, and one process runs the flow to its end."""
        self.note("the faults stop")
        with ids_from(self.chance.ids):
            self.chance.calm()
            self._deeds.clear()
            self._holds.clear()
            self._away_until_s.clear()
            self._bring_back()
            self.damage.mend(self.damage.files)
            for given in self.inputs.values():
                given.grow(given.rows)
                given.finished = True
            for process in self.processes:
                process.frozen_until = 0
                if process.is_alive and not process.is_leading:
                    process.kill("at the end: it does not lead")
                elif process.is_alive:
                    self.wish(process, role="lead", paused=False, drain=False, hold_from=None)
            last = self.steps + steps
            while not self.problems and not self._has_ended():
                if self.steps > last:
                    self.problems.append(f"the flow does not come to its end; its processes: {self._failures[-5:]}")
                self._last_step()
            self.close()

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.kill("at the end")

    def _last_step(self) -> None:
        self.steps += 1
        self.clock.pass_us(300_000)
        self._supervise()
        self._people()
        for process in self.processes:
            if process.is_alive:
                process.step()

    def _has_ended(self) -> bool:
        standing = self.standing()
        if standing is None or standing.planned is not None or standing.rewrite is not None:
            return False
        if self.ledger.waiting_redrives(self.flow, limit=1):
            return False
        last = self.ledger.epochs(self.flow, limit=1, newest=True)
        return bool(last) and last[0].plan.final

    def note(self, line: str) -> None:
        """Write down what happened."""
        indent = "  " * self._depth
        told = line.replace(f"{self.folder}/", "")  # another one in each run
        self.lines_seen.append(f"{self.steps:4d} {indent}{told}")

    # --- processes ----------------------------------------------------------------------------------------------------

    def start(
        self,
        version: Version,
        role: str,
        *,
        savepoint: Savepoint | None = None,
        record_from: int | None = None,
    ) -> Process:
        """Start a process; it is in the ledger on return."""
        self._started += 1
        name = f"p{self._started}"
        standing = self.standing()
        after = 0 if standing is None else standing.generation
        wish: dict[str, Any] = {"role": role, "hold_from": self._hold_from(), "after": after}
        process = Process(self, name, version, role, savepoint=savepoint, record_from=record_from, wish=wish)
        facts = {"role": "starting", "state": "loading"}
        now_us = self.clock.now_us()
        self.ledger.join(Member(name, self.flow, version.name, 1, "here", "s", wish, facts, joined_us=now_us))
        self.processes.append(process)
        return process

    def wish(self, process: Process, **changes: Any) -> None:
        """Say what a process should do."""
        process.wish = {**process.wish, **changes}
        self.ledger.wish(self.flow, process.name, process.wish)

    def ended(self, process: Process) -> None:
        """A process is gone."""
        self.ledger.leave(self.flow, process.name, process.ended)
        self._failures.append(f"{process}: {process.ended}")

    def told(self, process: Process) -> None:
        """A process told its facts; nobody but the people of this run needs them."""

    def leader(self) -> Process | None:
        """Who leads, as far as one can see."""
        return next((one for one in reversed(self.processes) if one.is_alive and one.is_leading), None)

    def hidden(self, version: str) -> Process | None:
        """A process of a version that led, and follows now."""
        return next((one for one in self.processes if one.is_hidden and one.version.name == version), None)

    def standing(self) -> Standing | None:
        """Where the flow stands by the ledger."""
        return self.ledger.standing(self.flow)

    def hold(self, title: str, epoch: int) -> None:
        """Let no leader forget its input from an epoch on, until `free` with this title."""
        self._holds.append((title, epoch))
        self._pass_holds_on()

    def free(self, title: str) -> None:
        """The end of a hold."""
        hold = next(hold for hold in self._holds if hold[0] == title)
        self._holds.remove(hold)
        self._pass_holds_on()

    def _hold_from(self) -> int | None:
        return min((epoch for _, epoch in self._holds), default=None)

    def _pass_holds_on(self) -> None:
        for process in self.processes:
            if process.is_alive and process.wish.get("hold_from") != self._hold_from():
                self.wish(process, hold_from=self._hold_from())

    def _supervise(self) -> None:
        """Start a process where nobody leads, after a while."""
        if self.leader() is not None:
            self._start_at = self.steps + self.chance.random.randint(1, 8)
        elif self.steps >= self._start_at:
            self._start_at = self.steps + 8
            standing = self.standing()
            version = self.versions.all[0]
            if standing is not None and standing.version:
                version = self.versions.named(standing.version)
            if standing is not None and standing.rewrite is not None:
                version = self.versions.named(standing.rewrite.version)
            if standing is not None and version.name in self._unfit:
                self._unfit.clear()
                self._deeds.append(rescue(self))
                return
            self.note(f"nobody leads: {self.start(version, 'lead')} starts")

    # --- people, the input, and faults --------------------------------------------------------------------------------

    def _people(self) -> None:
        random, rates = self.chance.random, self.chance.rates
        for deed in list(self._deeds):
            if random.random() < _GIVEN_UP and rates.people:
                self.note("a deed is given up half-way")
                self._deeds.remove(deed)
            elif next(deed, _OVER) is _OVER:
                self._deeds.remove(deed)
        if len(self._deeds) < _DEEDS_MAX and self.chance.happens(rates.people):
            begun = random.choices(list(DEEDS), weights=list(DEEDS.values()))[0]
            self._deeds.append(begun(self))

    def _grow(self) -> None:
        for given in self.inputs.values():
            given.grow(self.chance.random.choice((0, 1, 3, 10, 30)))

    def _trouble(self) -> None:
        random, rates = self.chance.random, self.chance.rates
        if self.chance.happens(rates.jump):
            by_us = random.choice((-1, 1)) * random.choice((1_000_000, 90_000_000, 7_200_000_000))
            self.clock.set_by(by_us)
            self.note(f"the clock is set by {by_us / 1e6:.0f}s")
        if self.chance.happens(rates.damage):
            named = [ref.file for ref in self.ledger.segments(self.flow)]
            named += [ref.file for one in self.ledger.savepoints(self.flow) for ref in one.segments]
            struck = self.damage.strike(named, random)
            if struck is not None:
                self.note(f"the disk {struck}")
        if self.chance.happens(rates.outage):
            table = random.choice(sorted({table for version in self.versions.all for table in version.tables.values()}))
            until_s = random.choice((0.05, 0.5, 3.0, 20.0))
            self._away_until_s[table] = self.clock.stopwatch_s() + until_s
            self.note(f"{table} is away for {until_s}s")
        if self.chance.happens(rates.loss):
            given = random.choice([self.inputs[name] for name in sorted(self.inputs)])
            self._lost.append((given, given.lose(random)))
            self.note("a source forgets too much")

    def is_there(self, epoch: int) -> bool:
        """Whether the input of an epoch, and so of all after it, can be read still."""
        for record in self.ledger.epochs(self.flow, first=epoch, last=epoch):
            inputs = {step: name for version in self.versions.all for step, name in version.inputs.items()}
            for step, entry in record.plan.ranges.items():
                given = self.inputs[inputs[step]]
                if any(int(entry["start"].get(part, 0)) < gone for part, gone in given.forgotten.items()):
                    return False
        return True

    def is_away(self, table: str) -> bool:
        """Whether a sink is away now."""
        return self.clock.stopwatch_s() < self._away_until_s.get(table, 0.0)

    def _bring_back(self) -> bool:
        """Restore what a source should not have forgotten."""
        found = bool(self._lost)
        while self._lost:
            given, before = self._lost.pop()
            given.restore(before)
        return found

    # --- what is seen -------------------------------------------------------------------------------------------------

    def new_line(self, version: Version, parent: Line | None, start: int) -> Line:
        """A line of state that begins here."""
        self._lines += 1
        return Line(self._lines, version, parent, start)

    def line_of(self, savepoint: Savepoint) -> Line | None:
        """The line whose state a savepoint names; None for the one before the first epoch."""
        return None if savepoint.id == BEGINNING.id else self._saved[savepoint.id]

    def saved(self, savepoint: Savepoint, line: Line | None = None) -> None:
        """A savepoint was made now: it names the state of the ledger, or that of another line."""
        line = line or self.live
        assert line is not None
        self._saved[savepoint.id] = line

    def sink_took(self, process: Process, written: Written) -> None:
        """A sink did what a process wanted."""
        self.taken.append(written)
        if written.upto is not None:
            self.note(f"{process} puts {written.table} {written.epoch}.. anew")

    def ledger_did(
        self, process: Process, call: str, arguments: tuple[Any, ...], named: Mapping[str, Any], answer: Any
    ) -> None:
        """The ledger did what a process wanted."""
        process.has_led = process.has_led or call in ("claim", "take_over")
        if call == "claim":
            self._claimed(process, answer)
        elif call == "take_over":
            self._taken_over(process, named["takeover"], answer.generation)
        elif call == "commit":
            self._committed(process, arguments[1])
        elif call == "finish_rewrite":
            self._rewritten(process, arguments[2])
        elif call == "savepoint":
            self.saved(answer)
            if process.line is None:  # a standby
                process.line = self.live

    def _claimed(self, process: Process, resume: Any) -> None:
        self.note(f"{process} claims generation {resume.generation}")
        if resume.rewrite is not None and resume.rewrite.version == process.version.name:
            there = (BEGINNING, *self.ledger.savepoints(self.flow))
            found = {one.id: one for one in there}.get(resume.rewrite.savepoint)
            if found is not None:
                process.line = self.new_line(process.version, self.line_of(found), found.epoch)
        elif self.live is None:
            process.line = self.live = self.new_line(process.version, None, 0)
        else:
            if self.live.version is not process.version:
                self.problems.append(f"{process} claimed the state of {self.live}")
            process.line = self.live

    def _taken_over(self, process: Process, takeover: Takeover, generation: int) -> None:
        kind = "the ledger's own state" if takeover.segments is None else f"its state of epoch {takeover.state_epoch}"
        self.note(f"{process} takes over as generation {generation} with {kind}")
        self.handovers += 1
        assert process.line is not None
        if takeover.rewrite is not None:
            return
        if takeover.segments is None:
            if process.line is not self.live:
                self.problems.append(f"{process} of {process.line} took over the state of {self.live}")
            return
        for one in self.ledger.savepoints(self.flow):
            if one.id not in self._saved:
                self.saved(one)
        self.live = process.line

    def _committed(self, process: Process, record: EpochRecord) -> None:
        rows = sum(record.rows_in.values())
        self.note(f"{process} commits {record.epoch} as generation {record.generation}: {rows} rows")
        self.commits.append((record.epoch, record.generation))
        assert process.line is not None
        self.owners[record.epoch] = self.live = process.line

    def _rewritten(self, process: Process, rewrite: Rewrite) -> None:
        self.note(f"{process} ends the undo of {rewrite.first}..{rewrite.upto}")
        self.undos += 1
        assert process.line is not None
        self.live = process.line
        for epoch in range(rewrite.first, rewrite.upto + 1):
            self.owners[epoch] = process.line

    # --- errors -------------------------------------------------------------------------------------------------------

    def judge_error(self, process: Process, error: PenstockError) -> None:
        """Note a problem where a process ends with an error that nothing here accounts for."""
        text = error.message
        if isinstance(error, CorruptState) or "began from are gone" in text:
            named = [file for file in self.damage.ever if file in str(error)]
            if named:
                self.damage.mend(named)
                return
            if process.is_hidden:  # who leads let go of files that it shared
                return
        elif "simulated" in text or isinstance(error, (Fenced, FlowBusy, MigrationFailed)):
            return
        elif isinstance(error, ConnectorError) and "are forgotten" in text:
            if self._bring_back() or process.role == "follow" or self.options.hold_s < _NEVER_S:
                return
        elif isinstance(error, (StepFailed, CheckFailed)) and process.version.number > 1:
            if process.has_led:
                self._unfit.add(process.version.name)
            return
        elif isinstance(error, LedgerError) and any(known in text for known in _KNOWN):
            return
        self.problems.append(f"{process} ended with {type(error).__name__}: {error}")


_KNOWN: Sequence[str] = (
    "the disk is full",
    "are taken back by an undo",
    "because a takeover was interrupted",
    "can't be taken over",
    "can't be written anew",
    "this process can't do the undo",
    "this process left out letters",
    "is under way",
    "leads with a state of its own",
    "is gone",
)
