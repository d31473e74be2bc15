"""What people may ask of handovers, and what is refused: the rules behind `penstock deploy`, `rollback`, `undo`,
`replay`, `approve` and the REST. Nothing is done here: what is asked is written to the ledger, and the server does it.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.clock import Clock, new_id
from penstock.control.bundles import bundle_of
from penstock.control.locks import lock_holder
from penstock.control.policies import DeployPolicy, Extent, extent_of
from penstock.control.project import Environment
from penstock.control.rollouts.chores import Chores
from penstock.control.rollouts.handover import leads
from penstock.control.rollouts.plans import (
    Ask,
    Deploy,
    Hidden,
    Manner,
    Replay,
    Rollback,
    Situation,
    Undo,
    build_plan,
    starting_point,
)
from penstock.control.rollouts.stages import Gate, Stage, Watch, plan_to_json, short
from penstock.control.rollouts.targets import TakenBack, Target, resolve_target, taken_back, version_runs
from penstock.control.supervising.standing import is_leader
from penstock.control.tables import flow_folder
from penstock.control.version_environments import python_of
from penstock.errors import ConfigError, DefinitionError, FlowBusy
from penstock.flow import duration_us
from penstock.ledger import Deployment, DeploymentStatus, Event, Ledger, Member, check_flow_name

__all__ = ["Asker", "Intent", "UndoPreview", "begin_by_request", "epochs_of", "manner_of", "situation_of"]

_LOOK_EVERY_S = 0.05
_MOST_EPOCHS = 100_000
KINDS: Mapping[type[Ask], str] = {Deploy: "deploy", Rollback: "rollback", Undo: "undo", Replay: "replay"}


@dataclass(frozen=True, slots=True)
class Intent:
    """What somebody is about to ask: the plan and what it is for. An empty plan: there is nothing to do.

    `said_to`: the running deployment that it is said to, instead of beginning one; `facts`: what is said.
    """

    flow: str
    ask: Ask
    plan: tuple[Stage, ...]
    old_version: str = ""
    said_to: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """deploy, rollback, undo or replay."""
        return KINDS[type(self.ask)]


@dataclass(frozen=True, slots=True)
class UndoPreview:
    """What an undo would do. `sinks`, `input`: as the check of the version says; `start_epoch`: where it begins."""

    target: Target
    version: str
    losses: TakenBack
    start_epoch: int
    hidden: bool
    sinks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    input: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None

    @property
    def is_possible(self) -> bool:
        """Whether nothing is known that is against it."""
        return self.error is None and all(found.get("there") for found in self.input.values())

    def sinks_that(self, *, correct: bool) -> tuple[str, ...]:
        """Of the sinks that can't take rows back, those that can or can't send corrections."""
        return tuple(
            step
            for step, found in self.sinks.items()
            if not found.get("undoable") and bool(found.get("corrects")) is correct
        )

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "to_epoch": self.target.epoch,
            "why": self.target.why,
            "version": self.version,
            "starts_from_epoch": self.start_epoch,
            "epochs_run_again": max(0, self.losses.last - self.start_epoch),
            "hidden": self.hidden,
            "possible": self.is_possible,
            "taken_back": self.losses.as_json(),
            "sinks": {step: dict(found) for step, found in self.sinks.items()},
            "input": {step: dict(found) for step, found in self.input.items()},
            "error": self.error,
        }


def manner_of(
    policy: DeployPolicy,
    *,
    shadow: Extent | None = None,
    watch_s: float | None = None,
    auto_approve: bool = False,
    force: bool = False,
    why: str = "",
) -> Manner:
    """How a handover is done: by the environment's policy, and what a person says otherwise. Raises ConfigError."""
    if force and not why.strip():
        raise ConfigError("a gate is forced only with a reason", hint="add --why TEXT: it stays in the receipt")
    extent = policy.shadow if shadow is None else shadow
    approve = {"always": "person", "differences": "differences", "never": "policy"}[policy.approve]
    return Manner(
        shadow_epochs=extent.epochs,
        shadow_s=extent.seconds_s,
        watch_s=policy.watch_s if watch_s is None else watch_s,
        approve="policy" if auto_approve else approve,
        force=force,
        why=why if force else "",
    )


def situation_of(ledger: Ledger, flow: str) -> Situation:
    """Where a flow is now."""
    standing = ledger.standing(flow)
    members = ledger.members(flow)
    running = any(is_leader(member) or leads(member, standing) for member in members)
    version = "" if standing is None else standing.version
    hidden = next((_hidden(member) for member in members if _is_hidden(member, version)), None)
    return Situation(flow, standing, running, tuple(ledger.savepoints(flow)), hidden)


