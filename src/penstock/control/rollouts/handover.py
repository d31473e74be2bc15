"""One running deployment as the driver sees it in one step: what the ledger says now, and the small deeds that it does.

Nothing here outlives a step but what is written to the ledger; `Memory` only saves work, and may be lost at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

from penstock.clock import Clock
from penstock.control.rollouts.stages import Cut, Stage, plan_from_json, short
from penstock.control.rollouts.world import Comparison, Outputs, World
from penstock.control.supervising.crew import is_of
from penstock.control.supervising.ends import Outcome as End
from penstock.control.supervising.ends import read_end
from penstock.control.supervising.standing import is_leader
from penstock.errors import PenstockError
from penstock.ledger import Deployment, DeploymentStatus, Desired, Ledger, Member, Standing, Want

__all__ = ["Back", "Go", "Handover", "Memory", "Outcome", "Stay", "Stop", "leads"]

PROGRESS_EVERY_S = 0.25
STALLED_S = 300.0
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Stay:
    """The stage goes on."""


@dataclass(frozen=True, slots=True)
class Go:
    """The stage is done; the next one begins."""


@dataclass(frozen=True, slots=True)
class Stop:
    """It ends here. `status`: failed or refused."""

    status: DeploymentStatus
    why: str
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Back:
    """The cut was made, and has to be taken back."""

    why: str


Outcome: TypeAlias = Stay | Go | Stop | Back


@dataclass(slots=True)
class Memory:
    """What saves work between two steps: all of it can be found again from the ledger and the spills."""

    phase: str = ""
    comparison: Comparison | None = None
    outputs: dict[str, Outputs] = field(default_factory=dict)
    next_epoch: int = 0
    compared: int = 0
    counts: dict[str, Any] = field(default_factory=dict)
    pace: tuple[int, float] = (-1, 0.0)
    """The last epoch of the follower, and when it was news."""
    noted_s: dict[str, float] = field(default_factory=dict)
    """When something was done last, by the stopwatch."""
    waits: dict[tuple[str, str], tuple[int, float, float]] = field(default_factory=dict)
    """Of a moment in the facts: itself, how long ago it was when this server first knew it, and when that was."""


def leads(member: Member, standing: Standing | None) -> bool:
    """Whether the ledger says that this process leads."""
    return standing is not None and (standing.holder == member.id or standing.holder.startswith(f"{member.id} "))


class Handover:
    """A deployment, and where its flow stands at the beginning of this step."""

    def __init__(self, ledger: Ledger, world: World, clock: Clock, deployment: Deployment, memory: Memory) -> None:
        self.ledger = ledger
        self.world = world
        self.clock = clock
        self.deployment = deployment
        self.memory = memory
        self.flow = deployment.flow
        self.plan = plan_from_json(deployment.plan)
        self.facts: dict[str, Any] = dict(deployment.facts)
        self.now_us = clock.now_us()
        self.now_s = clock.stopwatch_s()
        self.look()

    def look(self) -> None:
        """See again where the flow stands and who is there."""
        self._ever: Sequence[Member] | None = None
        self.alive: dict[str, Member] = {member.id: member for member in self.ledger.members(self.flow)}
        # In this order: of a process that is gone, all that it ever did is in what is read after.
        self.standing: Standing | None = self.ledger.standing(self.flow)

    # --- the plan -----------------------------------------------------------------------------------------------------

    def stage(self, kind: type[S]) -> S | None:
        """The stage of this kind; None where the plan has none."""
        return next((stage for stage in self.plan if isinstance(stage, kind)), None)

    @property
    def current(self) -> str:
        """The name of the stage that is under way."""
        return self.deployment.stage or self.plan[0].name

    def next_stage(self, name: str) -> Stage | None:
        """The stage after the one of this name."""
        names = [stage.name for stage in self.plan]
        place = names.index(name) + 1
        return self.plan[place] if place < len(self.plan) else None

    def is_before_cut(self) -> bool:
        """Whether the flow is still as it was before this deployment, by the plan."""
        names = [stage.name for stage in self.plan]
        if Cut.name not in names or self.current not in names:
            return Cut.name not in names
        return names.index(self.current) < names.index(Cut.name)

    # --- facts --------------------------------------------------------------------------------------------------------

    def fact(self, name: str) -> Mapping[str, Any]:
        """What is known under this name; empty where nothing is."""
        found = self.facts.get(name)
        return found if isinstance(found, Mapping) else {}

    def note(self, name: str, **values: Any) -> None:
        """Make facts durable: `values` are laid over those that are known under this name."""
        self.remember_times(name, values)
        merged = {**self.fact(name), **values}
        if merged != self.fact(name):
            self.facts[name] = merged
            self.ledger.operations.advance_deployment(self.deployment.id, facts={name: merged})

    def remember_times(self, name: str, values: Mapping[str, Any]) -> None:
        """Know by the stopwatch too which of the facts under this name are of this moment, for `waited_s`."""
        for key, value in values.items():
            if key.endswith("_us") and value == self.now_us:
                self.memory.waits[name, key] = (self.now_us, 0.0, self.now_s)

    def show(self, name: str, **values: Any) -> None:
        """Note how far something is, now and then: nothing may depend on it."""
        if self.is_time(f"show {name}", PROGRESS_EVERY_S):
            self.note(name, **values)

    def waited_s(self, name: str, since: str = "began_us") -> float:
        """Seconds since a moment that was noted under this name; 0 where none was.

        By the clock for the time before this server, by the stopwatch from then on: a clock that is set makes nobody
        late, and lets nobody wait for ever.
        """
        moment = self.fact(name).get(since)
        if moment is None:
            return 0.0
        known = self.memory.waits.get((name, since))
        if known is None or known[0] != moment:
            known = int(moment), max(0.0, (self.now_us - int(moment)) / 1e6), self.now_s
            self.memory.waits[name, since] = known
        return known[1] + self.now_s - known[2]

    def is_time(self, what: str, every_s: float) -> bool:
        """Whether something is to be done again, that is done every so often; says yes once each time."""
        last_s = self.memory.noted_s.get(what)
        if last_s is not None and self.now_s - last_s < every_s:
            return False
        self.memory.noted_s[what] = self.now_s
        return True

    # --- processes ----------------------------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The version that leads."""
        return "" if self.standing is None else self.standing.version

    def leader(self) -> Member | None:
        """The process that leads, where it is there."""
        return next((member for member in self.alive.values() if leads(member, self.standing)), None)

    def member(self, part: str) -> Member | None:
        """The process that plays a part (`new`, `old`, `beside`) in this deployment, where it is there."""
        return self._newest(part, self.alive.values())

    def dead(self, part: str) -> Member | None:
        """The process that played a part and has ended, where nobody plays it now."""
        if self.member(part) is not None:
            return None
        return self._newest(part, (one for one in self.everyone_ever() if one.ended_us is not None))

    def _newest(self, part: str, members: Iterable[Member]) -> Member | None:
        cast = [one for one in members if is_of(one, self.deployment.id) and one.wish.get("part") == part]
        return max(cast, key=lambda one: one.joined_us, default=None)

    def everyone_ever(self) -> Sequence[Member]:
        """The processes that are there, and the last ones that ended."""
        if self._ever is None:
            self._ever = self.ledger.members(self.flow, ended=True)
        return self._ever

    def has_ended(self) -> bool:
        """Whether the last leader read its input to the end, and nobody leads any more."""
        if self.leader() is not None:
            return False
        ends = [end for end in map(read_end, self.everyone_ever()) if end is not None and end.led]
        last = max(ends, key=lambda end: end.at_us, default=None)
        return last is not None and last.outcome is End.FINISHED

    def death(self, member: Member, what: str) -> Stop:
        """How a process of the new version ended, as the end of this deployment."""
        told = member.facts.get("error")
        error = told if isinstance(told, Mapping) else None
        why = str(error["message"]) if error else member.ended or "nobody knows how"
        step = f" in step {error['step']}" if error and error.get("step") else ""
        return Stop(DeploymentStatus.FAILED, f"{what} ended{step}: {why}", error)

    def lost(self, part: str = "new") -> Stop | None:
        """The end of this deployment where a process that it needs is not there; None while it is."""
        if self.member(part) is not None:
            return None
        found = self.dead(part)
        if found is None:
            return Stop(DeploymentStatus.FAILED, "the process that it needs is not there")
        return self.death(found, short(found.version))

    def unfit(self) -> Stop | None:
        """The end of this deployment where the new version is gone, or behind and no nearer for a long time."""
        lost = self.lost()
        member = self.member("new")
        if lost is not None or member is None:
            return lost
        epoch = int(member.facts.get("epoch") or 0)
        last = 0 if self.standing is None else self.standing.last_epoch
        if epoch != self.memory.pace[0] or epoch >= last:
            self.memory.pace = epoch, self.now_s
        if self.now_s - self.memory.pace[1] <= STALLED_S:
            return None
        step = f" in step {member.facts['at_step']}" if member.facts.get("at_step") else ""
        why = f"{short(member.version)} is stuck{step}: after epoch {epoch} it did nothing for {STALLED_S:.0f}s"
        return Stop(DeploymentStatus.FAILED, why)

    def uncopied(self) -> Stop | None:
        """The end of this deployment where the leader has no room for a copy of what it writes."""
        leader = self.leader()
        why = None if leader is None else leader.facts.get("spill_failed")
        return Stop(DeploymentStatus.FAILED, f"there is nothing to compare with: {why}") if why else None

    def wish(self, member: Member, **changes: Any) -> None:
        """Change what is wished of a process; None takes a wish away. Written only where it differs."""
        wished = {**member.wish, **changes}
        wished = {name: value for name, value in wished.items() if value is not None}
        if wished != dict(member.wish):
            self.ledger.wish(self.flow, member.id, wished)
            self.alive[member.id] = replace(member, wish=wished)

    def hold(self) -> None:
        """Whoever leads lets sources forget nothing, and keeps a copy of what it writes. A restart forgets wishes."""
        hold_from = self.fact("hold").get("from")
        if hold_from is None:
            return
        for member in list(self.alive.values()):
            if is_leader(member):
                self.wish(member, hold_from=hold_from, spill=True)

    def reserve(self, *, holds: bool) -> None:
        """Whether nobody may be made the leader by the supervisor: while this deployment is about to say who leads."""
        if bool(self.facts.get("holds")) != holds:
            self.facts["holds"] = holds
            self.ledger.operations.advance_deployment(self.deployment.id, facts={"holds": holds})

    def outputs(self, member: Member | None) -> Outputs | None:
        """What a process computed."""
        if member is None:
            return None
        if member.id not in self.memory.outputs:
            found = self.world.outputs(member)
            if found is None:
                return None
            self.memory.outputs[member.id] = found
        return self.memory.outputs[member.id]

    # --- what should be -----------------------------------------------------------------------------------------------

    def desired(self) -> Desired | None:
        """What should be of the flow."""
        return self.ledger.operations.desired(self.flow)

    def desire(self, version: str) -> None:
        """From now on this version is the one to be started; said only where it is not so already."""
        first = Desired(self.flow, Want.RUNNING, version)
        self._change_wish(lambda known: first if known is None else replace(known, version=version))

    def give_up(self) -> None:
        """The flow should not run any more: it can't."""
        self._change_wish(lambda known: _stopped(known) if known is not None and known.want is Want.RUNNING else known)

    def _change_wish(self, change: Callable[[Desired | None], Desired | None]) -> None:
        """Say as this deployment what `change` makes of what should be, whatever others say at the same moment."""
        deployment, done = self.deployment, False
        while not done:
            known = self.desired()
            wanted = change(known)
            if wanted is None or wanted == known:
                return
            over = 0 if known is None else known.changed_us
            why = f"{deployment.kind} {deployment.id}"
            said = replace(wanted, who=deployment.who, why=why, changed_us=max(self.now_us, over + 1))
            done = self.ledger.operations.desire(said, over=over)

    def is_to_rest(self) -> Desired | None:
        """The wish that the flow should not run, where there is one."""
        known = self.desired()
        return known if known is not None and known.want in (Want.STOPPED, Want.DRAINED) else None


def _stopped(known: Desired) -> Desired:
    return replace(known, want=Want.STOPPED)


def failed(error: PenstockError) -> Stop:
    """A known error as the end of a deployment."""
    return Stop(DeploymentStatus.FAILED, error.message, error.as_dict())


def refused(reasons: Sequence[str] | str) -> Stop:
    """A no."""
    return Stop(DeploymentStatus.REFUSED, reasons if isinstance(reasons, str) else "; ".join(reasons))
