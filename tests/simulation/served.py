"""A life with the real driver of handovers: people ask, it does, its server dies; a pretended supervisor restarts.

Everything else is as in the other lives: the real engine and ledger, processes that are killed and frozen, faults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from penstock.connect import Change
from penstock.control.rollouts.driver import Driver
from penstock.control.rollouts.opening import NOTHING
from penstock.control.rollouts.plans import Ask, Deploy, Manner, Rollback, Situation, Undo, build_plan
from penstock.control.rollouts.stages import plan_to_json
from penstock.control.rollouts.world import Evidence, Launch
from penstock.control.supervising.crew import SUPERVISOR
from penstock.control.supervising.ends import End, Outcome
from penstock.control.supervising.standing import is_leader
from penstock.engine import SpillReader
from penstock.errors import FlowBusy
from penstock.ledger import BEGINNING, Deployment, Desired, Ledger, Member, Savepoint, Want
from penstock.testing.simulation.ledgers import watched
from penstock.testing.simulation.process import Process
from penstock.testing.simulation.versions import Version
from penstock.testing.simulation.world import World
from tests.control.rollouts.pretend import Differences, Fused, ServerDied

__all__ = ["ServedWorld"]

WATCH_S = 1.5
SHADOW_EPOCHS = 3
SERVER_DIES = 1 / 120
LAST_STEPS = 400


@dataclass
class ServedWorld(World):
    """The world of a run whose handovers are the driver's."""

    driver: Driver | None = None
    asked: list[str] = field(default_factory=list)
    """The deployments that people began."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.served = watched(self.ledger, _Served(self))
        self.machine = _Machine(self)
        self.quiet = False
        """Nobody asks for anything any more, and the server lives."""
        self.alone = False
        """The server is gone, and the run comes to its end as any other."""

    # --- the supervisor -----------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        if self.alone:
            super()._supervise()
            return
        if self.steps % 3:
            return
        operations = self.ledger.operations
        desired = operations.desired(self.flow)
        if desired is None:
            operations.desire(Desired(self.flow, Want.RUNNING, self.versions.all[0].name, who="ann"))
            return
        members = list(self.ledger.members(self.flow))
        running = operations.deployments(self.flow, running=True)
        leaders = [member for member in members if is_leader(member)]
        if not leaders and not any(one.facts.get("holds") for one in running):
            process = self.start(self.versions.named(desired.version), "lead", wish={"owner": SUPERVISOR})
            self.note(f"nobody leads: {process} starts")
        if leaders and not running:
            for member in members:
                if member.id not in {one.id for one in leaders} and member.wish.get("role") != "stop":
                    self.ledger.wish(self.flow, member.id, {**member.wish, "role": "stop"})

    def start(
        self,
        version: Version,
        role: str,
        *,
        savepoint: Savepoint | None = None,
        record_from: int | None = None,
        wish: Mapping[str, Any] | None = None,
    ) -> Process:
        """Start a process with a wish of its owner."""
        process = super().start(version, role, savepoint=savepoint, record_from=record_from)
        process.wish = {**{key: value for key, value in process.wish.items() if key != "hold_from"}, **(wish or {})}
        self.ledger.wish(self.flow, process.name, process.wish)
        return process

    def wish(self, process: Process, **changes: Any) -> None:
        """Lay changes over what is wished."""
        process.wish = {**self.ledger.wish_of(self.flow, process.name), **changes}
        self.ledger.wish(self.flow, process.name, process.wish)

    def told(self, process: Process) -> None:
        """The driver reads facts in the ledger."""
        self.ledger.tell(self.flow, process.name, process.facts)

    def ended(self, process: Process) -> None:
        """The supervisor notes how a process ended."""
        wish = self.ledger.wish_of(self.flow, process.name)
        standing = self.standing()
        outcome = {"killed": Outcome.KILLED, "stopped as asked": Outcome.STOPPED}.get(process.ended, Outcome.FAILED)
        if process.ended == "the input has ended":
            outcome = Outcome.FINISHED
        epoch = 1 if standing is None else standing.last_epoch + 1
        led = wish.get("role") != "follow" and process.facts.get("role") != "following"
        end = End(outcome, process.ended, epoch=epoch, working=True, at_us=self.clock.now_us(), led=led)
        self.ledger.tell(self.flow, process.name, {**process.facts, "exit": end.as_dict()})
        super().ended(process)

    # --- people and the server ----------------------------------------------------------------------------------------

    def _people(self) -> None:
        if self.alone:
            super()._people()
            return
        random = self.chance.random
        running = self.ledger.operations.deployments(self.flow, running=True)
        if not self.quiet and self.chance.happens(self.chance.rates.people, 0.1 if running else 0.5):
            self._ask(running)
        if not running or random.random() < 0.4:
            return
        if self.driver is None:
            fused = Fused(self.machine, self._fuse)
            self.driver = Driver(cast("Ledger", Fused(self.served, self._fuse)), cast("Any", fused), self.clock)
        before = {one.id: one.stage for one in running}
        try:
            self.driver.step()
        except ServerDied as died:
            self.note(f"the server dies {died}")
            self.driver = None
            self.machine.chores.clear()
        for name, stage in before.items():
            found = self.ledger.operations.deployment(name)
            if found is not None and (found.stage, found.status.value) != (stage, "running"):
                told = found.receipt.get("why") or "" if found.status.value != "running" else ""
                self.note(f"{name} is at {found.stage}: {found.status.value} {told}")

    def _grow(self) -> None:
        """Handovers by the driver take longer: the input lasts longer."""
        if self.chance.happens(0.4):
            super()._grow()

    def _fuse(self, place: str) -> None:
        if not self.quiet and self.chance.happens(SERVER_DIES if self.chance.rates.people else 0):
            raise ServerDied(place)

    def _ask(self, running: Sequence[Deployment]) -> None:
        """Somebody wants something; where something is under way, it is refused, or that is taken back."""
        random, standing = self.chance.random, self.standing()
        if standing is None or standing.last_epoch == 0:
            return
        if running and self.chance.happens(0.5):
            facts = {"rollback_asked": {"who": "eve", "why": "never mind"}}
            self.note(f"somebody takes {running[0].id} back")
            self.ledger.operations.advance_deployment(running[0].id, facts=facts)
            return
        version = random.choice(self.versions.all).name
        epoch = random.randint(max(0, standing.last_epoch - 8), standing.last_epoch)
        ask: Ask = random.choice((Deploy(version), Deploy(version), Rollback(version), Undo(epoch, version)))
        alive = any(is_leader(member) for member in self.ledger.members(self.flow))
        situation = Situation(self.flow, standing, alive, tuple(self.ledger.savepoints(self.flow)))
        manner = Manner(random.choice((0, SHADOW_EPOCHS)), None, random.choice((0.0, WATCH_S)), "policy")
        plan = build_plan(situation, ask, manner)
        if not plan:
            return
        kind = type(ask).__name__.lower()
        name = f"{kind}-{len(self.asked) + 1}"
        try:
            self.ledger.operations.begin_deployment(
                Deployment(name, self.flow, kind, standing.version, version, plan_to_json(plan), who="ben")
            )
        except FlowBusy:
            self.note(f"{kind} {version} is refused: {running[0].id} is under way")
            return
        self.asked.append(name)
        self.note(f"{name} of {version} is asked for: {ask}")

    def settle(self, steps: int) -> None:
        """First everything that was asked for comes to its end."""
        self.quiet = True
        self.chance.calm()
        self.damage.mend(self.damage.files)
        self._bring_back()
        for one in self.ledger.operations.deployments(self.flow, running=True):
            # It may wait for input that does not come any more.
            self.ledger.operations.advance_deployment(one.id, facts={"rollback_asked": {"who": "the end"}})
        last = self.steps + LAST_STEPS
        while self.ledger.operations.deployments(self.flow, running=True) and not self.problems:
            if self.steps > last:
                found = self.ledger.operations.deployments(self.flow, running=True)[0]
                self.problems.append(f"{found.id} does not end: {found.stage} {found.facts}")
            self.step()
        self._check_ends()
        self.alone = True
        super().settle(steps)

    def _check_ends(self) -> None:
        """However it all ended, one version is the one that leads and would be started; nothing is kept for nobody."""
        standing, desired = self.standing(), self.ledger.operations.desired(self.flow)
        if self.problems or standing is None or desired is None or not self.asked:
            return
        if desired.version != standing.version:
            self.problems.append(f"{standing.version} leads, {desired.version} would be started")
        pinned = [one.why for one in self.ledger.savepoints(self.flow) if one.pinned]
        if pinned:
            self.problems.append(f"savepoints are pinned still: {pinned}")
        last = self.ledger.operations.deployment(self.asked[-1])
        if last is not None and last.receipt.get("leads") not in (standing.version, None):
            self.problems.append(f"the receipt of {last.id} says that {last.receipt.get('leads')} leads")


class _Served:
    """Notes what the driver does to the ledger."""

    def __init__(self, world: ServedWorld) -> None:
        self._world = world

    def asks(self, call: str) -> None:
        """Nothing is refused."""

    def answered(self, call: str) -> None:
        """No answer is lost; its server dies instead."""

    def done(self, call: str, arguments: tuple[Any, ...], named: dict[str, Any], answer: Any) -> None:
        """A savepoint names the state of the ledger, or that of another savepoint."""
        if call == "savepoint":
            of = named.get("of")
            line = None if of is None else self._world.line_of(replace(answer, id=of))
            self._world.saved(answer, line)


class _Machine:
    """The machine as the driver sees it."""

    def __init__(self, world: ServedWorld) -> None:
        self._world = world
        self.chores: dict[str, int] = {}

    def start(self, launch: Launch) -> None:
        """A process that follows."""
        world = self._world
        found = {one.id: one for one in (BEGINNING, *world.ledger.savepoints(world.flow))}
        savepoint = found[launch.savepoint] if launch.savepoint != NOTHING else BEGINNING
        wish = {"role": "follow", "owner": launch.owner, "part": launch.part, **launch.wish}
        version = world.versions.named(launch.version)
        process = world.start(version, "follow", savepoint=savepoint, record_from=launch.record_from, wish=wish)
        world.note(f"{launch.owner}: {process} follows from epoch {savepoint.epoch} as {launch.part}")

    def kill(self, member: Member) -> None:
        """End a process."""
        for process in self._world.processes:
            if process.name == member.id:
                process.kill("by the driver")

    def chore(self, key: str, job: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Answers the second time that it is asked."""
        self.chores[key] = self.chores.get(key, 0) + 1
        if self.chores[key] < 2:
            return None
        if job["kind"] == "check" and job["input_from"] is not None:
            there = self._world.is_there(int(job["input_from"]))
            return {"ok": True, "input": {"rows": {"there": there, "message": "" if there else "it is gone"}}}
        return {"ok": True, "steps": 3}

    def drop_chore(self, key: str) -> None:
        """Forget it."""
        self.chores.pop(key, None)

    def verdict(self, flow: str, old: str, new: str) -> Mapping[str, Any]:
        """The real one."""
        versions = self._world.versions
        verdict = versions.verdict(versions.named(old), versions.named(new))
        return {"compatible": verdict.is_compatible, "reasons": [one.table for one in verdict.refused]}

    def outputs(self, member: Member) -> SpillReader | None:
        """The spill."""
        folder = member.facts.get("spill")
        return SpillReader(Path(folder)) if folder else None

    def comparison(self, flow: str, old: str, new: str) -> _Counted:
        """Counts epochs."""
        return _Counted()

    def judge(self, evidence: Evidence) -> Mapping[str, Any]:
        """Mostly yes."""
        passed = self._world.chance.happens(0.8)
        return {"passed": passed, "reasons": [] if passed else ["somebody does not like it"], "diff": evidence.diff}

    def judge_watch(self, evidence: Evidence) -> Mapping[str, Any]:
        """Mostly yes."""
        passed = not self._world.chance.happens(0.1)
        return {"passed": passed, "reasons": [] if passed else ["somebody does not like it"]}


class _Counted(Differences):
    """How many epochs differ in any table."""

    def feed(self, epoch: int, old: Mapping[str, Change], new: Mapping[str, Change]) -> None:
        """Compare one epoch."""
        self.epochs.append(epoch)
        self.different += set(old) != set(new)
