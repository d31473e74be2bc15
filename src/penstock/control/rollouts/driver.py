"""The driver: advances every running deployment of an environment by small deeds, each of which may be done again.

It remembers nothing that counts. What was done is in the ledger before the next thing is done, so a server that dies
between any two steps, or inside one, is replaced by one that goes on. However a deployment ends, one version leads, the
ledger says which, and nothing that was held for it stays held.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from penstock.clock import Clock
from penstock.control.rollouts import closing, cutting, judging, opening, watching
from penstock.control.rollouts.handover import Back, Go, Handover, Memory, Outcome, Stay, Stop, failed, refused
from penstock.control.rollouts.receipts import receipt
from penstock.control.rollouts.stages import (
    Approve,
    CatchUp,
    Check,
    Compare,
    Corrections,
    Cut,
    Follow,
    Gate,
    Hold,
    Into,
    Keep,
    Receipt,
    Retire,
    Savepoint,
    Shadow,
    Start,
    Verdict,
    Watch,
)
from penstock.control.rollouts.world import World
from penstock.errors import LedgerError, PenstockError
from penstock.ledger import Deployment, DeploymentStatus, Event, Ledger

__all__ = ["RELEASE", "Driver"]

RELEASE = "release"
"""The name of the stage that cleans up after what did not come to its end; no plan has it."""
STAGES_A_STEP = 8
HURRY_S = 60.0
CALM_S = 3.0
"""After a cut who leads works off what piled up."""
_PATIENT = frozenset({Approve.name, Watch.name, Retire.name, Receipt.name})

HANDLERS: Mapping[str, Callable[[Handover, Any], Outcome]] = {
    Check.name: opening.check,
    Verdict.name: opening.verdict,
    Hold.name: opening.hold,
    Savepoint.name: opening.savepoint,
    Follow.name: opening.follow,
    CatchUp.name: opening.catch_up,
    Start.name: opening.start,
    Shadow.name: judging.shadow,
    Gate.name: judging.gate,
    Approve.name: judging.approve,
    Compare.name: judging.compare,
    Keep.name: judging.keep,
    Into.name: judging.into,
    Cut.name: cutting.cut,
    Corrections.name: cutting.corrections,
    Watch.name: watching.watch,
    Retire.name: closing.retire,
}


class Driver:
    """All handovers of one environment; `step` is called by the server, in its one thread."""

    def __init__(self, ledger: Ledger, world: World, clock: Clock) -> None:
        self._ledger = ledger
        self._world = world
        self._clock = clock
        self._memories: dict[str, Memory] = {}
        self._hurried_s = -CALM_S

    def step(self) -> bool:
        """Do the next deeds of each running deployment. Raises LedgerError.

        A stage that is done is followed by the next one at once; one that has to wait is looked at again by the next
        step. Gives whether a cut may come soon, or came a moment ago: what can wait should.
        """
        running = self._ledger.operations.deployments(running=True)
        for deployment in running:
            found: Deployment | None = deployment
            for _ in range(STAGES_A_STEP):
                if found is None or not self._advance(found):
                    break
                found = self._ledger.operations.deployment(deployment.id)
                if found is not None and found.status is not DeploymentStatus.RUNNING:
                    break
            if found is not None and self._hurries(found):
                self._hurried_s = self._clock.stopwatch_s()
        known = {deployment.id for deployment in running}
        self._memories = {name: memory for name, memory in self._memories.items() if name in known}
        return self._clock.stopwatch_s() - self._hurried_s < CALM_S

    def _hurries(self, deployment: Deployment) -> bool:
        """Whether it is in a stage that leads to a cut, and not for long: a shadow may take hours."""
        if deployment.status is not DeploymentStatus.RUNNING or deployment.stage in _PATIENT:
            return False
        since_us = deployment.facts.get(deployment.stage, {}).get("began_us", deployment.made_us)
        return bool(self._clock.now_us() - since_us < HURRY_S * 1e6)

    def _advance(self, deployment: Deployment) -> bool:
        """Do one deed; gives whether another may follow at once."""
        memory = self._memories.setdefault(deployment.id, Memory())
        h: Handover | None = None
        try:
            h = Handover(self._ledger, self._world, self._clock, deployment, memory)
            outcome = self._outcome(h)
            self._move(h, outcome)
        except LedgerError as error:
            if error.heals:
                raise
            self._stop(deployment, h, failed(error))
        except PenstockError as error:
            self._stop(deployment, h, failed(error))
        except Exception as bug:
            told = "".join(traceback.format_exception_only(bug)).strip()
            where = traceback.extract_tb(bug.__traceback__)[-1]
            why = f"a bug in Penstock: {told} ({where.filename}:{where.lineno})"
            self._stop(deployment, h, Stop(DeploymentStatus.FAILED, why))
        else:
            return not isinstance(outcome, Stay)
        return True

    def _outcome(self, h: Handover) -> Outcome:
        name = h.current
        if name == RELEASE:
            return closing.release(h)
        if name == cutting.BACK:
            h.hold()
            return cutting.roll_back(h)
        stage = next((one for one in h.plan if one.name == name), None)
        if stage is None:
            return Stop(DeploymentStatus.FAILED, f"its plan has no stage {name!r}")
        if h.is_before_cut():
            stopped = _withdrawn(h)
            if stopped is not None:
                return stopped
        if not isinstance(stage, (Retire, Receipt)):
            h.hold()
        return Go() if isinstance(stage, Receipt) else HANDLERS[name](h, stage)

    def _move(self, h: Handover, outcome: Outcome) -> None:
        """Make durable what a deed came to."""
        name = h.current
        if isinstance(outcome, Stay):
            if "began_us" not in h.fact(name):
                h.note(name, began_us=h.now_us)
        elif isinstance(outcome, Stop):
            self._stop(h.deployment, h, outcome)
        elif isinstance(outcome, Back):
            self._enter(h, cutting.BACK, why=outcome.why)
        elif name == cutting.BACK:
            ending = {"status": DeploymentStatus.ROLLED_BACK.value, "why": h.fact(name).get("why", ""), "at": name}
            self._enter(h, RELEASE, ending=ending)
        elif name == RELEASE:
            self._finish(h, closing.final_status(h))
        else:
            following = h.next_stage(name)
            if following is None:
                self._finish(h, DeploymentStatus.DONE)
            else:
                self._enter(h, following.name)

    def _enter(self, h: Handover, stage: str, *, why: str = "", ending: Mapping[str, Any] | None = None) -> None:
        """The next stage, in one write with the end of the one before."""
        ended = {**h.fact(h.current), "ended_us": h.now_us}
        begun = {**h.fact(stage), "began_us": h.now_us, **({"why": why} if why else {})}
        h.remember_times(stage, begun)
        facts: dict[str, Any] = {h.current: ended, stage: begun}
        if ending is not None:
            facts["ending"] = ending
        self._ledger.operations.advance_deployment(h.deployment.id, stage=stage, facts=facts)

    def _stop(self, deployment: Deployment, h: Handover | None, stop: Stop) -> None:
        """Not to be done: clean up, whatever stage it was in. Where even that fails, end it as it is."""
        at = deployment.stage if h is None else h.current
        ending = {"status": stop.status.value, "why": stop.why, "error": stop.error, "at": at}
        if h is None or at == RELEASE:
            given = {"status": stop.status.value, "why": stop.why, "at_stage": at}
            self._ledger.operations.advance_deployment(deployment.id, status=DeploymentStatus.FAILED, receipt=given)
            return
        if at == cutting.BACK:
            ending["why"] = f"{h.fact(at).get('why', '')}; it could not be rolled back: {stop.why}"
        self._enter(h, RELEASE, ending=ending)

    def _finish(self, h: Handover, status: DeploymentStatus) -> None:
        written = receipt(h, status)
        operations = self._ledger.operations
        operations.advance_deployment(h.deployment.id, stage=h.current, status=status, receipt=written)
        body = {name: written.get(name) for name in ("deployment", "kind", "status", "why", "leads", "new_version")}
        operations.note(Event("deployment-ended", h.flow, body, who=h.deployment.who))
        if status is DeploymentStatus.FAILED and h.stage(Start) is not None:
            h.give_up()


def _withdrawn(h: Handover) -> Stop | None:
    """Whether somebody wants no cut any more: by taking the deployment back, or by stopping the flow."""
    asked = h.fact("rollback_asked")
    if asked:
        why = f": {asked['why']}" if asked.get("why") else ""
        return refused(f"{asked.get('who') or 'somebody'} took it back before the cut{why}")
    rest = h.is_to_rest()
    if rest is not None and h.stage(Hold) is not None:
        return Stop(DeploymentStatus.FAILED, f"{rest.who or 'somebody'} wants the flow {rest.want.value}")
    return None
