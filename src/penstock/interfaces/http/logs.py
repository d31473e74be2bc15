"""The routes of logs: entries by filter, how many over time, kinds of errors, as they come; and SQL over everything.

Every answer is of the logs as they are at that moment, journals included. A filter that is wrong is answered with 422
and its place (`error.start`, `error.end`); a query that takes longer than `QUERY_S` is ended, with 422 too.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any, TypeAlias

import duckdb
from fastapi import FastAPI, Query, Request
from fastapi.responses import StreamingResponse

from penstock.clock import Clock, to_datetime
from penstock.control import Environment, SqlSession, log_folder, project_for
from penstock.errors import ConfigError, did_you_mean
from penstock.interfaces.http.bodies import TimeUs
from penstock.interfaces.http.stopping import STOPPING, stopping_of
from penstock.observe import (
    SEVERITIES,
    Condition,
    LogQuery,
    LogReader,
    LogSpan,
    LogTail,
    entry_json,
    error_signatures,
    log_distribution,
    log_rates,
    matching,
    severity_counts,
    severity_name,
    time_json,
    us_of,
)

__all__ = ["QUERY_S", "log_routes"]

QUERY_S = 20.0
_ENTRIES_MOST = 1_000
_ROWS_MOST = 10_000
_BUCKETS_MOST = 500
_HOUR_US = 3_600_000_000
_TAIL_EVERY_S = 0.1
_TAIL_MOST = 2_000
"""Entries of one event: of a thousand lines a second none is left out, also where a look comes two seconds late."""
_STILL_THERE_LOOKS = 150
"""After so many looks without an entry a comment is sent: so both sides learn of a connection that is gone."""

Filter: TypeAlias = Annotated[str, Query(max_length=20_000, description="of the Cloud Logging language")]
Flows: TypeAlias = Annotated[list[str] | None, Query(alias="flow", description="of these flows; all if left out")]
SinceUs: TypeAlias = Annotated[TimeUs | None, Query(description="microseconds since 1970, inclusive")]
UntilUs: TypeAlias = Annotated[TimeUs | None, Query(description="microseconds since 1970, exclusive")]
Least: TypeAlias = Annotated[str | None, Query(alias="severity", description="at least this one")]


def log_routes(app: FastAPI, environment: Environment, clock: Clock) -> None:
    """Add the routes."""
    _entry_routes(app, environment, clock)
    _summary_routes(app, environment, clock)
    _tail_route(app, environment, clock)
    _sql_route(app, environment)


def _entry_routes(app: FastAPI, environment: Environment, clock: Clock) -> None:
    @app.get("/v1/logs", tags=["logs"])
    def logs(
        filter: Filter = "",  # noqa: A002 - what it is called in the address
        flow: Flows = None,
        severity: Least = None,
        since_us: SinceUs = None,
        until_us: UntilUs = None,
        before: Annotated[str | None, Query(description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=_ENTRIES_MOST)] = 100,
    ) -> dict[str, Any]:
        """The newest entries of a filter, newest first.

        `{"entries": [{"timestamp": RFC 3339, "insert_id", "severity": name, "project", "flow", "env", "step",
        "version", "generation", "epoch", "worker", "trace_id", "message", "signature", "attrs": object}],
        "next": text or null}`.
        The next, older page: the same request with `before=next`.
        """
        query = _query(filter, flow, severity, since_us, until_us, before=_page(before))
        with _reader(environment, clock) as reader:
            rows = reader.newest(query, limit=limit)
        last = rows[-1] if len(rows) == limit else None
        following = None if last is None else f"{us_of(last['timestamp'])}.{last['insert_id']}"
        return {"entries": [entry_json(row) for row in rows], "next": following}

    @app.get("/v1/logs/context", tags=["logs"])
    def context(
        insert_id: str, timestamp_us: TimeUs, flow: str, count: Annotated[int, Query(ge=1, le=200)] = 20
    ) -> dict[str, Any]:
        """The entries that the same process logged around one, oldest first: `{"entries": [as /v1/logs]}`."""
        query = LogQuery(LogSpan(timestamp_us, timestamp_us + 1, (flow,)))
        with _reader(environment, clock) as reader:
            here = [row for row in reader.newest(query, limit=_ENTRIES_MOST) if row["insert_id"] == insert_id]
            rows = reader.around(here[0], count=count) if here else []
        return {"entries": [entry_json(row) for row in rows]}

    @app.get("/v1/logs/sql", tags=["logs"])
    def as_sql(filter: Filter = "") -> dict[str, Any]:  # noqa: A002 - as above
        """A filter as SQL, to go on from: `{"where": text with `?`, "parameters": [values]}`."""
        condition = _query(filter, None, None, None, None).condition(clock.now_us())
        return {"where": condition.sql, "parameters": list(condition.parameters)}


def _summary_routes(app: FastAPI, environment: Environment, clock: Clock) -> None:
    @app.get("/v1/logs/histogram", tags=["logs"])
    def histogram(
        filter: Filter = "",  # noqa: A002 - what it is called in the address
        flow: Flows = None,
        severity: Least = None,
        since_us: SinceUs = None,
        until_us: UntilUs = None,
        buckets: Annotated[int, Query(ge=1, le=_BUCKETS_MOST)] = 60,
    ) -> dict[str, Any]:
        """How many entries of each severity over time; without times, of the last hour.

        `{"buckets": [{"start_us", "end_us", "counts": {severity name: count}}]}`, all of them, empty ones too.
        """
        until_us = clock.now_us() if until_us is None else until_us
        since_us = until_us - _HOUR_US if since_us is None else since_us
        if since_us >= until_us:
            raise ConfigError("since_us is not before until_us", hint="give a span of some length")
        query = _query(filter, flow, severity, since_us, until_us)
        with _reader(environment, clock) as reader:
            return {"buckets": reader.histogram(query, buckets=buckets)}

    @app.get("/v1/logs/signatures", tags=["logs"])
    def signatures(
        filter: Filter = "",  # noqa: A002 - as above
        flow: Flows = None,
        severity: Least = None,
        since_us: SinceUs = None,
        until_us: UntilUs = None,
        limit: Annotated[int, Query(ge=1, le=_ENTRIES_MOST)] = 50,
    ) -> dict[str, Any]:
        """What goes wrong, once for each kind, the most frequent first.

        `{"signatures": [{"hash", "signature", "flow", "severity", "count", "first": RFC 3339, "last", "versions": [..],
        "new_in": version or null, "step", "sample"}]}`. Entries of a kind: the filter `signature="..."`.
        """
        with _reader(environment, clock) as reader:
            found = error_signatures(reader, _query(filter, flow, severity, since_us, until_us), limit=limit)
        return {"signatures": [asdict(one) for one in found]}

    @app.get("/v1/logs/counts", tags=["logs"])
    def counts() -> dict[str, Any]:
        """How many entries were ever logged: `{"flows": {flow: {severity name: count}}}`. Reads no entry."""
        found = severity_counts(log_folder(environment))
        return {"flows": {name: {severity_name(one): n for one, n in of.items()} for name, of in found.items()}}

    @app.get("/v1/logs/metrics", tags=["logs"])
    def metrics() -> dict[str, Any]:
        """The `[logs.metric.NAME]` of penstock.toml: `{"metrics": [{"name", "filter", "value"}]}`."""
        return {"metrics": [asdict(one) for one in project_for(environment.root).logs.metrics.values()]}

    @app.get("/v1/logs/metrics/{name}", tags=["logs"])
    def metric(
        name: str,
        flow: Flows = None,
        since_us: SinceUs = None,
        until_us: UntilUs = None,
        every_us: Annotated[int, Query(ge=1_000_000, lt=1 << 45)] = 60_000_000,
    ) -> dict[str, Any]:
        """One of them over time: `{"values": [{"start_us", "count"}]}`; of one with a `value` also `sum`, `min`, `max`,
        `p50`, `p90`, `p99` of the numbers. Parts of time without entries are left out.
        """
        found = project_for(environment.root).logs.metric(name)
        query = _query(found.filter, flow, None, since_us, until_us)
        with _reader(environment, clock) as reader:
            if found.value is None:
                return {"values": log_rates(reader, query, every_us=every_us)}
            return {"values": log_distribution(reader, query, value=found.value, every_us=every_us)}


def _tail_route(app: FastAPI, environment: Environment, clock: Clock) -> None:
    @app.get("/v1/logs/tail", tags=["logs"], response_class=StreamingResponse)
    def tail(
        request: Request,
        filter: Filter = "",  # noqa: A002 - what it is called in the address
        flow: Flows = None,
        severity: Least = None,
    ) -> StreamingResponse:
        """Entries as they are logged, as server-sent events, ten times a second at most.

        `event: entries`, data `[as of /v1/logs]`, oldest first; before it `event: skipped`, data `{"count": n}`, where
        more than 2,000 came since the last look, or a reader was slower than the log: the oldest n are left out, and
        are asked by /v1/logs. `event: ready` when it has begun, data `{"time": RFC 3339}`: what was logged before is
        asked by /v1/logs too, and may come twice around it.
        """
        query = _query(filter, flow, severity, None, None)
        condition = query.condition(clock.now_us())
        following = LogTail(log_folder(environment), query.span.flows)
        stopping = stopping_of(request)

        async def stream() -> AsyncIterator[str]:
            connection = duckdb.connect()
            try:
                connection.execute("set timezone = 'UTC'")
                yield _event("ready", {"time": time_json(to_datetime(clock.now_us()))})
                silent = 0
                while not (stopping.has_begun or await request.is_disconnected()):
                    text = await asyncio.to_thread(_news, following, connection, condition)
                    silent = 0 if text else silent + 1
                    if text:
                        yield text
                    elif silent % _STILL_THERE_LOOKS == 0:
                        yield ": still there\n\n"
                    await stopping.pause(_TAIL_EVERY_S)
                yield STOPPING
            finally:
                following.close()
                connection.close()

        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)


def _news(following: LogTail, connection: duckdb.DuckDBPyConnection, condition: Condition) -> str:
    """What a tail tells after one look: the newest entries, and how many older ones it leaves out."""
    rows = matching(connection, following.news(), condition)
    skipped = _event("skipped", {"count": len(rows) - _TAIL_MOST}) if len(rows) > _TAIL_MOST else ""
    return skipped + (_event("entries", [entry_json(row) for row in rows[-_TAIL_MOST:]]) if rows else "")


def _sql_route(app: FastAPI, environment: Environment) -> None:
    @app.get("/v1/sql", tags=["logs"])
    def sql(
        query: Annotated[str, Query(min_length=1, max_length=20_000)],
        limit: Annotated[int, Query(ge=1, le=_ROWS_MOST)] = 1_000,
    ) -> dict[str, Any]:
        """One statement of DuckDB that reads, over the environment's tables and the views `logs`, `epochs` and others.

        `{"columns": [{"name", "type"}], "rows": [[values]], "truncated": bool}`. Times are RFC 3339. It reaches no file
        but the environment's own.
        """
        with SqlSession(environment) as session:
            session.open_named_in(query)
            session.enclose()
            schema, rows = session.rows(query, limit=limit + 1, limit_s=QUERY_S)
        return {
            "columns": [{"name": field.name, "type": str(field.type)} for field in schema],
            "rows": [[_plain(value) for value in row] for row in rows[:limit]],
            "truncated": len(rows) > limit,
        }


def _reader(environment: Environment, clock: Clock) -> LogReader:
    return LogReader(log_folder(environment), clock, limit_s=QUERY_S)


def _query(
    text: str,
    flows: list[str] | None,
    severity: str | None,
    since_us: int | None,
    until_us: int | None,
    *,
    before: tuple[int, str] | None = None,
) -> LogQuery:
    least = None
    if severity is not None:
        least = SEVERITIES.get(severity.upper())
        if least is None:
            raise ConfigError(
                f"{severity!r} is no severity.{did_you_mean(severity.upper(), tuple(SEVERITIES))}",
                hint=f"one of {', '.join(SEVERITIES)}",
            )
    return LogQuery(LogSpan(since_us, until_us, tuple(flows) if flows else None), text, least, before)


def _page(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    time, _, insert_id = text.partition(".")
    if not (time.isdecimal() and len(time) < 18 and insert_id):  # noqa: PLR2004 - microseconds to the year 5138
        raise ConfigError(f"{text!r} is no page", hint="give `next` of the page before as it is")
    return int(time), insert_id


def _event(kind: str, data: Mapping[str, Any] | list[Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _plain(value: Any) -> Any:
    """A value of a row as JSON has it: times as RFC 3339, None for what is no number, text for all else."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
