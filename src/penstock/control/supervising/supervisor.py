"""Keeps the flows of one environment as they are wished, one step at a time.

A step reads what should be (`Operations.all_desired`), what is (`Ledger.members`), and which deployments are under way;
then it starts, promotes and stops processes. It remembers nothing that the ledger could not tell its successor.

Who may do what:

- A flow has one leader. That it has one is the supervisor's business, except while a running deployment of the flow
  says `facts["holds"]`: then nobody is made leader here.
- A member is its owner's (see `Crew`). While a deployment of a flow is running, the supervisor stops no member of it
  but its own standby.
- What a person wishes of a leader (pause, drain) and a stop of the whole flow come first: they are passed on to members
  whoever owns them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.clock import Clock
from penstock.control.locks import lock_holder
from penstock.control.policies import SupervisePolicy
from penstock.control.supervising.crew import SUPERVISOR, Crew, by_flow, owner_of
from penstock.control.supervising.ends import End, Outcome
from penstock.control.supervising.launching import Launcher
from penstock.control.supervising.policy import Hold, RestartPolicy, Wait, verdict
from penstock.control.supervising.presence import Presence
from penstock.control.supervising.schedule import next_due, read_schedule
from penstock.control.supervising.standing import (
    event_of,
    is_leader,
    is_over,
    last_run,
    own_ends,
    run_is_open,
    wish_key,
)
from penstock.control.supervising.watchdog import Limits, Watchdog, limits_of
from penstock.control.tables import flow_folder
from penstock.errors import ConfigError, PenstockError
from penstock.ledger import Deployment, Desired, Event, Member, Want

__all__ = ["Duty", "Settings", "Supervisor", "settings_of"]

_PROMOTION_S = 10.0
_STARTING_STATES = ("loading", "migrating", "catching-up", "taking-over")
_REFUSED_S = 2.0
_ENDING_S = 5.0
_LAG_EPOCHS = 100


class Duty(Protocol):
    """Something else that a server does: rollouts, alerts. A step is short; what is long, it does in its own thread."""

    def step(self, crew: Crew) -> bool:
        """Do what is to be done now. May raise PenstockError, which is told and tried again.

        Gives whether what can wait should: a spare is warmed later then.
        """
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """`remote_s`: how long a member of another machine may be silent before it is believed to be gone."""

    policy: RestartPolicy = field(default_factory=RestartPolicy)
    limits: Limits = field(default_factory=Limits)
    remote_s: float = 5.0


def settings_of(policy: SupervisePolicy, *, lease_s: float = 5.0, hang_after_s: float | None = None) -> Settings:
    """What `[supervise]` of penstock.toml makes of the settings."""
    return Settings(
        RestartPolicy(tries=policy.restarts, first_s=policy.backoff_s),
        Limits(hang_after_s=hang_after_s or policy.hang_after_s, memory_bytes=policy.memory_max_bytes),
        lease_s,
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """One flow in one step."""

    desired: Desired
    members: Sequence[Member]
    deployment: Deployment | None

    leader: Member | None = None

    @property
    def flow(self) -> str:
        return self.desired.flow


class Supervisor:
    """One environment's. `tell` is given a flow (or "") and a line for people."""

    def __init__(
        self,
        crew: Crew,
        presence: Presence,
        launcher: Launcher,
        *,
        clock: Clock,
        settings: Settings | None = None,
        duties: Sequence[Duty] = (),
        tell: Callable[[str, str], None] = lambda _flow, _line: None,
    ) -> None:
        self.crew = crew
        self.presence = presence
        self._ledger = crew.ledger
        self._launcher = launcher
        self._clock = clock
        self._settings = settings or Settings()
        self._duties = tuple(duties)
        self._tell = tell
        self._watchdog = Watchdog(crew, clock, remote_s=self._settings.remote_s)
        self._leads = False
        self._closing = False
        self._promoted: dict[str, float] = {}
        self._told: dict[str, str] = {}
        self._refused_s: dict[str, float] = {}

    def step(self) -> None:
        """Bring what is nearer to what should be. Raises LedgerError, FlowBusy where another server may not be."""
        with self.crew.lock:
            if not self._keep_presence():
                return
            ended = self.crew.take_ends()
            members = self._adopted()
            desired = self._ledger.operations.all_desired()
            running = {one.flow: one for one in self._ledger.operations.deployments(running=True)}
            flows = by_flow(members)
            for one in desired:
                mine = flows.get(one.flow, [])
                case = _Case(one, mine, running.get(one.flow), self._leader_of(mine))
                self._keep(case)
                limits = limits_of(one.options, self._settings.limits)
                self._watch(case.members, limits)
            for flow in set(flows) - {one.flow for one in desired}:
                self._watch(flows[flow], self._settings.limits)
                if self._closing:
                    self._stop(flows[flow])
            for member, end in ended:  # after their successors were started: a note takes a write to the disk
                self._tell_end(member, end)
            self._watchdog.forget_others(members)
            if not self._closing:
                hurries = [self._do(duty) for duty in self._duties]
                starting = [one for one in members if one.facts.get("state") in _STARTING_STATES]
                if not (any(hurries) or starting):
                    self._launcher.refill()

    def close(self) -> None:
        """From now on, stop all members and start none. What is wished of the flows stays as it is."""
        self._closing = True

    @property
    def is_empty(self) -> bool:
        """Whether no member is there. Raises LedgerError."""
        return not self._ledger.members()

    # --- the server ---------------------------------------------------------------------------------------------------

    def _keep_presence(self) -> bool:
        leads = self.presence.keep()
        if leads != self._leads:
            self._leads = leads
            if leads:
                self._tell("", "this server leads")
            else:
                self.crew.let_go()
                self._launcher.close()
                self._tell("", "another server leads; this one waits")
        if not leads:
            self.crew.let_go()
        return leads

    def _adopted(self) -> Sequence[Member]:
        members = self._ledger.members()
        adopted = self.crew.adopt(members)
        for member, end in adopted:
            if end is not None:
                self._tell_end(member, end)
            else:
                self._tell(member.flow, f"process {member.pid} goes on ({member.facts.get('state')}): adopted")
        return self._ledger.members() if any(end for _, end in adopted) else members

    def _watch(self, members: Sequence[Member], limits: Limits) -> None:
        for member in members:
            end = self._watchdog.look(member, limits)
            if end is not None:
                self._tell_end(member, end)

    def _do(self, duty: Duty) -> bool:
        try:
            return duty.step(self.crew)
        except PenstockError as error:
            self._say(error.flow or "", f"{type(duty).__name__}: {error.message}")
            return False

    # --- one flow -----------------------------------------------------------------------------------------------------

    def _keep(self, case: _Case) -> None:
        desired = case.desired
        if self._closing or desired.want is Want.STOPPED:
            self._stop(case.members)
            return
        try:
            due_us, rests = self._run_now(case)
        except ConfigError as error:
            self._say(case.flow, error.message)
            return
        leader = case.leader
        if rests:
            self._stop_own(case, case.members)
            return
        drain = desired.want is Want.DRAINED or due_us is not None
        wishes: dict[str, Any] = {"paused": desired.want is Want.PAUSED, "drain": drain}
        if due_us is not None:
            wishes["due_us"] = due_us
        if leader is not None:
            self._told.pop(case.flow, None)
            if any(leader.wish.get(name) != value for name, value in wishes.items()):
                self.crew.wish(leader, **wishes)
        else:
            leader = self._lead(case, wishes)
        self._keep_standby(case, leader)

    def _leader_of(self, members: Sequence[Member]) -> Member | None:
        return next(
            (member for member in reversed(members) if is_leader(member) and not self._is_in_vain(member)), None
        )

    def _is_in_vain(self, member: Member) -> bool:
        """Whether a follower was told to lead a while ago, and does not even begin."""
        asked_s = self._promoted.get(member.id)
        begins = member.facts.get("role") != "following" or member.facts.get("state") in ("taking-over", "rewriting")
        return asked_s is not None and not begins and self._clock.stopwatch_s() - asked_s > _PROMOTION_S

    def _run_now(self, case: _Case) -> tuple[int | None, bool]:
        """The time of the scheduled run that is under way or due, and whether the flow has nothing to do now."""
        desired, ends = case.desired, self.crew.ends(case.flow)
        schedule = read_schedule(desired.options)
        if schedule is None or desired.want is Want.DRAINED:
            return None, case.leader is None and is_over(ends, desired)
        last_us = last_run(case.members, ends)
        if last_us is not None and run_is_open(last_us, case.members, ends):
            return last_us, False
        if case.leader is not None or desired.want is not Want.RUNNING:
            return None, case.leader is None
        since_us = max(last_us or 0, int(desired.options.get("schedule_from_us") or desired.changed_us))
        due = next_due(schedule, since_us, self._clock.now_us())
        if due is None:
            return None, True
        if due.missed:
            body = {"due_us": due.at_us, "missed": due.missed, "catch_up": schedule.catch_up.value}
            self._note("runs-missed", case.flow, body)
            self._tell(case.flow, f"{due.missed} times of its schedule were missed; this run stands for them")
        return due.at_us, False

    def _lead(self, case: _Case, wishes: dict[str, Any]) -> Member | None:
        """See to it that the flow gets a leader; gives it where it is there already."""
        if case.deployment is not None and case.deployment.facts.get("holds"):
            return None
        holder = lock_holder(flow_folder(self.crew.environment, case.flow))
        if holder is not None:
            self._say(case.flow, f"process {holder} runs it by `penstock run`; it is started when that has ended")
            return None
        ends = [end for end in own_ends(self.crew.ends(case.flow), case.desired) if end.led]
        judged = verdict(case.flow, self.crew.environment.name, ends, policy=self._settings.policy)
        if isinstance(judged, Hold):
            self._hold(case, judged)
            return None
        if any(self._is_ending(member) for member in case.members):
            return None
        if isinstance(judged, Wait) and not judged.is_over(self._clock.now_us()):
            self._say(case.flow, f"{judged.sentence} (failure {judged.failures})")
            return None
        standing = self._ledger.standing(case.flow)
        generation = 0 if standing is None else standing.generation
        standby = self._ready(case, generation)
        if standby is None:
            self._start(case, "lead", {**wishes, "after": generation})
            return None
        self._promoted[standby.id] = self._clock.stopwatch_s()
        self.crew.wish(standby, role="lead", expected=generation, owner=SUPERVISOR, **wishes)
        self._tell(case.flow, f"process {standby.pid} follows and is ready: it takes over")
        return standby

    def _is_ending(self, member: Member) -> bool:
        """Whether who led has said that it is done, and its process is about to end: how, is known in a moment."""
        said_s = (self._clock.now_us() - (member.facts_us or 0)) / 1e6
        return (
            member.wish.get("role") == "lead"
            and member.facts.get("role") in ("failed", "stopped")
            and said_s < _ENDING_S
        )

    def _ready(self, case: _Case, generation: int) -> Member | None:
        """A follower that can take over from this generation soon, of the wished version, and not tried in vain."""
        for member in self._standbys(case):
            refused = member.facts.get("refused") and member.wish.get("expected") == generation
            state, lag = member.facts.get("state"), member.facts.get("lag")
            # Its leader is gone, so one that was not quite there gets there: quicker than who loads the state first.
            near = state == "ready" or (state == "catching-up" and isinstance(lag, int) and lag <= _LAG_EPOCHS)
            if near and not refused and not self._is_in_vain(member):
                return member
        return None

    def _standbys(self, case: _Case) -> list[Member]:
        """The supervisor's followers of the wished version."""
        return [
            member
            for member in case.members
            if self._is_own(member, case) and member is not case.leader and member.version == case.desired.version
        ]

    def _keep_standby(self, case: _Case, leader: Member | None) -> None:
        wanted = bool(case.desired.options.get("standby")) and case.desired.want in (Want.RUNNING, Want.PAUSED)
        standbys = [member for member in self._standbys(case) if member.wish.get("role") != "stop"]
        # Before the first epoch there is no state to stand by with.
        has_state = leader is not None and leader.facts.get("role") == "leading" and bool(leader.facts.get("epoch"))
        if wanted and has_state and not standbys and self._clock.now_us() >= self._standby_us(case):
            self._start(case, "follow", {})
        if case.deployment is None and leader is not None:
            kept = standbys[:1] if wanted else []
            others = [member for member in case.members if member is not leader and member not in kept]
            self._stop_own(case, others)

    def _standby_us(self, case: _Case) -> int:
        """When a standby may be started: those that fail are started less often, and never given up."""
        version = case.desired.version
        ends = [end for end in self.crew.ends(case.flow) if not end.led and end.version == version]
        judged = verdict(case.flow, self.crew.environment.name, ends, policy=self._settings.policy)
        if isinstance(judged, Hold):
            return judged.end.at_us + round(self._settings.policy.away_longest_s * 1e6)
        return judged.until_us if isinstance(judged, Wait) else 0

    def _start(self, case: _Case, role: str, wishes: dict[str, Any]) -> None:
        """Start a process; one that can't be started is tried again later."""
        now_s = self._clock.stopwatch_s()
        if now_s < self._refused_s.get(case.flow, 0.0):
            return
        options = case.desired.options
        try:
            self.crew.start_member(
                case.flow,
                case.desired.version,
                role,
                wish=wishes,
                options=options.get("run") or {},
                params=options.get("params") or {},
                target=str(options.get("target") or ""),
            )
        except ConfigError as error:
            self._refused_s[case.flow] = now_s + _REFUSED_S
            if self._told.get(case.flow) != error.message:
                body = {"message": error.message, "hint": error.hint, **wish_key(case.desired)}
                self._note("start-refused", case.flow, body)
            self._say(case.flow, error.message)
            return
        self._tell(case.flow, f"started: {'it leads' if role == 'lead' else 'a standby'}")

    # --- stopping -----------------------------------------------------------------------------------------------------

    def _stop(self, members: Sequence[Member]) -> None:
        for member in members:
            if member.wish.get("role") != "stop":
                self.crew.stop_member(member)

    def _stop_own(self, case: _Case, members: Sequence[Member]) -> None:
        self._stop([member for member in members if self._is_own(member, case)])

    @staticmethod
    def _is_own(member: Member, case: _Case) -> bool:
        """Whether it is the supervisor's: by its owner, or because the deployment that owned it is over."""
        running = None if case.deployment is None else case.deployment.id
        return owner_of(member) == SUPERVISOR or owner_of(member) != running

    # --- telling ------------------------------------------------------------------------------------------------------

    def _tell_end(self, member: Member, end: End) -> None:
        self._promoted.pop(member.id, None)
        self._tell(
            member.flow, f"process {member.pid} {end.cause}" if end.is_bad else f"process {member.pid} {end.message}"
        )
        if end.is_bad:
            self._note("member-ended", member.flow, {"member": member.id, "version": member.version, **end.as_dict()})
        elif end.outcome is Outcome.FINISHED:
            body = {"epoch": end.epoch - 1, "version": member.version, "due_us": end.due_us}
            self._note("finished", member.flow, body)

    def _hold(self, case: _Case, hold: Hold) -> None:
        self._stop_own(case, case.members)
        if self._told.get(case.flow) == hold.sentence:
            return
        if event_of(self._ledger.operations, case.desired, "held") is None:
            self._note("held", case.flow, {**hold.as_dict(), **wish_key(case.desired)})
        self._say(case.flow, hold.sentence, *hold.choices)

    def _note(self, kind: str, flow: str, body: dict[str, Any]) -> None:
        self._ledger.operations.note(Event(kind, flow, body, SUPERVISOR, self._clock.now_us()))

    def _say(self, flow: str, line: str, *more: str) -> None:
        """Tell a line, but not the same twice in a row."""
        if self._told.get(flow) != line:
            self._told[flow] = line
            self._tell(flow, "\n  ".join((line, *more)))
