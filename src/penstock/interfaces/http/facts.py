"""Facts that a page shows at a glance: the overview, a flow's graph, its last hour, one epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any, TypeAlias

from fastapi import FastAPI

from penstock.analysis import Layout, lay_out
from penstock.clock import Clock
from penstock.control import Environment, FlowStatus, flow_statuses
from penstock.interfaces.http.bodies import Whole
from penstock.interfaces.http.missing import NotThere, known_flow
from penstock.interfaces.http.recent import SLICES, RecentEpochs
from penstock.ledger import Ledger

__all__ = ["Overview", "glance_routes", "overview_of_all"]

_PATIENCE_S = 0.3
_UNKNOWN: Mapping[str, Any] = {"rows_in_per_s": None, "rows_out_per_s": None, "spark": []}
_BOX_WIDTH, _BOX_GAP = 168.0, 16.0


Overview: TypeAlias = Callable[[], dict[str, Any]]
"""Gives what `GET /v1/overview` does."""


def glance_routes(
    app: FastAPI, environment: Environment, ledger: Ledger, clock: Clock, overview: Overview, recent: RecentEpochs
) -> None:
    """Add the routes."""

    @app.get("/v1/overview", tags=["facts"])
    def all_flows() -> dict[str, Any]:
        """All flows: status, owner, freshness against its objective, rates of the last minute, dead letters."""
        return overview()

    @app.get("/v1/flows/{flow}/graph", tags=["facts"])
    def graph(flow: str, version: str | None = None) -> dict[str, Any]:
        """The steps of the version that leads (or `version`), with places for a drawing: x of centres in pixels, layer
        from the top; `edges` with the x of their ways through the layers between.
        """
        status = known_flow(flow, environment, ledger, clock)
        chosen = status.version if version is None else version
        manifest = _manifest_of(ledger, flow, chosen)
        if not manifest.get("steps"):
            raise NotThere(
                f"version {chosen or '(none)'} of {flow} was not kept, so its steps are not known here",
                hint=f"penstock start {flow} keeps what it runs; penstock show {flow} draws the files as they are",
            )
        return _graph_of(manifest)

    @app.get("/v1/flows/{flow}/history", tags=["facts"])
    def history(flow: str, slices: int = SLICES) -> dict[str, Any]:
        """The last hour, or the newest so many slices, as columns: rates, delay, time of epochs, and who led."""
        known_flow(flow, environment, ledger, clock)
        return recent.columns(flow, slices=max(1, min(slices, SLICES)))

    @app.get("/v1/flows/{flow}/epochs/{epoch}", tags=["facts"])
    def one_epoch(flow: str, epoch: Whole) -> dict[str, Any]:
        """One epoch, and the records that undos put aside for it."""
        known_flow(flow, environment, ledger, clock)
        found = ledger.epochs(flow, first=epoch, last=epoch)
        undone = [
            {"undo": asdict(rewrite), "epoch": asdict(record)}
            for rewrite, record in ledger.undone_epochs(flow)
            if record.epoch == epoch
        ]
        if not found and not undone:
            raise NotThere(f"{flow} has no epoch {epoch:,}", hint=f"GET /v1/flows/{flow}/epochs lists them")
        return {"epoch": asdict(found[0]) if found else None, "undone": undone}


def overview_of_all(environment: Environment, ledger: Ledger, clock: Clock, recent: RecentEpochs) -> Overview:
    """What makes the overview of an environment. Raises LedgerError.

    The first look at the past of a flow takes a while; where there are many, their rates come with a later look.
    """

    def overview() -> dict[str, Any]:
        until_s = clock.stopwatch_s() + _PATIENCE_S
        found = []
        for status in flow_statuses(ledger, environment, clock):
            glance = clock.stopwatch_s() < until_s or recent.is_known(status.flow)
            found.append(_overview_of(status, ledger, recent if glance else None, clock.now_us()))
        return {"flows": found}

    return overview


def _overview_of(status: FlowStatus, ledger: Ledger, recent: RecentEpochs | None, now_us: int) -> dict[str, Any]:
    """A flow in the overview, as plain JSON values."""
    manifest = _manifest_of(ledger, status.flow, status.version)
    leader = status.leader
    return {
        **status.as_dict(now_us=now_us),
        "members": len(status.members),
        "standbys": sum(1 for one in status.members if one is not leader),
        "owner": manifest.get("owner") or "",
        "objective_s": status.objective_s,
        "freshness_s": status.fresh_s(now_us),
        "dead_letters": ledger.count_dead_letters(status.flow),
        "backlog_rows": None if leader is None else leader.facts.get("backlog_rows"),
        "backlogs": {} if leader is None else leader.facts.get("backlogs") or {},
        "since_us": None if leader is None else leader.joined_us,
        **(_UNKNOWN if recent is None else recent.glance(status.flow)),
    }


def _manifest_of(ledger: Ledger, flow: str, version: str) -> Mapping[str, Any]:
    """What is kept of a version; empty where it was not kept."""
    kept = ledger.operations.version(flow, version) if version else None
    return {} if kept is None else kept.manifest


def _graph_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Steps with their places, and edges."""
    steps = manifest["steps"]
    parents = tuple((str(step["name"]), tuple(dict.fromkeys(step["inputs"]))) for step in steps)
    layout = _laid_out(parents)
    ends = {one["step"]: one for one in manifest.get("ends", ())}
    return {
        "version": manifest["id"],
        "width": layout.width,
        "layers": 1 + max(layout.layer.values(), default=0),
        "box_width": _BOX_WIDTH,
        "steps": [
            {
                **{name: step.get(name) for name in ("name", "kind", "text", "source", "location", "columns", "key")},
                "inputs": list(dict.fromkeys(step["inputs"])),
                "stateful": bool(step.get("stateful")),
                "event_time": step.get("event_time"),
                "place": ends.get(step["name"], {}).get("place"),
                "dataset": ends.get(step["name"], {}).get("dataset"),
                "x": layout.x[step["name"]],
                "layer": layout.layer[step["name"]],
            }
            for step in steps
        ],
        "edges": [
            {"from": parent, "to": child, "points": list(points)} for (parent, child), points in layout.points.items()
        ],
    }


@lru_cache(maxsize=64)
def _laid_out(parents: tuple[tuple[str, tuple[str, ...]], ...]) -> Layout:
    """Computed once for a graph: the places of 500 boxes take a moment."""
    return lay_out(dict(parents), {name: _BOX_WIDTH for name, _ in parents}, gap=_BOX_GAP)