def _is_hidden(member: Member, version: str) -> bool:
    return member.version != version and member.facts.get("role") == "following" and member.wish.get("part") == "old"


def _hidden(member: Member) -> Hidden:
    return Hidden(member.id, member.version, int(member.facts.get("start_epoch") or 0) + 1)


class Asker:
    """Asks for handovers in the name of `who`. Raises ConfigError, FlowBusy, LedgerError."""

    def __init__(self, ledger: Ledger, environment: Environment, clock: Clock, *, who: str = "", why: str = "") -> None:
        self._ledger = ledger
        self._environment = environment
        self._clock = clock
        self._who = who or getpass.getuser()
        self._why = why

    # --- what would be done -------------------------------------------------------------------------------------------

    def deploy(self, flow: str, version: str, manner: Manner) -> Intent:
        """The version `version`, which was kept, is to lead."""
        return self._intent(flow, Deploy(version), manner)

    def rollback(self, flow: str, version: str | None = None) -> Intent:
        """The version that led before, or `version`, is to lead again; or what is under way is taken back."""
        running = self.running(flow)
        if running is not None and running.kind in ("deploy", "rollback"):
            back = running.old_version
            if version is not None and not back.startswith(version):
                raise self._busy(running)
            plan = build_plan(situation_of(self._ledger, flow), Rollback(back)) if running.stage == Watch.name else ()
            facts = {"rollback_asked": {"who": self._who, "why": self._why, "at_us": self._clock.now_us()}}
            return Intent(flow, Rollback(back), plan, running.new_version, running.id, facts)
        back = self.version_before(flow) if version is None else bundle_of(self._environment, flow, version).id
        return self._intent(flow, Rollback(back), Manner())

    def undo(self, preview: UndoPreview, flow: str, manner: Manner) -> Intent:
        """What `preview` shows is to be done."""
        ask = Undo(
            preview.target.epoch,
            preview.version,
            preview.sinks_that(correct=True),
            preview.sinks_that(correct=False),
        )
        running = self.running(flow)
        if running is None:
            return self._intent(flow, ask, manner)
        if not preview.hidden or running.stage != Watch.name or running.old_version != preview.version:
            raise self._busy(running)
        plan = build_plan(situation_of(self._ledger, flow), ask, manner)
        asked = {"who": self._who, "why": self._why, "at_us": self._clock.now_us()}
        facts = {"rollback_asked": {**asked, "rewrite_first": preview.target.epoch + 1}}
        return Intent(flow, ask, plan, running.new_version, running.id, facts)

    def preview_undo(self, flow: str, to: str, *, version: str | None = None) -> UndoPreview:
        """What an undo to an epoch, a version or a time would do; asks the version in a process of its own.

        `version`: by which to write anew, where it is not the one that ran the epoch.
        """
        target = resolve_target(self._ledger, flow, to, now_us=self._clock.now_us())
        good = target.version if version is None else bundle_of(self._environment, flow, version).id
        situation = situation_of(self._ledger, flow)
        if not good:
            good = "" if situation.standing is None else situation.standing.version
        last = 0 if situation.standing is None else situation.standing.last_epoch
        start = starting_point(situation.savepoints, target.epoch, good)
        begin = 0 if start is None else start.epoch
        hidden = situation.hidden
        warm = hidden is not None and hidden.version == good and hidden.first_epoch <= target.epoch + 1
        answer = self.examine(flow, good, input_from=None if warm or begin >= last else begin + 1)
        return UndoPreview(
            target,
            good,
            taken_back(self._ledger, flow, target.epoch + 1, last),
            begin,
            warm,
            sinks=answer.get("sinks") or {},
            input=answer.get("input") or {},
            error=None if answer.get("ok") else answer.get("error"),
        )

    def replay(
        self,
        flow: str,
        first: int,
        last: int,
        *,
        version: str | None = None,
        out: Path | None = None,
        environment: str | None = None,
    ) -> Intent:
        """Run epochs again beside what leads, by `version` or the one that leads."""
        count = last - first + 1
        if count > _MOST_EPOCHS:
            raise ConfigError(f"{count:,} epochs are too many for one replay", hint=f"at most {_MOST_EPOCHS:,}")
        versions = {record.version for record in self._ledger.epochs(flow, first=first, last=last)}
        then = next(iter(versions)) if len(versions) == 1 else None
        standing = self._ledger.standing(flow)
        chosen = "" if standing is None else standing.version
        if version is not None:
            chosen = bundle_of(self._environment, flow, version).id
        name = f"{flow}.replay-{first}-{last}-{short(chosen)}" if environment else ""
        if name:
            check_flow_name(name)
        kept = then if then is not None and self._is_kept(flow, then) else None
        ask = Replay(first, last, chosen, kept, None if out is None else str(out.resolve()), environment, name)
        return self._intent(flow, ask, Manner())

    def version_before(self, flow: str) -> str:
        """The version that led before the one that leads."""
        standing = self._ledger.standing(flow)
        for done in self._ledger.operations.deployments(flow):
            led = done.status is DeploymentStatus.DONE and standing is not None and done.new_version == standing.version
            if led and done.old_version not in ("", done.new_version) and self._is_kept(flow, done.old_version):
                return done.old_version
        for version, _, _ in version_runs(self._ledger, flow):
            if standing is not None and version != standing.version and self._is_kept(flow, version):
                return version
        raise ConfigError(
            "no version that is kept here led before this one",
            flow=flow,
            state_left="nothing was changed",
            hint=f"penstock versions {flow} lists those that are; name one with --version",
        )

    def examine(self, flow: str, version: str, *, input_from: int | None = None) -> Mapping[str, Any]:
        """What the check of a version finds, in a process of its own; waits for it."""
        job = {
            "kind": "check",
            "env": self._environment.name,
            "project_root": str(self._environment.root),
            "flow": flow,
            "version": version if self._is_kept(flow, version) else "",
            "input_from": input_from,
        }
        python = None
        if job["version"]:
            python = str(python_of(bundle_of(self._environment, flow, version)))
        chores = Chores(self._environment.folder / "chores", self._clock)
        try:
            while True:
                answer = chores.ask("check", job, python=python)
                if answer is not None:
                    return answer
                self._clock.sleep(_LOOK_EVERY_S)
        finally:
            chores.close()

    # --- asking -------------------------------------------------------------------------------------------------------

    def begin(self, intent: Intent) -> Deployment:
        """Let it be done. Raises FlowBusy where a deployment of the flow is under way, naming whose."""
        operations = self._ledger.operations
        if intent.said_to is not None:
            for fact, values in intent.facts.items():
                self._say(self.known(intent.said_to), fact, values)
            return self.known(intent.said_to)
        deployment = Deployment(
            new_id()[:12],
            intent.flow,
            intent.kind,
            intent.old_version,
            intent.ask.version,
            plan_to_json(intent.plan),
            who=self._who,
            why=self._why,
            made_us=self._clock.now_us(),
        )
        operations.begin_deployment(deployment)
        body = {"deployment": deployment.id, "kind": intent.kind, "version": intent.ask.version, "why": self._why}
        operations.note(Event("deployment-begun", intent.flow, body, self._who, deployment.made_us))
        return deployment

    def approve(self, deployment: str, *, yes: bool) -> Deployment:
        """Say yes or no to a cut. A gate that did not pass is approved only with a reason."""
        known = self.known(deployment)
        judged = known.facts.get(Gate.name) or {}
        if yes and not judged.get("passed", True) and not self._why.strip():
            raise ConfigError(
                f"the gate did not pass: {'; '.join(judged.get('reasons', ()))}",
                flow=known.flow,
                state_left="nothing was changed; the deployment waits",
                hint=f"say why it may go on all the same: penstock approve {deployment} --why TEXT",
            )
        values = {"yes": yes, "who": self._who, "why": self._why, "at_us": self._clock.now_us()}
        self._say(known, "approval", values)
        return self.known(deployment)

    def known(self, deployment: str) -> Deployment:
        """A deployment by its id, or by a beginning of it that only one has."""
        found = self._ledger.operations.deployment(deployment)
        if found is not None:
            return found
        all_known = self._ledger.operations.deployments()
        near = [one for one in all_known if deployment and one.id.startswith(deployment)]
        if len(near) == 1:
            return near[0]
        newest = ", ".join(one.id for one in (near or all_known)[:5])
        raise ConfigError(
            f"{len(near)} deployments begin with {deployment!r}" if near else f"there is no deployment {deployment!r}",
            hint=f"the newest are {newest}; all: penstock deployments" if newest else "none was ever made",
        )

    def running(self, flow: str) -> Deployment | None:
        """The deployment of a flow that is under way."""
        return next(iter(self._ledger.operations.deployments(flow, running=True)), None)

    def _say(self, deployment: Deployment, fact: str, values: Mapping[str, Any]) -> None:
        if deployment.status is not DeploymentStatus.RUNNING:
            raise FlowBusy(
                f"deployment {deployment.id} is over: {deployment.status.value}",
                flow=deployment.flow,
                hint=f"penstock deployments {deployment.id}",
            )
        operations = self._ledger.operations
        operations.advance_deployment(deployment.id, facts={fact: dict(values)})
        body = {"deployment": deployment.id, **values}
        operations.note(Event(fact.replace("_", "-"), deployment.flow, body, self._who, self._clock.now_us()))

    def _intent(self, flow: str, ask: Ask, manner: Manner) -> Intent:
        holder = lock_holder(flow_folder(self._environment, flow))
        if holder is not None:
            raise FlowBusy(
                f"process {holder} runs it by `penstock run`, and only what a server runs can be handed over",
                flow=flow,
                state_left="nothing was changed",
                hint=f"stop it (Ctrl-C there, or kill -TERM {holder}), then: penstock start {flow}",
            )
        situation = situation_of(self._ledger, flow)
        if not isinstance(ask, Deploy):
            situation = replace(situation, hidden=None)
        old = "" if situation.standing is None else situation.standing.version
        return Intent(flow, ask, build_plan(situation, ask, manner), old)

    def _is_kept(self, flow: str, version: str) -> bool:
        try:
            return bool(version) and bundle_of(self._environment, flow, version).id == version
        except ConfigError:
            return False

    def _busy(self, running: Deployment) -> FlowBusy:
        since_s = max(0, self._clock.now_us() - running.made_us) // 1_000_000
        stage = running.stage or "the first stage"
        back = f"penstock rollback {running.flow}"
        return FlowBusy(
            f"a {running.kind} of this flow by {running.who} is under way for {since_s} s, at {stage}",
            flow=running.flow,
            state_left="nothing was changed",
            hint=f"wait for it: penstock deployments {running.id}; or take it back: {back}",
        )


