"""`penstock sql`: one query over the tables of an environment and its ledger."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.console import Console

from penstock.control import QueryResult, SqlSession
from penstock.errors import ConfigError
from penstock.interfaces.cli.options import EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.screen import NUMBER, TEXT, counted, natural_width, screen, table

__all__ = ["Format", "command"]


_FOLDED_AT_MOST = 1.5


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def command(
    query: Annotated[str, typer.Argument(metavar="QUERY", help='DuckDB SQL, in quotes; "-" reads it from stdin.')],
    *,
    env: EnvironmentName = "dev",
    format_: Annotated[
        Format,
        typer.Option("--format", "-f", help="A table for people (cut at --rows), or all rows as csv or JSON lines."),
    ] = Format.TABLE,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows of a table are shown.")] = 100,
    project: ProjectFolder = Path(),
) -> None:
    """Ask the tables of an environment, and its ledger, by SQL.

    Tables: see `penstock tables`. Views: `logs`, and of the ledger `epochs`, `dead_letters`, `versions`, `deployments`,
    `events`. Times are UTC. Works while flows run.
    """
    text = sys.stdin.read() if query == "-" else query
    if not text.strip():
        raise ConfigError("the query is empty", hint='penstock sql "select * from epochs limit 10"')
    _, environment = environment_of(project, env)
    with SqlSession(environment) as session:
        _PRINTERS[format_](session.query(text), rows)


def _records(found: QueryResult) -> Iterator[tuple[Any, ...]]:
    for batch in found.batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _print_table(found: QueryResult, limit: int) -> None:
    shown = list(islice(records := _records(found), limit))
    left = sum(1 for _ in records)
    out = screen()
    columns = [(field.name, NUMBER if _is_number(field.type) else TEXT) for field in found.schema]
    cells = [[_cell(value) for value in record] for record in shown]
    made = table(columns, cells)
    if cells and natural_width(out, made) > _FOLDED_AT_MOST * out.width:
        _print_upright(out, [name for name, _ in columns], cells)
    else:
        out.print(made)
    count = len(shown) + left
    out.print()
    out.print(counted(count, "row") + (f", {len(shown):,} shown; see --rows and --format" if left else ""))


def _print_upright(out: Console, names: list[str], cells: list[list[str]]) -> None:
    """Too wide for a line: one line a value."""
    width = max(map(len, names))
    for position, record in enumerate(cells, start=1):
        out.print(f"[bold]row {position}[/]")
        for name, value in zip(names, record, strict=True):
            out.print(f"  {name:<{width}}  {value}", markup=False, soft_wrap=True)


def _print_csv(found: QueryResult, _limit: int) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(found.schema.names)
    for record in _records(found):
        writer.writerow(["" if value is None else _cell(value) for value in record])


def _print_json(found: QueryResult, _limit: int) -> None:
    """One object a line."""
    names = found.schema.names
    for record in _records(found):
        row = dict(zip(names, record, strict=True))
        sys.stdout.write(json.dumps(row, ensure_ascii=False, default=_cell) + "\n")


_PRINTERS = {Format.TABLE: _print_table, Format.CSV: _print_csv, Format.JSON: _print_json}


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cell(value: object) -> str:
    """A value as text. Times of the session are UTC, so the zone is left out."""
    if value is None:
        return "null"
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=_cell)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
