"""What SQL sees beside the tables of flows: facts of the ledger, and logs. A view more is a row more in `VIEWS`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import duckdb
import polars as pl

from penstock.control.ledgers import read_ledger
from penstock.control.log_catching import log_folder
from penstock.control.metering.keeping import metrics_frame
from penstock.control.project import Environment
from penstock.ledger import Ledger, dead_letter_frame, epoch_frame
from penstock.observe import open_logs

__all__ = ["LEDGER_VIEWS", "VIEWS", "View"]

View: TypeAlias = Callable[[duckdb.DuckDBPyConnection, Environment, str], None]
"""Makes a view of this name in a connection, with what is known of the environment now. Raises LedgerError."""

ROWS_MAX = 100_000
"""The views of the ledger show the newest so many of each flow."""
_TIME = pl.Datetime("us", "UTC")

Frames: TypeAlias = Callable[[Ledger | None, str], pl.DataFrame]
"""The rows of one flow; without a ledger none, in the right columns."""


def _of_flows(frames: Frames) -> View:
    def opened(connection: duckdb.DuckDBPyConnection, environment: Environment, name: str) -> None:
        found = [frames(None, "")]
        with read_ledger(environment) as ledger:
            if ledger is not None:
                known = {facts.flow for facts in ledger.flows()} | {one.flow for one in ledger.operations.all_desired()}
                found += [frames(ledger, flow) for flow in sorted(known)]
        connection.register(name, pl.concat(found).to_arrow())

    return opened


def _logs(connection: duckdb.DuckDBPyConnection, environment: Environment, name: str) -> None:
    open_logs(connection, log_folder(environment), name=name)


def _metrics(connection: duckdb.DuckDBPyConnection, environment: Environment, name: str) -> None:
    connection.register(name, metrics_frame(environment).to_arrow())


def _epochs(ledger: Ledger | None, flow: str) -> pl.DataFrame:
    records = () if ledger is None else ledger.epochs(flow, limit=ROWS_MAX, newest=True)
    return epoch_frame(records).select(pl.lit(flow).alias("flow"), pl.all())


def _dead_letters(ledger: Ledger | None, flow: str) -> pl.DataFrame:
    """`offset` is a word of SQL, so it is called `position` here."""
    letters = () if ledger is None else ledger.dead_letters(flow, limit=ROWS_MAX)
    return dead_letter_frame(letters).select(pl.lit(flow).alias("flow"), pl.all()).rename({"offset": "position"})


def _versions(ledger: Ledger | None, flow: str) -> pl.DataFrame:
    found = () if ledger is None else ledger.operations.versions(flow)
    rows = [
        {"flow": one.flow, "version": one.version, "made_at": one.first_us, "manifest": one.manifest} for one in found
    ]
    return _typed(rows, flow=pl.String, version=pl.String, made_at=_TIME, manifest=pl.String)


def _deployments(ledger: Ledger | None, flow: str) -> pl.DataFrame:
    found = () if ledger is None else ledger.operations.deployments(flow, limit=ROWS_MAX)
    rows = [
        {
            "flow": one.flow,
            "deployment": one.id,
            "kind": one.kind,
            "old_version": one.old_version,
            "new_version": one.new_version,
            "stage": one.stage,
            "status": one.status.value,
            "who": one.who,
            "why": one.why,
            "made_at": one.made_us,
            "ended_at": one.ended_us,
            "receipt": one.receipt,
        }
        for one in found
    ]
    texts = ("deployment", "kind", "old_version", "new_version", "stage", "status", "who", "why")
    return _typed(
        rows, flow=pl.String, **dict.fromkeys(texts, pl.String), made_at=_TIME, ended_at=_TIME, receipt=pl.String
    )


def _events(ledger: Ledger | None, flow: str) -> pl.DataFrame:
    found = () if ledger is None else ledger.operations.events(flow, limit=ROWS_MAX)
    rows = [{"flow": one.flow, "kind": one.kind, "at": one.at_us, "who": one.who, "body": one.body} for one in found]
    return _typed(rows, flow=pl.String, kind=pl.String, at=_TIME, who=pl.String, body=pl.String)


def _typed(rows: list[dict[str, Any]], **schema: Any) -> pl.DataFrame:
    """Rows as a frame: times from microseconds, what is an object as JSON text."""
    columns = {
        name: [
            json.dumps(row[name], default=str, ensure_ascii=False) if isinstance(row[name], Mapping) else row[name]
            for row in rows
        ]
        for name in schema
    }
    plain = {name: pl.Int64 if dtype == _TIME else dtype for name, dtype in schema.items()}
    return pl.DataFrame(columns, schema=plain).cast(dict(schema.items()))


VIEWS: Mapping[str, View] = {
    "logs": _logs,
    "epochs": _of_flows(_epochs),
    "dead_letters": _of_flows(_dead_letters),
    "versions": _of_flows(_versions),
    "deployments": _of_flows(_deployments),
    "events": _of_flows(_events),
    "metrics": _metrics,
}

LEDGER_VIEWS = tuple(VIEWS)
"""The names of the views, as they are shown."""