def begin_by_request(environment: Environment, ledger: Ledger, clock: Clock) -> Callable[..., Deployment]:
    """What begins handovers for who asks by REST: a function of flow, kind, version, options, who and why.

    Options have the names of the command line's. A deploy needs a version that was kept. Raises ConfigError, FlowBusy.
    """

    def begin(flow: str, kind: str, version: str | None, options: Mapping[str, Any], who: str, why: str) -> Deployment:
        asker = Asker(ledger, environment, clock, who=who, why=why)
        given = dict(options)
        intent = _requested(asker, environment, flow, kind, version, given, why)
        if given:
            raise ConfigError(
                f"{kind} has no option {', '.join(sorted(given))}", flow=flow, hint=f"penstock {kind} --help"
            )
        if not intent.plan and intent.said_to is None:
            raise ConfigError(f"there is nothing to {kind}", flow=flow, state_left="nothing was changed")
        return asker.begin(intent)

    return begin


def _requested(
    asker: Asker,
    environment: Environment,
    flow: str,
    kind: str,
    version: str | None,
    given: dict[str, Any],
    why: str,
) -> Intent:
    """The intent of a request; takes the options that it knows out of `given`."""
    if kind == "rollback":
        return asker.rollback(flow, version)
    if kind == "replay":
        first, last = epochs_of(str(given.pop("epochs", "")))
        out = given.pop("out", None)
        place = None if out is None else Path(str(out))
        return asker.replay(flow, first, last, version=version, out=place, environment=given.pop("into", None))
    if kind not in ("deploy", "undo"):
        raise ConfigError(f"there is no {kind!r}", flow=flow, hint="kinds: deploy, rollback, undo, replay")
    try:
        shadow, watch = given.pop("shadow", None), given.pop("watch", None)
        manner = manner_of(
            environment.deploy,
            shadow=None if shadow is None else extent_of(shadow),
            watch_s=None if watch is None else duration_us(str(watch), what="watch") / 1e6,
            auto_approve=bool(given.pop("auto_approve", False)),
            force=bool(given.pop("force", False)),
            why=why,
        )
    except (ValueError, DefinitionError) as error:
        raise ConfigError(f"an option is wrong: {error}", flow=flow) from error
    if kind == "undo":
        return asker.undo(asker.preview_undo(flow, str(given.pop("to", "")), version=version), flow, manner)
    if version is None:
        raise ConfigError("which version is to be deployed?", flow=flow, hint=f"penstock versions {flow} lists them")
    return asker.deploy(flow, bundle_of(environment, flow, version).id, manner)


def epochs_of(text: str) -> tuple[int, int]:
    """`A..B` or `A`. Raises ConfigError that shows the form."""
    found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no range of epochs", hint="write for example --epochs 100..200")
    first = int(found[1])
    return first, int(found[2] or first)
