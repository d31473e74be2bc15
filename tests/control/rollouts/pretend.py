"""A machine that is pretended: members that lead and follow over a real SQLite ledger, one small deed a tick.

A member does what the engine's does to the ledger, with one number for rows: `right` or `wrong`, as its version gives
it. Its sources forget what was committed and is not held. A supervisor restarts leaders; a server may die anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import polars as pl

from penstock.clock import ManualClock
from penstock.connect import Change
from penstock.control.rollouts.driver import Driver
from penstock.control.rollouts.opening import NOTHING
from penstock.control.rollouts.plans import Ask, Manner, Situation, build_plan
from penstock.control.rollouts.stages import plan_to_json
from penstock.control.rollouts.world import Evidence, Launch
from penstock.control.supervising.ends import End, Outcome
from penstock.control.supervising.standing import is_leader
from penstock.errors import Fenced, FlowBusy
from penstock.ledger import (
    Deployment,
    DeploymentStatus,
    Desired,
    EpochPlan,
    EpochRecord,
    Ledger,
    Member,
    Takeover,
    Want,
    open_ledger,
)
from penstock.ledger import Rewrite as Rewriting

FLOW = "orders"
OLD, NEW = "0ld0", "2e42"
TICK_S = 0.1


class ServerDied(BaseException):
    """The server was killed here."""


class Died(Exception):
    """The process of a member ended by an error."""


@dataclass
class Behaviour:
    """What a version is like. `dies`: point -> how often it dies there at most; points are names, or `epoch:N`.

    `counts_each`: it tells of its counts only at each so many epochs. `stuck`: as a leader it commits nothing, though
    input `waits`, or because none does.
    """

    rows: str = "right"
    check: str = ""
    compatible: bool = True
    speed: int = 5
    counts_each: int = 1
    stuck: bool = False
    waits: bool = True
    dies: dict[str, int] = field(default_factory=dict)

    def reach(self, point: str) -> None:
        """Come to a point, and perhaps no further."""
        if self.dies.get(point, 0) > 0:
            self.dies[point] -= 1
            raise Died(point)


@dataclass
class Process:
    """One member: its state is here, what others know of it is in the ledger."""

    id: str
    version: str
    behaviour: Behaviour
    role: str
    epoch: int
    start_epoch: int
    state: str = "loading"
    generation: int | None = None
    refused: Any = None
    wish: Mapping[str, Any] = field(default_factory=dict)
    spill: dict[int, str] = field(default_factory=dict)
    takeover: Any = None
    rewrite: Rewriting | None = None
    frozen: bool = False

    @property
    def holder(self) -> str:
        """By which words the ledger knows that it leads."""
        return f"{self.id} (process 1)"


class Kept:
    """The spill of a process, as a driver reads it."""

    def __init__(self, spill: Mapping[int, str]) -> None:
        self._spill = spill

    def epochs(self) -> list[int]:
        """The epochs that are there."""
        return sorted(self._spill)

    def read(self, epoch: int) -> dict[str, Change]:
        """One row for the one sink."""
        return {"sink": Change(pl.DataFrame({"row": [self._spill[epoch]]}))}


class Differences:
    """Counts epochs that differ."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.different = 0

    def feed(self, epoch: int, old: Mapping[str, Change], new: Mapping[str, Change]) -> None:
        """Compare one epoch."""
        self.epochs.append(epoch)
        self.different += not old["sink"].rows.equals(new["sink"].rows)

    def report(self) -> dict[str, Any]:
        """What was found."""
        return {"epochs": len(self.epochs), "different": self.different, "last": max(self.epochs, default=0)}


