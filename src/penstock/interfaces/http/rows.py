"""Routes that show rows: a query over the environment's tables, and from a row of a table back to its input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import Field

from penstock.clock import Clock
from penstock.control import (
    Environment,
    SqlSession,
    environment_tables,
    input_of_epoch,
    trace_rows,
    traced_table,
)
from penstock.interfaces.http.bodies import Ask
from penstock.interfaces.http.missing import NotThere, known_flow
from penstock.ledger import Ledger

__all__ = ["row_routes"]

_ROWS_MOST = 10_000
_LIMIT_S = 30.0


class WhyAsk(Ask):
    """Which row of which table: column -> how its value reads as text."""

    table: str
    where: dict[str, str] = Field(default_factory=dict)
    limit: int = Field(default=20, ge=1, le=100)


class InputAsk(Ask):
    """Which epoch's input; `match`: column -> text, to tell only rows that read so where there are such columns."""

    flow: str
    epoch: int = Field(ge=0)
    match: dict[str, str] = Field(default_factory=dict)
    limit: int = Field(default=20, ge=1, le=500)


def row_routes(app: FastAPI, environment: Environment, ledger: Ledger, clock: Clock) -> None:
    """Add the routes."""

    @app.get("/v1/tables", tags=["rows"])
    def tables() -> dict[str, Any]:
        """The tables of the environment, and who writes them."""
        names = ("name", "kind", "place", "key", "flow", "step")
        return {"tables": [{name: getattr(one, name) for name in names} for one in environment_tables(environment)]}

    @app.get("/v1/sql", tags=["rows"])
    def sql(
        query: Annotated[str, Query(min_length=1, max_length=20_000)],
        limit: Annotated[int, Query(ge=1, le=_ROWS_MOST)] = 1_000,
    ) -> dict[str, Any]:
        """The first rows of a query (DuckDB SQL) over tables and ledger, as lists in the order of `columns`."""
        with SqlSession(environment, outside=False) as session:
            schema, rows = session.rows(query, limit=limit + 1, limit_s=_LIMIT_S)
        return {
            "columns": [{"name": field.name, "type": str(field.type)} for field in schema],
            "rows": [[_plain(value) for value in row] for row in rows[:limit]],
            "truncated": len(rows) > limit,
        }

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


def _plain(value: Any) -> Any:
    """A value of a row as JSON has it: times as RFC 3339, None for what is no number, text for the rest."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
