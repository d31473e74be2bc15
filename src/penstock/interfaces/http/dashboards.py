"""Dashboards that people make: kept as files of the environment, one each, as the page wrote them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field

from penstock.clock import Clock
from penstock.control import Environment
from penstock.errors import ConfigError
from penstock.interfaces.http.missing import NotThere
from penstock.interfaces.http.tokens import write_private
from penstock.ledger import Event, Ledger

__all__ = ["dashboard_routes"]

_FOLDER = "dashboards"
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_MOST = 500


class Panel(BaseModel):
    """One panel: the history of a metric, or the result of a query."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str = Field(default="", max_length=200)
    kind: Literal["metric", "sql", "logs"]
    metric: str = Field(default="", max_length=200)
    function: str = Field(default="last", max_length=20)
    flow: str = Field(default="", max_length=200)
    query: str = Field(default="", max_length=20_000)
    view: Literal["line", "bar", "table", "number"] = "line"
    wide: bool = False


class Dashboard(BaseModel):
    """A dashboard. `scope`: what it is about, a flow, a team or the project; `about`: which one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str = Field(min_length=1, max_length=200)
    scope: Literal["flow", "team", "project"] = "project"
    about: str = Field(default="", max_length=200)
    range: str = Field(default="1h", max_length=20)
    panels: list[Panel] = Field(default_factory=list, max_length=50)
    who: str = Field(default="", max_length=100)


def dashboard_routes(app: FastAPI, environment: Environment, ledger: Ledger, clock: Clock) -> None:
    """Add the routes."""
    folder = environment.folder / _FOLDER

    @app.get("/v1/dashboards", tags=["dashboards"])
    def dashboards() -> dict[str, Any]:
        """All dashboards, by title."""
        found = [one for path in sorted(folder.glob("*.json"))[:_MOST] if (one := _read(path)) is not None]
        return {"dashboards": sorted(found, key=lambda one: str(one["title"]).lower())}

    @app.get("/v1/dashboards/{dashboard}", tags=["dashboards"])
    def one_dashboard(dashboard: str) -> dict[str, Any]:
        """One dashboard."""
        found = _read(_path(folder, dashboard))
        if found is None:
            raise NotThere(f"there is no dashboard {dashboard!r}", hint="GET /v1/dashboards lists them")
        return {"dashboard": found}

    @app.put("/v1/dashboards/{dashboard}", tags=["dashboards"])
    def keep(dashboard: str, given: Dashboard) -> dict[str, Any]:
        """Keep a dashboard, in the place of what was there under this id."""
        path = _path(folder, dashboard)
        if not path.exists() and sum(1 for _ in folder.glob("*.json")) >= _MOST:
            raise ConfigError(f"there are {_MOST} dashboards", hint="remove some that nobody looks at")
        values = {**given.model_dump(), "changed_us": clock.now_us()}
        write_private(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
        ledger.operations.note(Event("dashboard-kept", "", {"dashboard": dashboard, "title": given.title}, given.who))
        return {"dashboard": {"id": dashboard, **values}}

    @app.delete("/v1/dashboards/{dashboard}", tags=["dashboards"], status_code=204)
    def remove(dashboard: str) -> Response:
        """Remove a dashboard."""
        path = _path(folder, dashboard)
        if not path.exists():
            raise NotThere(f"there is no dashboard {dashboard!r}")
        path.unlink(missing_ok=True)
        ledger.operations.note(Event("dashboard-removed", "", {"dashboard": dashboard}))
        return Response(status_code=204)


def _path(folder: Path, dashboard: str) -> Path:
    if _ID.fullmatch(dashboard) is None:
        raise ConfigError(f"{dashboard!r} is no id of a dashboard", hint="use small letters, digits and -, at most 64")
    return folder / f"{dashboard}.json"


def _read(path: Path) -> dict[str, Any] | None:
    """What is kept; None where nothing is, or nothing that can be read."""
    try:
        return {"id": path.stem, **Dashboard.model_validate_json(_known(path)).model_dump()}
    except (OSError, ValueError):
        return None


def _known(path: Path) -> str:
    """The file's text without what the server added."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return json.dumps({name: value for name, value in values.items() if name != "changed_us"})