class Machine:
    """All processes, the sink, the source, the supervisor, and the world that a driver sees."""

    def __init__(self, folder: Path, **versions: Behaviour) -> None:
        self.clock = ManualClock()
        self.ledger: Ledger = open_ledger(folder, env="dev", clock=self.clock)
        self.versions = {"old": Behaviour(), "new": Behaviour(), **versions}
        self.processes: dict[str, Process] = {}
        self.sink: dict[int, tuple[str, str]] = {}
        self.fence = 0
        self.forgotten = 0
        self.retention = 0
        """How many epochs the source remembers though it may forget them."""
        self.chores: dict[str, int] = {}
        self.wrongs: list[str] = []
        self.judged_by: list[Evidence] = []
        self.judgement: Mapping[str, Any] = {"passed": True, "reasons": []}
        self.started = 0
        self.fuse: Callable[[str], None] = lambda _: None

    def behaviour(self, version: str) -> Behaviour:
        """What a version is like."""
        return self.versions[{OLD: "old", NEW: "new"}.get(version, version)]

    # --- the world of the driver --------------------------------------------------------------------------------------

    def start(self, launch: Launch) -> None:
        """Start a follower; it is in the ledger on return."""
        wish = {"role": "follow", "owner": launch.owner, "part": launch.part, **launch.wish}
        savepoints = {one.id: one for one in self.ledger.savepoints(FLOW)}
        epoch = 0 if launch.savepoint == NOTHING else savepoints[launch.savepoint].epoch
        self._join(launch.version, "follow", epoch, wish)

    def _join(self, version: str, role: str, epoch: int, wish: Mapping[str, Any]) -> None:
        self.started += 1
        name = f"m{self.started}"
        self.processes[name] = Process(name, version, self.behaviour(version), role, epoch, epoch, wish=wish)
        facts = {"role": "starting", "state": "loading"}
        joined_us = self.clock.now_us() + self.started
        self.ledger.join(Member(name, FLOW, version, 1, "here", "s", wish=wish, facts=facts, joined_us=joined_us))

    def kill(self, member: Member) -> None:
        """End a process at once."""
        if member.id in self.processes:
            self.end(self.processes[member.id], Outcome.KILLED, "SIGKILL")

    def chore(self, key: str, job: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Answers the second time that it is asked."""
        self.chores[key] = self.chores.get(key, 0) + 1
        if self.chores[key] < 2:
            return None
        message = self.behaviour(str(job["version"])).check if job["kind"] == "check" else ""
        error = {"code": "definition", "message": message}
        if job["kind"] == "check" and job["input_from"] is not None:
            there = job["input_from"] > self.forgotten
            return {"ok": True, "input": {"in": {"there": there, "message": "" if there else "it begins later now"}}}
        return {"ok": not message, **({"error": error} if message else {"steps": 3})}

    def drop_chore(self, key: str) -> None:
        """Forget it."""
        self.chores.pop(key, None)

    def verdict(self, flow: str, old: str, new: str) -> Mapping[str, Any]:
        """As the version is."""
        compatible = self.behaviour(new).compatible
        return {"compatible": compatible, "reasons": [] if compatible else ["the key of totals changed"]}

    def outputs(self, member: Member) -> Kept | None:
        """The spill."""
        return Kept(self.processes[member.id].spill) if member.id in self.processes else None

    def comparison(self, flow: str, old: str, new: str) -> Differences:
        """A new one."""
        return Differences()

    def judge(self, evidence: Evidence) -> Mapping[str, Any]:
        """Passed where nothing differs."""
        self.judged_by.append(evidence)
        different = (evidence.diff or {}).get("different", 0)
        reasons = [f"{different} epochs differ"] if different else []
        return {"passed": not different, "reasons": reasons, "diff": evidence.diff}

    def judge_watch(self, evidence: Evidence) -> Mapping[str, Any]:
        """What the test says."""
        return self.judgement

    # --- the supervisor -----------------------------------------------------------------------------------------------

    def supervise(self) -> None:
        """Start a leader where none is, and stop whom nobody owns."""
        desired = self.ledger.operations.desired(FLOW)
        members = list(self.ledger.members(FLOW))
        running = self.ledger.operations.deployments(FLOW, running=True)
        if desired is None:
            return
        if desired.want is Want.STOPPED:
            for member in members:
                self.ledger.wish(FLOW, member.id, {**member.wish, "role": "stop"})
            return
        leaders = [member for member in members if is_leader(member)]
        if not leaders and not any(one.facts.get("holds") for one in running):
            standing = self.ledger.standing(FLOW)
            if standing is not None and standing.version != desired.version:
                self.wrongs.append(f"{desired.version} was started on the state of {standing.version}")
            self._join(desired.version, "lead", 0, {"role": "lead", "owner": "supervisor"})
        if leaders and not running:
            for member in members:
                if member.id not in {one.id for one in leaders}:
                    self.ledger.wish(FLOW, member.id, {**member.wish, "role": "stop"})

    # --- members ------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let time pass, and every process do something."""
        self.clock.sleep(TICK_S)
        for process in list(self.processes.values()):
            if process.frozen:
                continue
            process.wish = self.ledger.wish_of(FLOW, process.id)
            try:
                self._act(process)
            except Died as death:
                self.end(process, Outcome.FAILED, str(death))
                continue
            except Fenced:
                self._step_down(process)
            if process.id in self.processes:
                self.ledger.tell(FLOW, process.id, self._facts(process))

    def end(self, process: Process, outcome: Outcome, why: str) -> None:
        """A process is gone."""
        standing = self.ledger.standing(FLOW)
        led = process.wish.get("role") != "follow"
        epoch = 1 if standing is None else standing.last_epoch + 1
        end = End(outcome, why, epoch=epoch, working=True, at_us=self.clock.now_us(), led=led)
        facts = self._facts(process)
        if outcome is Outcome.FAILED:
            facts = {**facts, "role": "failed", "error": {"code": "step", "message": why, "step": "clean"}}
        self.ledger.tell(FLOW, process.id, {**facts, "exit": end.as_dict()})
        self.ledger.leave(FLOW, process.id, end.cause)
        del self.processes[process.id]

    def _facts(self, process: Process) -> dict[str, Any]:
        standing = self.ledger.standing(FLOW)
        leading = process.generation is not None
        return {
            "role": "leading" if leading else "following" if process.state != "loading" else "starting",
            "state": process.state,
            "generation": process.generation,
            "epoch": process.epoch,
            "counted_epoch": process.epoch - process.epoch % process.behaviour.counts_each,
            "lag": 0 if standing is None else max(0, standing.last_epoch - process.epoch),
            "start_epoch": process.start_epoch,
            "beat_us": self.clock.now_us(),
            "spill": "here" if process.wish.get("spill") or process.role == "follow" else None,
            "migrated": {"totals": 10} if process.version == NEW else {},
            "takeover": process.takeover,
            "waits": process.behaviour.waits if leading else None,
            "refused": process.refused,
        }

    def _act(self, process: Process) -> None:
        if process.wish.get("role") == "stop":
            self.end(process, Outcome.STOPPED, "stopped as asked")
        elif process.state == "loading":
            process.behaviour.reach("loading")
            if process.role == "lead":
                self._claim(process)
            else:
                process.state = "catching-up"
        elif process.rewrite is not None:
            self._rewrite(process)
        elif process.generation is not None:
            self._lead(process)
        else:
            self._follow(process)

    def _claim(self, process: Process) -> None:
        resume = self.ledger.claim(FLOW, version=process.version, holder=process.holder)
        process.behaviour.reach("claimed")
        process.generation = self.fence = resume.generation
        process.epoch = process.start_epoch = 0 if resume.last is None else resume.last.epoch
        process.state = "leading"
        if resume.rewrite is not None:
            assert resume.rewrite.version == process.version, "only the good version may finish an undo"
            begin = {one.id: one.epoch for one in self.ledger.savepoints(FLOW)}.get(resume.rewrite.savepoint, 0)
            for epoch in range(begin + 1, process.epoch + 1):
                self._run(process, epoch)
            process.rewrite, process.state = resume.rewrite, "rewriting"

    def _lead(self, process: Process) -> None:
        assert process.generation is not None
        if process.wish.get("paused") or process.behaviour.stuck:
            return
        epoch = process.epoch + 1
        process.behaviour.reach(f"epoch:{epoch}")
        process.behaviour.reach("leading")
        standing = self.ledger.standing(FLOW)
        assert standing is not None
        plan = standing.planned or EpochPlan(epoch, {"in": {"start": epoch - 1, "end": epoch}}, epoch, epoch)
        if standing.planned is None:
            self.ledger.plan(FLOW, process.generation, plan)
        if process.generation < self.fence:
            raise Fenced("fenced", flow=FLOW)
        self.sink[epoch] = (process.version, process.behaviour.rows)
        self.ledger.commit(FLOW, self._record(process, plan, process.generation))
        process.epoch = epoch
        if process.wish.get("spill"):
            process.spill[epoch] = process.behaviour.rows
        else:
            process.spill.clear()
        hold_from = process.wish.get("hold_from")
        if hold_from is None or epoch < hold_from:
            self.forgotten = max(self.forgotten, epoch - self.retention)
        if process.takeover and not process.takeover.get("first_commit_us"):
            process.takeover["first_commit_us"] = self.clock.now_us()

    def _record(self, process: Process, plan: EpochPlan, generation: int) -> EpochRecord:
        return EpochRecord(plan.epoch, generation, process.version, plan, rows_in={"in": 1}, rows_out={"sink": 1})

    def _run(self, process: Process, epoch: int) -> None:
        if epoch <= self.forgotten:
            raise Died(f"the input of epoch {epoch} is gone")
        process.behaviour.reach("run")
        process.behaviour.reach(f"epoch:{epoch}")
        process.epoch = epoch
        process.spill[epoch] = process.behaviour.rows

    def _follow(self, process: Process) -> None:
        standing = self.ledger.standing(FLOW)
        assert standing is not None
        if standing.rewrite is not None:
            raise Died("the epochs that this process followed are taken back by an undo")
        until = process.wish.get("until")
        goal = standing.last_epoch if until is None else min(until, standing.last_epoch)
        for epoch in range(process.epoch + 1, min(goal, process.epoch + process.behaviour.speed) + 1):
            self._run(process, epoch)
        lag = standing.last_epoch - process.epoch
        process.state = (
            "done" if until is not None and process.epoch >= until else "ready" if lag <= 2 else "catching-up"
        )
        if process.wish.get("role") == "lead" and process.wish.get("expected") is not None and lag <= 2:
            self._take_over(process)

    def _take_over(self, process: Process) -> None:
        if process.refused == process.wish:
            return
        process.behaviour.reach("before-takeover")
        given = process.wish.get("rewrite")
        rewrite = None if given is None else Rewriting(**given)
        standing = self.ledger.standing(FLOW)
        assert standing is not None
        takeover = Takeover(
            process.wish["expected"], process.epoch, min(process.epoch, standing.last_epoch), (), rewrite
        )
        now_us = self.clock.now_us()
        try:
            resume = self.ledger.take_over(FLOW, version=process.version, holder=process.holder, takeover=takeover)
        except FlowBusy:
            process.refused = process.wish
            return
        process.behaviour.reach("after-takeover")
        process.generation = self.fence = resume.generation
        process.state, process.rewrite = "leading", resume.rewrite
        process.takeover = {"asked_us": now_us, "fenced_us": now_us, "opened_us": 0, "first_commit_us": 0}
        if process.rewrite is None:
            for epoch in range(process.epoch + 1, standing.last_epoch + 1):
                self._run(process, epoch)
        else:
            process.state = "rewriting"

    def _rewrite(self, process: Process) -> None:
        rewrite = process.rewrite
        assert rewrite is not None
        assert process.generation is not None
        for epoch in range(process.epoch + 1, rewrite.upto + 1):
            self._run(process, epoch)
        records = []
        for record in self.ledger.epochs(FLOW, first=rewrite.first, last=rewrite.upto):
            self.sink[record.epoch] = (process.version, process.spill[record.epoch])
            process.behaviour.reach("rewriting")
            records.append(replace(self._record(process, record.plan, process.generation), committed_us=0))
        self.ledger.finish_rewrite(FLOW, process.generation, rewrite, records, ())
        process.rewrite, process.state = None, "leading"
        if process.takeover:
            process.takeover["opened_us"] = self.clock.now_us()

    def _step_down(self, process: Process) -> None:
        standing = self.ledger.standing(FLOW)
        if standing is not None and standing.rewrite is not None:
            self.end(process, Outcome.FENCED, "fenced")
            return
        process.generation, process.state, process.role = None, "catching-up", "follow"
        process.start_epoch = process.epoch
        process.takeover = None

    # --- what a test does ---------------------------------------------------------------------------------------------

    def run_old(self, epochs: int) -> None:
        """Let the old version lead and commit so many epochs."""
        self.ledger.operations.desire(Desired(FLOW, Want.RUNNING, OLD, who="ann"))
        while self.last_epoch < epochs:
            self.supervise()
            self.tick()

    @property
    def last_epoch(self) -> int:
        """The last committed epoch."""
        standing = self.ledger.standing(FLOW)
        return 0 if standing is None else standing.last_epoch

    def run_on(self, epochs: int) -> None:
        """Let whoever leads commit so many epochs more."""
        goal = self.last_epoch + epochs
        while self.last_epoch < goal:
            self.supervise()
            self.tick()

    def situation(self) -> Situation:
        """Where the flow is, for a plan."""
        standing = self.ledger.standing(FLOW)
        running = any(is_leader(member) for member in self.ledger.members(FLOW))
        return Situation(FLOW, standing, running, tuple(self.ledger.savepoints(FLOW)))

    def begin(self, ask: Ask, manner: Manner | None = None, *, kind: str = "deploy", who: str = "ben") -> str:
        """Begin a deployment; gives its id."""
        plan = build_plan(self.situation(), ask, manner or Manner(6, None, watch_s=2.0, approve="policy"))
        standing = self.ledger.standing(FLOW)
        name = f"{kind}-{len(self.ledger.operations.deployments()) + 1}"
        old = "" if standing is None else standing.version
        self.ledger.operations.begin_deployment(
            Deployment(name, FLOW, kind, old, getattr(ask, "version", ""), plan_to_json(plan), who=who)
        )
        return name

    def deployment(self, name: str) -> Deployment:
        """A deployment as the ledger knows it."""
        found = self.ledger.operations.deployment(name)
        assert found is not None
        return found

    def members_of(self, version: str) -> list[Process]:
        """The processes of a version that are there."""
        return [process for process in self.processes.values() if process.version == version]


MUTATING = frozenset(
    {"wish", "savepoint", "drop_savepoints", "advance_deployment", "desire", "note", "start", "kill", "chore"}
)


class Fused:
    """Stands before a ledger, its operations or a world, and tells the fuse before and after whatever changes them."""

    def __init__(self, behind: Any, fuse: Callable[[str], None]) -> None:
        self._behind = behind
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._behind, name)
        if name == "operations":
            return Fused(found, self._fuse)
        if name not in MUTATING:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._fuse(f"before {name}")
            answer = found(*args, **kwargs)
            self._fuse(f"after {name}")
            return answer

        return call


