"""How flows are, in the words that people and programs are told: from the ledger, with or without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock.clock import Clock
from penstock.control.locks import lock_holder
from penstock.control.project import Environment
from penstock.control.supervising.ends import End, read_end
from penstock.control.supervising.policy import RestartPolicy, Wait, verdict
from penstock.control.supervising.presence import ServerFacts, read_server
from penstock.control.supervising.processes import process_started, this_host
from penstock.control.supervising.schedule import next_us, read_schedule
from penstock.control.supervising.standing import event_of, is_leader, is_over, last_run, own_ends
from penstock.control.tables import flow_folder
from penstock.ledger import Deployment, Desired, EpochRecord, Event, Ledger, Member, Standing, Want
from penstock.observe import caught_up_of, freshness_us, freshness_words

__all__ = ["FlowStatus", "flow_statuses", "is_there", "living_server"]

_SHOULD_RUN = ("held", "waiting", "down", "starting")
_STATES = {"loading": "starting", "migrating": "starting", "catching-up": "starting", "leading": "running"}


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """One flow. `state`: running, starting, paused, draining, stopping, taking-over, rewriting; without a leader:
    stopped, finished, scheduled, held, waiting, busy (by `penstock run`), down (it should run, and no server is there).

    `note`: why, in a sentence. `choices`: what a person may type. `members`: leader first.
    """

    flow: str
    state: str
    want: str | None = None
    version: str = ""
    note: str = ""
    choices: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    epoch: int | None = None
    generation: int | None = None
    committed_us: int | None = None
    watermark_us: int | None = None
    failures: int = 0
    next_us: int | None = None
    deployment: str | None = None
    options: Mapping[str, Any] | None = None
    committed_watermark_us: int | None = None
    caught_up_us: int | None = None
    waits: bool | None = None
    """Whether input waits; None where nobody looks: it is stopped, or between the runs of a schedule."""
    objective_us: int | None = None
    owner: str = ""

    def fresh_s(self, now_us: int) -> float | None:
        """How far what readers see lags behind what has come (`penstock.observe.freshness_us`)."""
        if self.waits is None:
            return None
        found = freshness_us(
            now_us=now_us,
            committed_us=self.committed_us,
            watermark_us=self.committed_watermark_us,
            caught_up_us=self.caught_up_us,
            waits=self.waits,
        )
        return None if found is None else found / 1e6

    @property
    def objective_s(self) -> float | None:
        """How fresh its author wants it to be."""
        return None if self.objective_us is None else self.objective_us / 1e6

    @property
    def leader(self) -> Member | None:
        """The member that leads, or is about to."""
        return next((member for member in self.members if is_leader(member)), None)

    def as_dict(self, *, now_us: int) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "flow": self.flow,
            "state": self.state,
            "want": self.want,
            "version": self.version,
            "note": self.note,
            "choices": list(self.choices),
            "epoch": self.epoch,
            "generation": self.generation,
            "committed_us": self.committed_us,
            "watermark_us": self.watermark_us,
            "behind_s": None if self.watermark_us is None else max(now_us - self.watermark_us, 0) / 1e6,
            "fresh_s": self.fresh_s(now_us),
            "objective_s": self.objective_s,
            "freshness": freshness_words(self.fresh_s(now_us), self.objective_s),
            "owner": self.owner,
            "failures": self.failures,
            "next_us": self.next_us,
            "deployment": self.deployment,
            "options": dict(self.options or {}),
            "members": [member_values(member) for member in self.members],
        }


def member_values(member: Member) -> dict[str, Any]:
    """A member as plain JSON values."""
    return {
        "member": member.id,
        "flow": member.flow,
        "version": member.version,
        "pid": member.pid,
        "host": member.host,
        "wish": dict(member.wish),
        "facts": dict(member.facts),
        "joined_us": member.joined_us,
        "facts_us": member.facts_us,
        "ended_us": member.ended_us,
        "ended": member.ended,
    }


def living_server(environment: Environment) -> ServerFacts | None:
    """The server of an environment, as far as this machine can tell; None where none runs."""
    found = read_server(environment.folder)
    return None if found is None or found.is_alive is False else found


def is_there(member: Member) -> bool:
    """Whether a member's process is there; of another machine's, what the ledger says."""
    if member.ended_us is not None:
        return False
    return member.host != this_host() or process_started(member.pid) == member.started


def flow_statuses(
    ledger: Ledger,
    environment: Environment,
    clock: Clock,
    *,
    flow: str | None = None,
    policy: RestartPolicy | None = None,
) -> list[FlowStatus]:
    """All flows that ran or are wished to, by name, or one of them. Raises LedgerError."""
    operations = ledger.operations
    desired = {one.flow: one for one in operations.all_desired()}
    known = {one.flow: one for one in ledger.flows()}
    deployments = {one.flow: one for one in operations.deployments(running=True)}
    has_server = living_server(environment) is not None
    names = sorted({*desired, *known}) if flow is None else [flow] if flow in {*desired, *known} else []
    found = []
    for name in names:
        members = ledger.members(name, ended=True)
        here = [member for member in members if is_there(member)]
        ends = [end for end in map(read_end, members) if end is not None]
        ends.sort(key=lambda end: end.at_us, reverse=True)
        last = next(iter(ledger.epochs(name, limit=1, newest=True)), None)
        facts = known.get(name)
        wish = desired.get(name)
        held = None if wish is None else event_of(operations, wish, "held")
        refused = None if wish is None or here else event_of(operations, wish, "start-refused")
        look = _Look(environment, clock, wish, here, ends, deployments.get(name), has_server, held, refused)
        standing = ledger.standing(name)
        seen = look.status(name, standing, policy or RestartPolicy())
        leads = seen.leader
        watermark_us = None if leads is None else leads.facts.get("watermark_us")
        waits, caught_up_us = _waiting(seen, members, last, clock.now_us())
        told = _told(ledger, name, seen, members)
        found.append(
            replace(
                seen,
                waits=waits,
                caught_up_us=caught_up_us,
                committed_watermark_us=None if last is None else last.watermark_us,
                objective_us=told.get("freshness_us"),
                owner=str(told.get("owner") or ""),
                epoch=None if standing is None else standing.last_epoch,
                generation=None if standing is None else standing.generation,
                committed_us=None if facts is None else facts.committed_us,
                watermark_us=watermark_us or (None if last is None else last.watermark_us),
            )
        )
    return found


def _waiting(
    seen: FlowStatus, members: Sequence[Member], last: EpochRecord | None, now_us: int
) -> tuple[bool | None, int | None]:
    """Whether input waits, as far as anybody knows, and when all of it was last worked off."""
    known = [int(one.facts["caught_up_us"]) for one in members if one.facts.get("caught_up_us") is not None]
    caught_up_us = max(known, default=None)
    leader = seen.leader
    if leader is None:
        if seen.state == "finished" or (last is not None and last.plan.final):
            return False, caught_up_us
        return (True if seen.state in _SHOULD_RUN else None), caught_up_us
    if leader.facts.get("caught_up_us") is None and leader.facts.get("waits") is None:
        return True, caught_up_us  # it begins
    return caught_up_of(leader.facts, now_us=now_us)[1], caught_up_us


def _told(ledger: Ledger, flow: str, seen: FlowStatus, members: Sequence[Member]) -> Mapping[str, Any]:
    """Owner and objective: what the flow's process tells, or the manifest of its version."""
    for member in reversed(members if seen.leader is None else [seen.leader]):
        if "owner" in member.facts and member.version == seen.version:
            return member.facts
    kept = ledger.operations.version(flow, seen.version) if seen.version else None
    return {} if kept is None else kept.manifest


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is to see of one flow."""

    environment: Environment
    clock: Clock
    desired: Desired | None
    members: Sequence[Member]
    ends: Sequence[End]
    deployment: Deployment | None
    has_server: bool
    held: Event | None
    refused: Event | None

    def status(self, flow: str, standing: Standing | None, policy: RestartPolicy) -> FlowStatus:
        desired = self.desired
        leader = next((member for member in reversed(self.members) if is_leader(member)), None)
        members = tuple(sorted(self.members, key=lambda member: member is not leader))
        state, note, choices, failures, next_at_us = (
            (*_state_of(leader), (), 0, None) if leader is not None else self._without_leader(flow, policy)
        )
        version = leader.version if leader is not None else desired.version if desired is not None else ""
        return FlowStatus(
            flow,
            state,
            want=None if desired is None else desired.want.value,
            version=version or ("" if standing is None else standing.version),
            note=note,
            choices=choices,
            members=members,
            failures=failures,
            next_us=next_at_us,
            deployment=None if self.deployment is None else self.deployment.id,
            options=None if desired is None else desired.options,
        )

    def _without_leader(self, flow: str, policy: RestartPolicy) -> tuple[str, str, tuple[str, ...], int, int | None]:
        desired, env = self.desired, self.environment.name
        option = "" if env == "dev" else f" --env {env}"
        if self.members and all(member.wish.get("role") == "stop" for member in self.members):
            return "stopping", "", (), 0, None
        holder = lock_holder(flow_folder(self.environment, flow))
        if holder is not None:
            return "busy", f"process {holder} runs it by `penstock run`", (), 0, None
        if desired is None or desired.want is Want.STOPPED:
            return "stopped", "", (f"penstock start {flow}{option}",), 0, None
        schedule = read_schedule(desired.options)
        if schedule is None and is_over(self.ends, desired):
            return "finished", "its input is read to the end", (), 0, None
        ends = [end for end in own_ends(self.ends, desired) if end.led]
        judged = verdict(flow, env, ends, policy=policy)
        if self.held is not None:
            body = self.held.body
            return "held", str(body["sentence"]), tuple(body["choices"]), int(body["failures"]), None
        if schedule is not None and not (ends and ends[0].is_bad):
            if desired.want is Want.PAUSED:
                return "paused", "its schedule rests", (), 0, None
            since_us = max(last_run(self.members, self.ends) or 0, self.clock.now_us())
            return "scheduled", schedule.cron, (), 0, next_us(schedule, since_us)
        if not self.has_server:
            return "down", f"no server runs in {env}", (f"penstock up{option}",), 0, None
        if isinstance(judged, Wait):
            return "waiting", judged.sentence, (), judged.failures, judged.until_us
        if self.refused is not None and (not ends or self.refused.at_us > ends[0].at_us):
            hint = self.refused.body.get("hint")
            return "waiting", str(self.refused.body["message"]), (str(hint),) if hint else (), judged.failures, None
        return "starting", "", (), judged.failures, None


def _state_of(leader: Member) -> tuple[str, str]:
    state = str(leader.facts.get("state") or "starting")
    state = _STATES.get(state, state)
    if leader.wish.get("role") == "stop":
        return "stopping", "it finishes its epoch"
    if state == "running" and leader.wish.get("drain"):
        state = "draining"
    if state in ("following", "ready"):
        state = "taking-over"
    return state, str(leader.facts.get("message") or "")
