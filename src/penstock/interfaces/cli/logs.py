"""`penstock logs`: what flows logged, by filter; as it comes; by kind; for others."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer

from penstock.clock import Clock, SystemClock
from penstock.connect import literal
from penstock.control import Environment, Project, known_flows, log_folder, project_for
from penstock.errors import ConfigError, DefinitionError, did_you_mean
from penstock.flow import duration_us
from penstock.interfaces.cli.log_lines import entry_text, print_entries, print_signatures
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder
from penstock.interfaces.cli.screen import NUMBER, TEXT, counted, error_screen, print_json, screen, table
from penstock.observe import (
    SEVERITIES,
    LogQuery,
    LogReader,
    LogSpan,
    LogTail,
    entry_json,
    error_signatures,
    export_entries,
    export_file,
    flows_with_logs,
    log_distribution,
    log_rates,
    matching,
    push_loki,
    push_otlp,
    time_json,
)

__all__ = ["command"]

_LOOK_EVERY_S = 0.1
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_RATE_PARTS = 60
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, and where."""

    project: Project
    environment: Environment
    query: LogQuery
    clock: Clock
    as_json: bool

    @property
    def folder(self) -> Path:
        return log_folder(self.environment)

    @property
    def with_flow(self) -> bool:
        return self.query.span.flows is None

    def reader(self) -> LogReader:
        return LogReader(self.folder, self.clock, limit_s=None)


def command(
    flow: Annotated[str | None, typer.Argument(metavar="[FLOW]", help="One flow; all where none is named.")] = None,
    filter_: Annotated[
        str | None,
        typer.Argument(metavar="[FILTER]", help="Cloud Logging filter, in quotes; see docs/logs-filter.md."),
    ] = None,
    *,
    env: EnvironmentName = "dev",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is logged from now on.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help='From then on: "1h" ago, or 2026-11-26T08:00.')
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then.")] = None,
    severity: Annotated[str | None, typer.Option("--severity", "-s", help="At least that: WARNING, ERROR ...")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 100,
    context: Annotated[int, typer.Option("--context", min=0, help="So many lines around each match.")] = 0,
    signatures: Annotated[
        bool, typer.Option("--signatures", help="What goes wrong, once for each kind, and what is new.")
    ] = False,
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="NAME", help="Count by a [logs.metric.NAME] of penstock.toml.")
    ] = None,
    show_sql: Annotated[bool, typer.Option("--show-sql", help="Show the filter as SQL, to go on from.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write all of it to *.parquet or *.ndjson.")
    ] = None,
    loki: Annotated[str | None, typer.Option("--loki", metavar="URL", help="Send all of it to Loki.")] = None,
    otlp: Annotated[
        str | None, typer.Option("--otlp", metavar="URL", help="Send all of it to an OpenTelemetry collector.")
    ] = None,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Show what flows logged, newest last.

    All that they log, print and warn of is there, at once, also of a process that was killed. Examples:
    penstock logs revenue --severity ERROR --since 1h; penstock logs revenue 'jsonPayload.order=17' --context 5;
    penstock logs '"timeout"' (every flow); penstock logs revenue --follow.
    """
    flow, filter_ = _told_apart(flow, filter_)
    found = project_for(project)
    environment = found.environment(env)
    clock = SystemClock()
    span = LogSpan(_time(since, "--since", clock), _time(until, "--until", clock), _flows(flow, found, environment))
    text = filter_ or ""
    if metric is not None:
        own = found.logs.metric(metric).filter
        text = f"({own})\n({text})" if text else own
    asked = _Asked(found, environment, LogQuery(span, text, _severity(severity)), clock, as_json)
    asked.query.condition(clock.now_us())  # what is wrong with the filter is said before anything is done
    if show_sql:
        _print_sql(asked)
    elif signatures:
        _print_kinds(asked, limit)
    elif metric is not None:
        _print_metric(asked, found.logs.metric(metric).value)
    elif export is not None:
        with asked.reader() as reader:
            count = export_file(reader, asked.query, export)
        screen().print(f"wrote {counted(count, 'entry').replace('entrys', 'entries')} to {export}", markup=False)
    elif loki is not None or otlp is not None:
        _send(asked, loki, otlp)
    else:
        _print(asked, limit=limit, context=context, follow=follow)


def _told_apart(flow: str | None, filter_: str | None) -> tuple[str | None, str | None]:
    """A single word that can't be a name is a filter."""
    if flow is not None and filter_ is None and not (_NAME.fullmatch(flow) or flow.partition(":")[0].endswith(".py")):
        return None, flow
    return flow or None, filter_


def _flows(flow: str | None, project: Project, environment: Environment) -> tuple[str, ...] | None:
    if flow is None:
        return None
    known = [logs.flow for logs in flows_with_logs(log_folder(environment))]
    if flow in known or flow in [one.name for one in known_flows(project)]:
        return (flow,)
    raise ConfigError(
        f"the flow {flow!r} has no logs in environment {environment.name!r}.{did_you_mean(flow, known)}",
        hint=(f"flows that do: {', '.join(known)}; " if known else "")
        + f"to search for the word in all flows: penstock logs '\"{flow}\"'",
    )


def _severity(name: str | None) -> int | None:
    if name is None:
        return None
    found = SEVERITIES.get(name.upper())
    if found is None:
        raise ConfigError(
            f"{name!r} is no severity.{did_you_mean(name.upper(), tuple(SEVERITIES))}",
            hint=f"one of {', '.join(SEVERITIES)}",
        )
    return found