class Fuse:
    """Kills the server at the n-th place where it can die; counts them all."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0
        self.place = ""

    def __call__(self, place: str) -> None:
        """Come to a place."""
        self.count += 1
        if self.count == self.at:
            self.place = place
            raise ServerDied(place)


@dataclass
class Server:
    """The supervisor and the driver; after a death everything that it knew is new."""

    machine: Machine
    fuse: Fuse = field(default_factory=Fuse)
    rebuilt: bool = False
    """Whether the driver is a new one at each step."""
    hurries: bool = False
    """What the driver's last step gave."""
    _driver: Driver | None = None

    def step(self) -> None:
        """One step of the supervisor, then one of the driver, as the server does it."""
        try:
            self.machine.supervise()
            if self._driver is None or self.rebuilt:
                ledger = cast("Ledger", Fused(self.machine.ledger, self.fuse))
                self._driver = Driver(ledger, cast("Any", Fused(self.machine, self.fuse)), self.machine.clock)
            self.hurries = self._driver.step()
        except ServerDied:
            self._driver = None
            self.machine.chores.clear()

    def run(
        self, deployment: str, each: Callable[[Deployment], None] = lambda _: None, *, steps: int = 600
    ) -> Deployment:
        """Step until the deployment has ended; `each` is called before every tick."""
        for _ in range(steps):
            self.step()
            found = self.machine.deployment(deployment)
            if found.status is not DeploymentStatus.RUNNING:
                return found
            each(found)
            self.machine.tick()
        raise AssertionError(f"not over after {steps} steps: {found.stage} {found.facts}")


