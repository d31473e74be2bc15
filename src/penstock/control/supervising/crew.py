"""The processes of an environment's flows, to those who say what they should do: the supervisor, and rollouts.

Each member has an owner, in its wish: `supervisor`, or the id of the deployment that started it or took it over. Only
its owner says what it should do, with one exception that the supervisor makes (see there). Members of a deployment
that is over are the supervisor's.
"""

from __future__ import annotations

import signal
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from penstock.clock import Clock, new_id
from penstock.control.priority import FULL
from penstock.control.project import Environment
from penstock.control.supervising.ends import EXIT_KEY, End, Outcome, end_of, read_end
from penstock.control.supervising.launching import LOG, Launcher, log_tail
from penstock.control.supervising.processes import Processes
from penstock.control.tables import flow_folder
from penstock.errors import ConfigError
from penstock.ledger import Ledger, Member

__all__ = ["SUPERVISOR", "Code", "Crew", "Finder", "by_flow", "is_of", "owner_of", "working_tree"]

SUPERVISOR = "supervisor"
_ENDS_KEPT = 50
_ID_LENGTH = 12
_DUMP_S = 2.0


@dataclass(frozen=True, slots=True)
class Code:
    """Where a version's code is: `root` is the project's folder (of a bundle, or the working tree), `target` what to
    load there. `python`: the interpreter of a version that has its own.
    """

    root: Path
    target: str = ""
    python: str | None = None


Finder: TypeAlias = Callable[[str, str], Code]
"""From a flow and a version to its code. Raises ConfigError where there is none."""


def owner_of(member: Member) -> str:
    """Who says what a member should do."""
    return str(member.wish.get("owner") or SUPERVISOR)


def is_of(member: Member, owner: str) -> bool:
    """Whether a member has this owner."""
    return owner_of(member) == owner


