"""Routes from rows to where they came from: the tables there are, and from a row of one back to its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from pydantic import Field

from penstock.clock import Clock
from penstock.control import (
    Environment,
    environment_tables,
    input_of_epoch,
    trace_rows,
    traced_table,
)
from penstock.interfaces.http.bodies import Ask, Whole
from penstock.interfaces.http.missing import NotThere, known_flow
from penstock.ledger import Ledger

__all__ = ["row_routes"]


class WhyAsk(Ask):
    """Which row of which table: column -> how its value reads as text."""

    table: str
    where: dict[str, str] = Field(default_factory=dict)
    limit: int = Field(default=20, ge=1, le=100)


class InputAsk(Ask):
    """Which epoch's input; `match`: column -> text, to tell only rows that read so where there are such columns."""

    flow: str
    epoch: Whole = Field(ge=0)
    match: dict[str, str] = Field(default_factory=dict)
    limit: int = Field(default=20, ge=1, le=500)


def row_routes(app: FastAPI, environment: Environment, ledger: Ledger, clock: Clock) -> None:
    """Add the routes."""

    @app.get("/v1/tables", tags=["rows"])
    def tables() -> dict[str, Any]:
        """The tables of the environment, and who writes them."""
        names = ("name", "kind", "place", "key", "flow", "step")
        return {"tables": [{name: getattr(one, name) for name in names} for one in environment_tables(environment)]}

    @app.post("/v1/why", tags=["rows"])
    def why(ask: WhyAsk) -> dict[str, Any]:
        """The rows of a table that read so, and which epoch wrote each, as far as the table tells."""
        table = traced_table(environment, ask.table)
        rows = trace_rows(environment, table, ask.where, limit=ask.limit)
        return {
            **{name: getattr(table, name) for name in ("name", "kind", "place", "key", "flow", "step")},
            "rows": [asdict(row) for row in rows],
        }

    @app.post("/v1/why/input", tags=["rows"])
    def why_input(ask: InputAsk) -> dict[str, Any]:
        """The rows that an epoch read, asked of its sources again, by the version that ran it."""
        known_flow(ask.flow, environment, ledger, clock)
        found = ledger.epochs(ask.flow, first=ask.epoch, last=ask.epoch)
        if not found:
            raise NotThere(f"{ask.flow} has no epoch {ask.epoch:,}")
        match: Mapping[str, str] = ask.match
        return input_of_epoch(environment, ask.flow, found[0].version, ask.epoch, match, ask.limit, clock)
