"""A machine without processes: members are values that act when the test lets them, in simulated time.

The ledger and the supervisor are the real ones. Members follow the protocol of `penstock.control.member`: they claim,
plan, commit, follow, take over, tell facts and obey wishes.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from penstock.clock import ManualClock
from penstock.control import Environment, Limits, RestartPolicy, Settings, project_for
from penstock.control.supervising.crew import Crew, working_tree
from penstock.control.supervising.launching import Launcher
from penstock.control.supervising.presence import Presence
from penstock.control.supervising.processes import Ended
from penstock.control.supervising.standing import is_leader
from penstock.control.supervising.supervisor import Duty, Supervisor
from penstock.errors import Fenced, FlowBusy
from penstock.ledger import EpochPlan, EpochRecord, Ledger, Member, Takeover, open_ledger

__all__ = ["Machine", "Process", "World", "world"]


@dataclass
class Process:
    """One pretended process. `frozen`: it does nothing. `work`: epochs until it has drained."""

    pid: int
    job: Mapping[str, Any] | None = None
    code: int | None = None
    frozen: bool = False
    phase: str = "loading"
    generation: int = 0
    since_us: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    work: int = 0

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.code is None


class Machine:
    """The processes of one machine, as `Processes` shows them to one server; they outlive it."""

    def __init__(self) -> None:
        self.host = "sim"
        self.work = 3
        self.all: dict[int, Process] = {}
        self.children: set[int] = set()
        self.watched: set[int] = set()
        self.nice: dict[int, int] = {}

    def spawn(self, command: Sequence[str], *, log: Path, folder: Path, variables: Mapping[str, str]) -> int:
        """A new process that waits for its job."""
        pid = 1000 + len(self.all)
        self.all[pid] = Process(pid, work=self.work)
        self.children.add(pid)
        self.watched.add(pid)
        return pid

    def give(self, pid: int, line: str) -> bool:
        """Its job, or nothing: then it ends."""
        process = self.all[pid]
        if not process.lives:
            return False
        if line.strip():
            process.job = json.loads(line)
        else:
            process.code = 0
        return True

    def started(self, pid: int) -> str | None:
        """Its start; ids are never given again here."""
        return f"start {pid}" if pid in self.all and self.all[pid].lives else None

    def watch(self, pid: int, started: str) -> bool:
        """Watch one that another server started."""
        if self.started(pid) != started:
            return False
        self.watched.add(pid)
        return True

    def forget(self, pid: int) -> None:
        """Watch it no more."""
        self.watched.discard(pid)

    def weigh(self, pid: int, nice: int) -> None:
        """Nothing here is quick or slow; what was said is kept."""
        self.nice[pid] = nice

    def ended(self) -> Sequence[Ended]:
        """Those that have ended; the code of a child only."""
        gone = [pid for pid in sorted(self.watched) if not self.all[pid].lives]
        self.watched.difference_update(gone)
        return [Ended(pid, self.all[pid].code if pid in self.children else None) for pid in gone]

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """End it; one that is frozen hears nothing but SIGKILL."""
        process = self.all[pid]
        if process.lives and (number is signal.SIGKILL or not process.frozen):
            process.code = -number

    def memory_bytes(self, pid: int) -> int | None:
        """Always the same."""
        return 100_000_000

    def kernel_kills(self) -> int:
        """None."""
        return 0

    def server_dies(self) -> None:
        """Its pipes end: processes without a job end too, the others have another parent."""
        for process in self.all.values():
            if process.job is None and process.lives:
                process.code = 0
        self.children.clear()
        self.watched.clear()


class World:
    """One environment: its machine, ledger and server, and a flow `orders` that never runs out of input."""

    def __init__(self, folder: Path, ledger: Ledger, clock: ManualClock, *, settings: Settings) -> None:
        self.environment: Environment = project_for(folder).environment("dev")
        self.ledger = ledger
        self.clock = clock
        self.settings = settings
        self.machine = Machine()
        self.lines: list[str] = []
        self.fails: Mapping[str, Any] | None = None
        self.server = self.new_server()

    def new_server(self, *, duties: Sequence[Duty] = ()) -> Supervisor:
        """Another server, which knows nothing."""
        launcher = Launcher(self.machine, self.clock, folder=self.environment.folder, root=self.environment.root)
        crew = Crew(
            self.ledger,
            self.environment,
            clock=self.clock,
            processes=self.machine,
            launcher=launcher,
            find=working_tree(self.environment),
        )
        folder, operations = self.environment.folder, self.ledger.operations
        presence = Presence(operations, self.clock, folder=folder, env="dev", ttl_s=5.0, alone=False)
        return Supervisor(
            crew,
            presence,
            launcher,
            clock=self.clock,
            settings=self.settings,
            duties=duties,
            tell=lambda flow, line: self.lines.append(f"{flow} {line}"),
        )

    def restart_server(self) -> None:
        """The server is killed, and another one comes."""
        self.machine.server_dies()
        self.server = self.new_server()

    def pass_time(self, seconds: float = 0.2, *, steps: int = 1) -> None:
        """Let the processes act, then the server look, and time pass."""
        for _ in range(steps):
            for process in list(self.machine.all.values()):
                if process.lives and process.job is not None and not process.frozen:
                    self._act(process, process.job)
            self.server.step()
            self.clock.sleep(seconds)

    def leaders(self) -> list[Member]:
        """The members that lead, and whose processes are there."""
        found = [member for member in self.ledger.members() if is_leader(member)]
        return [member for member in found if self.machine.started(member.pid) == member.started]

    def process_of(self, member: Member) -> Process:
        """Its process."""
        return self.machine.all[member.pid]

    def epoch(self) -> int:
        """The last committed epoch."""
        standing = self.ledger.standing("orders")
        return 0 if standing is None else standing.last_epoch

    # --- what a member does -------------------------------------------------------------------------------------------

    def _act(self, process: Process, job: Mapping[str, Any]) -> None:
        wish = self.ledger.wish_of(job["flow"], job["member"])
        if wish.get("role") == "stop":
            self._end(process, job, 0, role="stopped", state="stopped")
        elif process.phase == "loading":
            self._load(process, job)
        elif process.phase == "following":
            self._follow(process, job, wish)
        else:
            self._lead(process, job, wish)

    def _load(self, process: Process, job: Mapping[str, Any]) -> None:
        if job["role"] == "lead":
            self._claim(process, job)
        elif self.ledger.standing(job["flow"]) is not None:
            process.phase = "following"
            self._tell(process, job, role="following", state="ready")

    def _claim(self, process: Process, job: Mapping[str, Any]) -> None:
        process.generation = self.ledger.claim(job["flow"], version="v1", holder=job["member"]).generation
        process.phase = "leading"
        self._tell(process, job, role="leading", state="leading", epoch=self.epoch(), epoch_since_us=None)

    def _follow(self, process: Process, job: Mapping[str, Any], wish: Mapping[str, Any]) -> None:
        if wish.get("role") != "lead" or process.facts.get("refused") == wish.get("expected"):
            self._tell(process, job)
            return
        bring = Takeover(wish["expected"], self.epoch())
        try:
            resume = self.ledger.take_over(job["flow"], version="v1", holder=job["member"], takeover=bring)
        except FlowBusy:
            self._tell(process, job, refused=wish["expected"])
            return
        process.generation, process.phase = resume.generation, "leading"
        self._tell(process, job, role="leading", state="leading")

    def _lead(self, process: Process, job: Mapping[str, Any], wish: Mapping[str, Any]) -> None:
        if wish.get("paused"):
            self._tell(process, job, state="paused")
            return
        if wish.get("drain"):
            process.work -= 1
            if process.work < 0:
                self._end(process, job, 0, role="stopped", state="done", epoch_since_us=None)
                return
        standing = self.ledger.standing(job["flow"])
        assert standing is not None
        epoch = standing.last_epoch + 1
        plan = standing.planned or EpochPlan(epoch, {"rows": {"start": epoch - 1, "end": epoch}}, now_us=1, seed=1)
        try:
            if standing.planned is None:
                self.ledger.plan(job["flow"], process.generation, plan)
            self._tell(process, job, state="leading", epoch=epoch - 1, epoch_since_us=self.clock.now_us(), at_step="s")
            if self.fails is not None:
                self._end(process, job, 11, role="failed", state="failed", error=self.fails)
                return
            self.ledger.commit(job["flow"], EpochRecord(epoch, process.generation, "v1", plan))
        except Fenced:
            self._end(process, job, 3, role="fenced", state="failed")
            return
        self._tell(process, job, epoch=epoch, epoch_since_us=None)

    def _tell(self, process: Process, job: Mapping[str, Any], **facts: Any) -> None:
        process.facts = {**process.facts, **facts, "beat_us": self.clock.now_us()}
        self.ledger.tell(job["flow"], job["member"], process.facts)

    def _end(self, process: Process, job: Mapping[str, Any], code: int, **facts: Any) -> None:
        self._tell(process, job, **facts)
        process.code = code


def misfortune(world: World, chance: Random) -> None:
    """Something goes wrong, or somebody wishes something."""
    living = [process for process in world.machine.all.values() if process.lives]
    match chance.choice(["kill", "kill", "freeze", "wake", "server", "clock"]):
        case "kill" if living:
            chance.choice(living).code = -signal.SIGKILL
        case "freeze" if living:
            chance.choice(living).frozen = True
        case "wake":
            for process in living:
                process.frozen = False
        case "server":
            world.restart_server()
        case "clock":
            world.clock.sleep(chance.choice([1.0, 30.0]))


@contextmanager
def world(folder: Path, *, settings: Settings | None = None) -> Iterator[World]:
    """A world with its server."""
    clock = ManualClock()
    settings = settings or Settings(policy=RestartPolicy(), limits=Limits(hang_after_s=20.0, start_after_s=20.0))
    ledger = open_ledger(folder / ".penstock" / "dev", env="dev", clock=clock)
    try:
        yield World(folder, ledger, clock, settings=settings)
    finally:
        ledger.close()