def check_whole(server: Server, deployment: str) -> Deployment:
    """What holds after every deployment, however it ended: see the assertions."""
    machine = server.machine
    found = machine.deployment(deployment)
    assert found.status is not DeploymentStatus.RUNNING
    for _ in range(8):
        server.step()
        machine.tick()
    standing, desired = machine.ledger.standing(FLOW), machine.ledger.operations.desired(FLOW)
    assert standing is not None
    assert desired is not None
    leaders = [process for process in machine.processes.values() if process.generation is not None]
    assert [(one.version, one.holder) for one in leaders] == [(standing.version, standing.holder)], "one leads"
    assert list(machine.processes) == [leaders[0].id], "nobody else is there"
    assert desired.version == standing.version, "the version that leads is the one that would be started"
    assert found.receipt["leads"] == standing.version, "the receipt says which version leads"
    assert not [one for one in machine.ledger.savepoints(FLOW) if one.pinned], "nothing is pinned"
    wish = machine.ledger.wish_of(FLOW, leaders[0].id)
    assert not wish.get("hold_from"), "nothing is held"
    assert wish.get("spill") is None, "nothing is spilled"
    assert wish.get("spill_from") is None, "and no spill is thinned"
    assert machine.wrongs == []
    records = machine.ledger.epochs(FLOW)
    assert [record.epoch for record in records] == list(range(1, standing.last_epoch + 1))
    assert {record.epoch: record.version for record in records} == {
        epoch: version for epoch, (version, _) in machine.sink.items() if epoch <= standing.last_epoch
    }, "the sink holds each epoch once, by the version that the ledger says"
    assert machine.forgotten >= standing.last_epoch - machine.retention - 1, "the sources forget again"
    return found


def stages_of(found: Deployment) -> Sequence[str]:
    """The names of the stages that were begun, in order."""
    begun = {
        name: fact["began_us"] for name, fact in found.facts.items() if isinstance(fact, Mapping) and "began_us" in fact
    }
    planned = [stage["stage"] for stage in found.plan]
    return sorted(begun, key=lambda name: (int(begun[name]), planned.index(name) if name in planned else len(planned)))