def _time(text: str | None, option: str, clock: Clock) -> int | None:
    """`1h`: so long ago; or a time of ISO 8601, in UTC where it names no zone."""
    if text is None:
        return None
    try:
        return clock.now_us() - abs(duration_us(text))
    except DefinitionError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text!r} is no time", hint='write "1h" (ago), or 2026-11-26T08:00') from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def _print(asked: _Asked, *, limit: int, context: int, follow: bool) -> None:
    tail = LogTail(asked.folder, asked.query.span.flows) if follow else None
    try:
        with asked.reader() as reader:
            found = list(reversed(reader.newest(asked.query, limit=limit)))
            if context:
                _print_around(asked, reader, found, context)
            else:
                _show(asked, found)
        if tail is not None:
            _follow(asked, tail, found)
        elif not found and not asked.as_json:
            error_screen().print("no entry of that kind" if asked.query.filter or asked.query.severity else "no entry")
    finally:
        if tail is not None:
            tail.close()


def _show(asked: _Asked, rows: Sequence[Mapping[str, Any]]) -> None:
    if asked.as_json:
        for row in rows:
            sys.stdout.write(json.dumps(entry_json(row), ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        print_entries(screen(), rows, with_flow=asked.with_flow)


def _print_around(asked: _Asked, reader: LogReader, found: Sequence[Mapping[str, Any]], context: int) -> None:
    """Each match among the lines that its process logged before and after; lines between two matches once."""
    out = screen()
    shown: set[str] = set()
    matches = {row["insert_id"] for row in found}
    for position, row in enumerate(found):
        if row["insert_id"] in shown:
            continue
        if position and not asked.as_json:
            out.print("--", style="dim")
        for one in reader.around(row, count=context):
            if one["insert_id"] in shown:
                continue
            shown.add(one["insert_id"])
            is_match = one["insert_id"] in matches
            if asked.as_json:
                sys.stdout.write(json.dumps({**entry_json(one), "match": is_match}, ensure_ascii=False) + "\n")
            else:
                out.print(entry_text(one, with_flow=asked.with_flow, marked=is_match), soft_wrap=True)


def _follow(asked: _Asked, tail: LogTail, found: Sequence[Mapping[str, Any]]) -> None:
    """Entries as they come, until Ctrl-C. `found` began the list: what is older than its end had its turn."""
    condition = asked.query.condition(asked.clock.now_us())
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        try:
            rows = matching(connection, tail.news(), condition)
            shown = (found[-1]["timestamp"], found[-1]["insert_id"]) if found else None
            _show(asked, [row for row in rows if shown is None or (row["timestamp"], row["insert_id"]) > shown])
            while True:
                asked.clock.sleep(_LOOK_EVERY_S)
                _show(asked, matching(connection, tail.news(), condition))
        except KeyboardInterrupt:
            return


def _print_sql(asked: _Asked) -> None:
    condition = asked.query.condition(asked.clock.now_us())
    text = f"select * from logs where {condition.sql} order by timestamp desc limit 100"  # noqa: S608 - shown only
    if asked.as_json:
        print_json({"sql": text, "parameters": list(condition.parameters)})
        return
    text, *after = text.split("?")  # what a person wrote is a parameter, so each of these is one's place
    for value, rest in zip(condition.parameters, after, strict=True):
        text += _shown(value) + rest
    screen().print(text, markup=False, soft_wrap=True)


def _shown(value: str | float | datetime) -> str:
    if isinstance(value, datetime):
        return f"timestamptz {literal(time_json(value))}"
    return literal(value) if isinstance(value, str) else repr(value)


def _print_kinds(asked: _Asked, limit: int) -> None:
    with asked.reader() as reader:
        found = error_signatures(reader, asked.query, limit=limit)
    if asked.as_json:
        print_json({"env": asked.environment.name, "signatures": [asdict(one) for one in found]})
    else:
        print_signatures(screen(), found, with_flow=asked.with_flow)


def _print_metric(asked: _Asked, value: str | None) -> None:
    since_us = asked.query.span.since_us
    length_us = asked.clock.now_us() - since_us if since_us is not None else _DAY_US
    every_us = max(length_us // _RATE_PARTS, 1_000_000)
    with asked.reader() as reader:
        if value is None:
            found = log_rates(reader, asked.query, every_us=every_us)
        else:
            found = log_distribution(reader, asked.query, value=value, every_us=every_us)
    if asked.as_json:
        print_json({"env": asked.environment.name, "every_us": every_us, "values": found})
        return
    columns = [
        ("from", TEXT),
        *((name, NUMBER) for name in (found[0] if found else {"count": 0}) if name != "start_us"),
    ]
    rows = [
        [f"{datetime.fromtimestamp(row['start_us'] / 1e6, UTC):%Y-%m-%d %H:%M:%S}"]
        + [f"{row[name]:,.6g}" for name, _ in columns[1:]]
        for row in found
    ]
    screen().print(table(columns, rows))


def _send(asked: _Asked, loki: str | None, otlp: str | None) -> None:
    for url, push in ((loki, push_loki), (otlp, push_otlp)):
        if url is not None:
            with asked.reader() as reader:
                count = push(export_entries(reader, asked.query), url)
            screen().print(f"sent {count:,} entries to {url}", markup=False)
