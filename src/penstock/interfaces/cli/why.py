"""`penstock why`: from a row of a table back to the epoch that wrote it, and what that epoch read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.clock import SystemClock
from penstock.control import Environment, TableFacts, TracedRow, input_of_epoch, read_ledger, trace_rows, traced_table
from penstock.errors import ConfigError
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.screen import counted, print_json, screen

__all__ = ["command"]


def command(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="A table of the environment (penstock tables).")],
    *,
    where: Annotated[
        list[str] | None, typer.Option("--where", "-w", metavar="COLUMN=VALUE", help="Which row; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many rows are looked for.")] = 5,
    read: Annotated[
        bool, typer.Option("--input", help="Read the input of the first row's epoch again, and show it.")
    ] = False,
    env: EnvironmentName = "dev",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Tell why a row is there: which epoch wrote it, from which input, by which version.

    Parquet and Delta tables tell the epoch of a row, as far back as their files go; other tables do not. Example:
    penstock why revenue_by_country --where country=NL --input
    """
    _, environment = environment_of(project, env)
    table = traced_table(environment, name)
    conditions = _conditions(where or [])
    rows = trace_rows(environment, table, conditions, limit=limit)
    found = _input(environment, table, rows, conditions) if read and rows else None
    if as_json:
        print_json(
            {"env": env, "table": name, "flow": table.flow, "rows": [asdict(row) for row in rows], "input": found}
        )
        return
    out = screen()
    if not rows:
        out.print(f"no row of {name} reads so", markup=False)
    for row in rows:
        epoch = (
            "no epoch is known" if row.epoch is None else f"epoch {row.epoch:,}" + ("" if row.exact else " or before")
        )
        out.print(f"{json.dumps(row.row, ensure_ascii=False)}\n  {epoch}: {row.told}", markup=False, soft_wrap=True)
    for source, told in (found or {}).get("sources", {}).items():
        _show_source(source, told)


def _conditions(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = [name for name, equals, _ in pairs if not (name.strip() and equals)]
    if wrong:
        raise ConfigError(f"--where {wrong[0]!r} is not COLUMN=VALUE", hint="write for example --where country=NL")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _input(
    environment: Environment, table: TableFacts, rows: list[TracedRow], match: Mapping[str, str]
) -> dict[str, Any] | None:
    epoch = rows[0].epoch
    if epoch is None or not table.flow:
        return None
    with read_ledger(environment) as ledger:
        records = [] if ledger is None else ledger.epochs(table.flow, first=epoch, last=epoch)
    if not records:
        return None
    return input_of_epoch(environment, table.flow, records[0].version, epoch, match, 20, SystemClock())


def _show_source(source: str, told: Mapping[str, Any]) -> None:
    out = screen()
    if not told["there"]:
        out.print(f"{source}: its input is gone: {told['message']}", markup=False)
        return
    alike = f", {told['matching']:,} with the same {', '.join(told['matched_on'])}" if told["matched_on"] else ""
    out.print(f"{source}: {counted(told['rows'], 'row')} read{alike}", markup=False)
    for one in told["shown"]:
        out.print(f"  {json.dumps(one['row'], ensure_ascii=False)}", markup=False, soft_wrap=True)
