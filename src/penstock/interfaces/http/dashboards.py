"""Dashboards that people make: each is a document of the ledger, as the page wrote it."""

from __future__ import annotations

import re
from typing import Any, Literal

from fastapi import FastAPI, Response
from pydantic import Field

from penstock.errors import ConfigError
from penstock.interfaces.http.bodies import Body
from penstock.interfaces.http.missing import NotThere
from penstock.ledger import Document, Event, Ledger

__all__ = ["DASHBOARD", "dashboard_routes"]

DASHBOARD = "dashboard"
"""The kind of document."""

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_MOST = 500


class Panel(Body):
    """One panel: the history of a metric, or the result of a query."""

    title: str = Field(default="", max_length=200)
    kind: Literal["metric", "sql", "logs"]
    metric: str = Field(default="", max_length=200)
    function: str = Field(default="last", max_length=20)
    flow: str = Field(default="", max_length=200)
    query: str = Field(default="", max_length=20_000)
    view: Literal["line", "bar", "table", "number"] = "line"
    wide: bool = False


class Dashboard(Body):
    """A dashboard. `scope`: what it is about, a flow, a team or the project; `about`: which one."""

    title: str = Field(min_length=1, max_length=200)
    scope: Literal["flow", "team", "project"] = "project"
    about: str = Field(default="", max_length=200)
    range: str = Field(default="1h", max_length=20)
    panels: list[Panel] = Field(default_factory=list, max_length=50)
    who: str = Field(default="", max_length=100)


def dashboard_routes(app: FastAPI, ledger: Ledger) -> None:
    """Add the routes."""
    kept = ledger.operations.documents

    @app.get("/v1/dashboards", tags=["dashboards"])
    def dashboards() -> dict[str, Any]:
        """All dashboards, by title."""
        found = [_values(one) for one in kept.documents(DASHBOARD)]
        return {"dashboards": sorted(found, key=lambda one: str(one["title"]).lower())}

    @app.get("/v1/dashboards/{dashboard}", tags=["dashboards"])
    def one_dashboard(dashboard: str) -> dict[str, Any]:
        """One dashboard."""
        return {"dashboard": _values(_there(kept.document(DASHBOARD, _checked(dashboard)), dashboard))}

    @app.put("/v1/dashboards/{dashboard}", tags=["dashboards"])
    def keep(dashboard: str, given: Dashboard) -> dict[str, Any]:
        """Keep a dashboard, in the place of what was there under this id."""
        known = kept.document(DASHBOARD, _checked(dashboard))
        if known is None and len(kept.documents(DASHBOARD)) >= _MOST:
            raise ConfigError(f"there are {_MOST} dashboards", hint="remove some that nobody looks at")
        made = Document(DASHBOARD, dashboard, given.model_dump(exclude={"who"}), given.who)
        kept.keep(made)
        ledger.operations.note(Event("dashboard-kept", "", {"dashboard": dashboard, "title": given.title}, given.who))
        return {"dashboard": _values(_there(kept.document(DASHBOARD, dashboard), dashboard))}

    @app.delete("/v1/dashboards/{dashboard}", tags=["dashboards"], status_code=204)
    def remove(dashboard: str) -> Response:
        """Remove a dashboard."""
        if not kept.drop(DASHBOARD, _checked(dashboard)):
            raise _missing(dashboard)
        ledger.operations.note(Event("dashboard-removed", "", {"dashboard": dashboard}))
        return Response(status_code=204)


def _checked(dashboard: str) -> str:
    if _ID.fullmatch(dashboard) is None:
        raise ConfigError(f"{dashboard!r} is no id of a dashboard", hint="use small letters, digits and -, at most 64")
    return dashboard


def _there(found: Document | None, dashboard: str) -> Document:
    if found is None:
        raise _missing(dashboard)
    return found


def _missing(dashboard: str) -> NotThere:
    return NotThere(f"there is no dashboard {dashboard!r}", hint="GET /v1/dashboards lists them")


def _values(kept: Document) -> dict[str, Any]:
    return {**kept.body, "id": kept.id, "who": kept.who, "changed_us": kept.changed_us}
