"""The routes. A handler reads facts from the ledger or writes a wish to it; the rest is the supervisor's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from penstock.clock import Clock
from penstock.control import (
    AlertPlan,
    CatchUp,
    Environment,
    FlowStatus,
    Meter,
    Schedule,
    Wisher,
    flow_statuses,
    living_server,
    member_values,
)
from penstock.errors import ConfigError, DefinitionError, FlowBusy, LedgerError, PenstockError, QueryError
from penstock.interfaces.http.access import PAGES
from penstock.interfaces.http.alerts import alert_routes
from penstock.interfaces.http.bodies import REFUSALS, Ask, ScheduleAsk, StartAsk, Whole
from penstock.interfaces.http.dashboards import dashboard_routes
from penstock.interfaces.http.deployments import Begin, deployment_routes
from penstock.interfaces.http.facts import glance_routes, overview_of_all
from penstock.interfaces.http.guard import Guard
from penstock.interfaces.http.keys import Keys
from penstock.interfaces.http.letters import letter_routes
from penstock.interfaces.http.logs import log_routes
from penstock.interfaces.http.metrics import metric_routes
from penstock.interfaces.http.missing import NotThere, known_flow
from penstock.interfaces.http.recent import RecentEpochs
from penstock.interfaces.http.rows import row_routes
from penstock.interfaces.http.session import session_routes
from penstock.interfaces.http.sessions import LoginLink
from penstock.interfaces.http.stream import stream_routes
from penstock.interfaces.http.tokens import TokenHash
from penstock.interfaces.web import page_routes
from penstock.ledger import Desired, Ledger

__all__ = ["make_app"]

_DESCRIPTION = "Flows of one environment: what they do, what they should do. All of it is in the ledger."
_MOST = 10_000


def make_app(
    environment: Environment,
    ledger: Ledger,
    clock: Clock,
    token: TokenHash,
    *,
    begin: Begin | None = None,
    meter: Meter | None = None,
    alerts: AlertPlan | None = None,
    wake: Callable[[], None] = lambda: None,
    project: str = "",
    link: LoginLink | None = None,
    names: frozenset[str] = frozenset(),
) -> ASGIApp:
    """The application of one environment's server.

    `begin`: begins handovers. `meter`: measures the flows, with a store of what was. `alerts`: what is looked at.
    `wake`: called after a wish, so that it is looked at at once.
    `project`: its name. `link`: what the printed link opens. `names`: by which it is asked, beside those of loopback.
    """
    app = FastAPI(
        title="Penstock", description=_DESCRIPTION, version="1", responses=REFUSALS, docs_url=None, redoc_url=None
    )
    app.add_exception_handler(PenstockError, _failed)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_exception_handler(HTTPException, _unread)
    keys = Keys(token, environment.folder, clock, link=link)
    recent = RecentEpochs(ledger, clock)
    overview = overview_of_all(environment, ledger, clock, recent)
    session_routes(app, environment, project, keys)
    _fact_routes(app, environment, ledger, clock)
    glance_routes(app, environment, ledger, clock, overview, recent)
    stream_routes(app, ledger, clock, overview)
    measured = meter or Meter(ledger, environment, clock)
    metric_routes(app, measured)
    alert_routes(app, ledger, clock, alerts or AlertPlan(), measured)
    _flow_routes(app, environment, ledger, clock)
    _wish_routes(app, environment, ledger, clock, wake)
    log_routes(app, environment, clock)
    deployment_routes(app, environment, ledger, clock, begin=begin, wake=wake)
    letter_routes(app, environment, ledger, clock, wake)
    row_routes(app, environment, ledger, clock)
    dashboard_routes(app, ledger)
    page_routes(app, PAGES)
    return Guard(app, keys, names=names)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PenstockError)
    return JSONResponse({"error": error.as_dict()}, _status(error))


def _status(error: PenstockError) -> int:
    """404 for what is not there, 409 for what is otherwise now, 422 for what is wrong, 503 for what heals."""
    if isinstance(error, NotThere):
        return 404
    if isinstance(error, FlowBusy):
        return 409
    if isinstance(error, LedgerError):
        return 503 if error.heals else 409
    return 422 if isinstance(error, (ConfigError, DefinitionError, QueryError)) else 500


async def _misread(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg'].lower()}" for one in error.errors()]
    found = ConfigError("; ".join(faults), hint="see /openapi.json")
    return JSONResponse({"error": found.as_dict()}, 422)


async def _unread(_: Request, error: Exception) -> JSONResponse:
    """What the framework refuses by itself, a body that is no JSON for example, in the form of all errors."""
    assert isinstance(error, HTTPException)
    found = ConfigError(str(error.detail).lower(), hint="see /openapi.json")
    return JSONResponse({"error": found.as_dict()}, error.status_code, error.headers)


def _fact_routes(app: FastAPI, environment: Environment, ledger: Ledger, clock: Clock) -> None:
    @app.get("/v1/health", tags=["server"])
    def health() -> dict[str, Any]:
        """Whether the server answers, and which one leads the environment."""
        leads = living_server(environment)
        return {"ok": True, "env": environment.name, "server": None if leads is None else leads.as_dict()}

    @app.get("/v1/events", tags=["facts"])
    def events(kind: str | None = None, limit: int = 100) -> dict[str, Any]:
        """What happened in the environment, newest first."""
        found = ledger.operations.events(kind=kind, limit=_limited(limit))
        return {"events": [asdict(event) for event in found]}

    @app.get("/v1/members", tags=["facts"])
    def members(*, ended: bool = False) -> dict[str, Any]:
        """The processes of all flows."""
        return {"members": [member_values(member) for member in ledger.members(ended=ended)]}

    @app.get("/v1/flows", tags=["flows"])
    def flows() -> dict[str, Any]:
        """All flows that ran here or are wished to."""
        found = flow_statuses(ledger, environment, clock)
        return {"flows": [status.as_dict(now_us=clock.now_us()) for status in found]}


def _flow_routes(app: FastAPI, environment: Environment, ledger: Ledger, clock: Clock) -> None:
    def known(flow: str) -> FlowStatus:
        return known_flow(flow, environment, ledger, clock)

    @app.get("/v1/flows/{flow}", tags=["flows"])
    def one_flow(flow: str) -> dict[str, Any]:
        """One flow: what it should be, what it is, its processes, and why it is held where it is."""
        return known(flow).as_dict(now_us=clock.now_us())

    @app.get("/v1/flows/{flow}/epochs", tags=["facts"])
    def epochs(
        flow: str, first: Whole = 0, last: Whole | None = None, limit: int = 100, *, brief: bool = False
    ) -> dict[str, Any]:
        """The newest epochs of a range, in their order. The page before them ends with the first of them - 1.

        `brief`: with `steps` and `metrics` empty, which are nearly all of the records of a flow of many steps.
        """
        known(flow)
        found = ledger.epochs(flow, first=first, last=last, limit=_limited(limit), newest=True)
        if brief:
            found = [replace(record, steps={}, metrics={}) for record in found]
        return {"epochs": [asdict(record) for record in found]}

    @app.get("/v1/flows/{flow}/members", tags=["facts"])
    def members(flow: str, *, ended: bool = False) -> dict[str, Any]:
        """The processes of a flow."""
        known(flow)
        return {"members": [member_values(member) for member in ledger.members(flow, ended=ended)]}

    @app.get("/v1/flows/{flow}/versions", tags=["facts"])
    def versions(flow: str) -> dict[str, Any]:
        """The versions of a flow, oldest first."""
        known(flow)
        return {"versions": [asdict(facts) for facts in ledger.operations.versions(flow)]}

    @app.get("/v1/flows/{flow}/dead-letters", tags=["facts"])
    def dead_letters(flow: str, first: Whole = 0, limit: int = 100) -> dict[str, Any]:
        """Rows that could not be processed. The next page begins with the last id + 1."""
        known(flow)
        found = ledger.dead_letters(flow, first=first, limit=_limited(limit))
        return {"count": ledger.count_dead_letters(flow), "dead_letters": [asdict(letter) for letter in found]}

    @app.get("/v1/flows/{flow}/events", tags=["facts"])
    def events(flow: str, kind: str | None = None, limit: int = 100) -> dict[str, Any]:
        """What happened with a flow, newest first."""
        known(flow)
        return {"events": [asdict(one) for one in ledger.operations.events(flow, kind=kind, limit=_limited(limit))]}


def _wish_routes(
    app: FastAPI, environment: Environment, ledger: Ledger, clock: Clock, wake: Callable[[], None]
) -> None:
    def wisher(ask: Ask) -> Wisher:
        return Wisher(ledger, environment, clock, who=ask.who, why=ask.why)

    def said(desired: Desired) -> dict[str, Any]:
        wake()
        return {"desired": {**asdict(desired), "want": desired.want.value}}

    @app.post("/v1/flows/{flow}/start", tags=["wishes"])
    def start(flow: str, ask: StartAsk) -> dict[str, Any]:
        """Let a flow run."""
        asked = ask.model_dump(exclude={"who", "why", "version", "retry"}, exclude_none=True)
        return said(wisher(ask).start(flow, version=ask.version, retry=ask.retry, options=asked))

    @app.post("/v1/flows/{flow}/stop", tags=["wishes"])
    def stop(flow: str, ask: Ask) -> dict[str, Any]:
        """Let a flow finish its epoch and end."""
        return said(wisher(ask).stop(flow))

    @app.post("/v1/flows/{flow}/pause", tags=["wishes"])
    def pause(flow: str, ask: Ask) -> dict[str, Any]:
        """Let a flow's process stay, and plan no epoch."""
        return said(wisher(ask).pause(flow))

    @app.post("/v1/flows/{flow}/resume", tags=["wishes"])
    def resume(flow: str, ask: Ask) -> dict[str, Any]:
        """Let a paused flow go on."""
        return said(wisher(ask).resume(flow))

    @app.post("/v1/flows/{flow}/drain", tags=["wishes"])
    def drain(flow: str, ask: Ask) -> dict[str, Any]:
        """Let a flow read what is there, and end."""
        return said(wisher(ask).drain(flow))

    @app.post("/v1/flows/{flow}/schedule", tags=["wishes"])
    def schedule(flow: str, ask: ScheduleAsk) -> dict[str, Any]:
        """Let a flow run by the clock, or no more."""
        given = None if ask.cron is None else Schedule(ask.cron, _catch_up(ask.catch_up), ask.zone)
        return said(wisher(ask).schedule(flow, given))


def _catch_up(text: str) -> CatchUp:
    if text not in [one.value for one in CatchUp]:
        raise ConfigError(f"{text!r} is no way to catch up", hint=f"use one of {', '.join(CatchUp)}")
    return CatchUp(text)


def _limited(limit: int) -> int:
    return max(1, min(limit, _MOST))