class Crew:
    """Starts, wishes, stops; knows how members ended. Safe to use from several threads; `lock` makes several steps one.

    What it gives comes from the ledger, so it is as true after a restart of the server as before.
    """

    def __init__(
        self,
        ledger: Ledger,
        environment: Environment,
        *,
        clock: Clock,
        processes: Processes,
        launcher: Launcher,
        find: Finder,
    ) -> None:
        self.ledger = ledger
        self.environment = environment
        self.clock = clock
        self.lock = threading.RLock()
        self._processes = processes
        self._launcher = launcher
        self._find = find
        self._watched: dict[int, tuple[str, str]] = {}
        self._killed: dict[str, tuple[Outcome, str, float]] = {}
        self._pending: list[tuple[int, int | None]] = []
        self._ends: dict[str, deque[End]] = {}
        self._kernel_kills = processes.kernel_kills()

    # --- for everybody ------------------------------------------------------------------------------------------------

    def members(self, flow: str | None = None) -> Sequence[Member]:
        """The processes that are believed to be there, by the time they joined."""
        return self.ledger.members(flow)

    def start_member(
        self,
        flow: str,
        version: str,
        role: str,
        *,
        owner: str = SUPERVISOR,
        wish: Mapping[str, Any] | None = None,
        savepoint: str | None = None,
        record_from: int | None = None,
        options: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        target: str = "",
    ) -> str:
        """Start a process that leads or follows, and give its id. Raises ConfigError where it can't be started.

        It is in the ledger before it has its job. `wish`: laid over role and owner. `savepoint`: where a follower
        begins (None: it is a standby). `options`: fields of `RunOptions`. `target`: what to load where there is no
        version ("").
        """
        with self.lock:
            code = self.code_of(flow, version)
            member = new_id()[:_ID_LENGTH]
            wished = {"role": role, "owner": owner, **(wish or {})}
            launched = self._launcher.launch(self.log_of(flow, member), python=code.python)
            self.ledger.join(
                Member(
                    member,
                    flow,
                    version,
                    launched.pid,
                    self._processes.host,
                    launched.started,
                    wish=wished,
                    facts={"role": "starting", "state": "loading"},
                    joined_us=self.clock.now_us(),
                )
            )
            self._watched[launched.pid] = (flow, member)
            job = {
                "env": self.environment.name,
                "project_root": str(code.root),
                "flow": flow,
                "member": member,
                "role": role,
                "version": version,
                "target": code.target or target,
                "savepoint": savepoint,
                "record_from": record_from,
                "options": dict(options or {}),
                "params": dict(params or {}),
                "wish": wished,
            }
            self._launcher.give(launched, job)
            return member

    def wish(self, member: Member | str, **changes: Any) -> None:
        """Lay changes over what is wished of a member, `owner` among them. Nothing happens where it has ended."""
        with self.lock:
            found = member if isinstance(member, Member) else self._by_id(member)
            if found is None:
                return
            now = dict(self.ledger.wish_of(found.flow, found.id))
            wanted = {**now, **changes}
            if wanted != now:
                self.ledger.wish(found.flow, found.id, wanted)

    def code_of(self, flow: str, version: str) -> Code:
        """Where a version's code is. Raises ConfigError; one that heals while its packages are being installed."""
        return self._find(flow, version)

    def stop_member(self, member: Member | str) -> None:
        """Ask a member to finish its epoch and end. Nothing happens where it has ended."""
        self.wish(member, role="stop")

    def kill_member(self, member: Member, outcome: Outcome, why: str, *, dump: bool = False) -> None:
        """End a member of this machine at once; `why` becomes part of how it ended. What was committed is there.

        With `dump` it is asked first to write down where it is (SIGABRT); where it does not, the next call kills it.
        """
        with self.lock:
            now_s = self.clock.stopwatch_s()
            for pid, (_, name) in self._watched.items():
                if name != member.id:
                    continue
                asked_s = self._killed[name][2] if name in self._killed else now_s
                if name not in self._killed or now_s - asked_s > _DUMP_S:
                    self._killed[name] = (outcome, why, asked_s)
                    self._processes.kill(pid, signal.SIGABRT if dump and now_s == asked_s else signal.SIGKILL)
                return

    def log_of(self, flow: str, member: str) -> Path:
        """Where a member writes what it says."""
        return flow_folder(self.environment, flow) / "members" / member / LOG

    def _by_id(self, member: str) -> Member | None:
        return next((found for found in self.ledger.members() if found.id == member), None)

    # --- for the supervisor -------------------------------------------------------------------------------------------

    def ends(self, flow: str) -> Sequence[End]:
        """How the members of a flow ended, the newest first."""
        if flow not in self._ends:
            gone = [member for member in self.ledger.members(flow, ended=True) if member.ended_us is not None]
            found = [end for end in map(read_end, gone) if end is not None]
            self._ends[flow] = deque(sorted(found, key=lambda end: end.at_us, reverse=True), maxlen=_ENDS_KEPT)
        return tuple(self._ends[flow])

    def memory_bytes(self, member: Member) -> int | None:
        """How much memory a member of this machine has in use."""
        return self._processes.memory_bytes(member.pid) if self.is_watched(member) else None

    def hurry_member(self, member: Member) -> None:
        """Give a member of this machine the full weight; it takes less again by itself, once it is ready."""
        if self.is_watched(member):
            self._processes.weigh(member.pid, FULL)

    def is_watched(self, member: Member) -> bool:
        """Whether its end will be told to this server by the operating system."""
        return self._watched.get(member.pid) == (member.flow, member.id)

    def is_here(self, member: Member) -> bool:
        """Whether it is a process of this machine."""
        return member.host == self._processes.host

    def take_ends(self) -> list[tuple[Member, End]]:
        """Note in the ledger how processes ended since the last call. Raises LedgerError; what is not noted yet, is
        noted by the next call.
        """
        for ended in self._processes.ended():
            if not self._launcher.ended(ended.pid):
                self._pending.append((ended.pid, ended.code))
        kills = self._processes.kernel_kills()
        memory_killed, self._kernel_kills = kills > self._kernel_kills, kills
        found = []
        while self._pending:
            pid, code = self._pending[0]
            if pid in self._watched:
                flow, name = self._watched[pid]
                member = next((one for one in self.ledger.members(flow) if one.id == name), None)
                if member is not None:
                    found.append((member, self.ended(member, code, memory_killed=memory_killed, watched=True)))
                del self._watched[pid]
            self._pending.pop(0)
        return found

    def ended(self, member: Member, code: int | None, *, memory_killed: bool = False, watched: bool = False) -> End:
        """Note in the ledger how a member ended. Raises LedgerError."""
        desired = self.ledger.operations.desired(member.flow)
        standing = self.ledger.standing(member.flow)
        killed = self._killed.get(member.id)
        end = end_of(
            member,
            code,
            last_epoch=0 if standing is None else standing.last_epoch,
            now_us=self.clock.now_us(),
            wish_us=0 if desired is None else desired.changed_us,
            killed=None if killed is None else killed[:2],
            memory_killed=memory_killed,
            watched=watched,
            log_tail=log_tail(self.log_of(member.flow, member.id)),
        )
        ends = self.ends(member.flow)
        self.ledger.tell(member.flow, member.id, {**member.facts, EXIT_KEY: end.as_dict()})
        self.ledger.leave(member.flow, member.id, end.cause if end.is_bad else end.outcome.value)
        self._ends[member.flow] = deque((end, *ends), maxlen=_ENDS_KEPT)
        self._killed.pop(member.id, None)
        return end

    def adopt(self, members: Sequence[Member]) -> list[tuple[Member, End | None]]:
        """Watch the members of this machine that another server started; note the end of those that are gone."""
        found: list[tuple[Member, End | None]] = []
        for member in members:
            if not self.is_here(member) or self.is_watched(member):
                continue
            if self._processes.watch(member.pid, member.started):
                self._watched[member.pid] = (member.flow, member.id)
                found.append((member, None))
            else:
                found.append((member, self.ended(member, None)))
        return found

    def let_go(self) -> None:
        """Another server leads now: know nothing, so that nothing old is believed later."""
        self._processes.ended()
        self._watched.clear()
        self._killed.clear()
        self._pending.clear()
        self._ends.clear()


def by_flow(members: Sequence[Member]) -> Mapping[str, list[Member]]:
    """Members by their flow."""
    found: defaultdict[str, list[Member]] = defaultdict(list)
    for member in members:
        found[member.flow].append(member)
    return found


def working_tree(environment: Environment) -> Finder:
    """The finder that knows the working tree only: it has the version ""."""

    def find(flow: str, version: str) -> Code:
        if version:
            raise ConfigError(f"there is no version {version!r} of {flow}", flow=flow)
        return Code(environment.root)

    return find
