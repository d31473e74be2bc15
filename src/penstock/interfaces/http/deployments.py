"""The routes of handovers: what is under way and was, a new one, and what people say to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

from fastapi import FastAPI

from penstock.clock import Clock
from penstock.control import Asker, Environment
from penstock.errors import FlowBusy
from penstock.interfaces.http.bodies import Answer, DeploymentAsk
from penstock.interfaces.http.missing import NotThere, known_flow
from penstock.ledger import Deployment, DeploymentStatus, Event, Ledger

__all__ = ["Begin", "deployment_routes"]

Begin: TypeAlias = Callable[[str, str, str | None, Mapping[str, Any], str, str], Deployment]
"""Begins a handover: flow, kind, version, options, who, why. Raises PenstockError."""

_MOST = 1_000


def deployment_routes(
    app: FastAPI,
    environment: Environment,
    ledger: Ledger,
    clock: Clock,
    *,
    begin: Begin | None,
    wake: Callable[[], None],
) -> None:
    """Add the routes."""
    operations = ledger.operations
    _undo_route(app, environment, ledger, clock)

    def known(deployment: str) -> Deployment:
        found = operations.deployment(deployment)
        if found is None:
            raise NotThere(f"there is no deployment {deployment!r}", hint="GET /v1/deployments lists them")
        return found

    def answered(deployment: str, answer: Answer, *, yes: bool) -> dict[str, Any]:
        asker = Asker(ledger, environment, clock, who=answer.who, why=answer.why)
        made = asker.approve(known(deployment).id, yes=yes)
        wake()
        return {"deployment": _values(made)}

    @app.get("/v1/deployments", tags=["deployments"])
    def deployments(flow: str | None = None, *, running: bool = False, limit: int = 100) -> dict[str, Any]:
        """Handovers, newest first."""
        found = operations.deployments(flow, running=running, limit=max(1, min(limit, _MOST)))
        return {"deployments": [_values(one) for one in found]}

    @app.get("/v1/deployments/{deployment}", tags=["deployments"])
    def one_deployment(deployment: str) -> dict[str, Any]:
        """One handover: its plan, how far it is, what its stages found, its receipt."""
        return {"deployment": _values(known(deployment))}

    @app.post("/v1/flows/{flow}/deployments", tags=["deployments"], status_code=201)
    def new_deployment(flow: str, ask: DeploymentAsk) -> dict[str, Any]:
        """Begin a handover: kind deploy, rollback, undo or replay."""
        known_flow(flow, environment, ledger, clock)
        if begin is None:
            raise NotThere("this server does no handovers", hint=f"penstock {ask.kind} {flow}")
        made = begin(flow, ask.kind, ask.version, ask.options, ask.who, ask.why)
        wake()
        return {"deployment": _values(made)}

    @app.post("/v1/deployments/{deployment}/approve", tags=["deployments"])
    def approve(deployment: str, answer: Answer) -> dict[str, Any]:
        """Say yes to the cut."""
        return answered(deployment, answer, yes=True)

    @app.post("/v1/deployments/{deployment}/refuse", tags=["deployments"])
    def refuse(deployment: str, answer: Answer) -> dict[str, Any]:
        """Say no to the cut; the old version goes on."""
        return answered(deployment, answer, yes=False)

    @app.post("/v1/deployments/{deployment}/cancel", tags=["deployments"])
    def cancel(deployment: str, answer: Answer) -> dict[str, Any]:
        """Take it back: before the cut nothing has changed, after it the old version takes over again."""
        found = known(deployment)
        if found.status is not DeploymentStatus.RUNNING:
            raise FlowBusy(f"deployment {deployment} is over: {found.status.value}", flow=found.flow)
        asked = {"who": answer.who, "why": answer.why, "at_us": clock.now_us()}
        operations.advance_deployment(found.id, facts={"rollback_asked": asked})
        operations.note(Event("rollback-asked", found.flow, {"deployment": found.id, **asked}, answer.who))
        wake()
        return {"deployment": _values(known(found.id))}


def _undo_route(app: FastAPI, environment: Environment, ledger: Ledger, clock: Clock) -> None:
    @app.get("/v1/flows/{flow}/undo", tags=["deployments"])
    def undo_preview(flow: str, to: str, version: str | None = None) -> dict[str, Any]:
        """What an undo to an epoch, a time or a version would take back and run again; nothing is changed."""
        known_flow(flow, environment, ledger, clock)
        preview = Asker(ledger, environment, clock).preview_undo(flow, to, version=version)
        return {"undo": preview.as_json()}


def _values(deployment: Deployment) -> dict[str, Any]:
    return {**asdict(deployment), "status": deployment.status.value}
