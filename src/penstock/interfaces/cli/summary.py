"""The end of a run: what it did, where the results are, what to do next."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote

from rich.console import Console

from penstock.control import PreparedRun, project_for
from penstock.engine import RunResult
from penstock.interfaces.cli.screen import TEXT, age_text, count_text, counted, table

__all__ = ["print_summary"]

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def print_summary(out: Console, prepared: PreparedRun, result: RunResult, *, asked: str, folder: Path) -> None:
    """Print it. `asked`: how the person named the flow; `folder`: where they look for the project from."""
    flow, environment = prepared.flow, prepared.environment
    out.print(f"{flow} in {environment.name}: {_outcome(result)}", markup=False)
    rate = result.rows_in / result.seconds if result.seconds > 0 else 0.0
    out.print(
        f"  {counted(result.rows_in, 'row')} in, {result.rows_out:,} out, {result.rows_late:,} late, "
        f"{counted(result.rows_dead, 'dead letter')}; {counted(result.epochs, 'epoch')} in {age_text(result.seconds)}"
        + (f" ({count_text(rate)} rows/s)" if result.epochs else ""),
        markup=False,
    )
    checks = {name: count for name, count in result.checks_failed.items() if count}
    if checks:
        failed = ", ".join(f"{name} ({counted(count, 'row')})" for name, count in checks.items())
        out.print(f"  expectations not met: {failed}", markup=False)
    writes = [(bound.logical, bound.place) for bound in prepared.bound if bound.writes]
    out.print()
    out.print(table((("written to", TEXT), ("which is", TEXT)), writes))
    out.print()
    out.print("next:")
    commands = list(_next_commands(prepared, result, asked, folder))
    width = max(len(command) for command, _ in commands)
    for command, why in commands:
        out.print(f"  {command:<{width}}  # {why}", markup=False)


def _outcome(result: RunResult) -> str:
    if result.finished and result.epochs == 0:
        return f"nothing to do, all input was read before (up to epoch {result.last_epoch})"
    if result.finished:
        return f"finished, the input is read to its end (epoch {result.last_epoch})"
    if result.stopped:
        return f"stopped cleanly after epoch {result.last_epoch}; the next run goes on behind it"
    if result.epochs == 0:
        return "drained, nothing new was there" + (f" after epoch {result.last_epoch}" if result.last_epoch else "")
    return f"drained, nothing waits (epoch {result.last_epoch})"


def _next_commands(prepared: PreparedRun, result: RunResult, asked: str, folder: Path) -> list[tuple[str, str]]:
    environment = prepared.environment
    where = "" if environment.name == "dev" else f" --env {environment.name}"
    elsewhere = project_for(folder).root != prepared.loaded.project.root
    root = f" --project {quote(str(folder / asked.partition(':')[0]).rpartition('/')[0] or '.')}" if elsewhere else ""
    where_else = f"{where}{root}"
    flow_command = f"{quote(asked)}{where}" + (f" --project {quote(str(folder))}" if folder != Path() else "")
    commands = []
    tables = [bound for bound in prepared.bound if bound.writes and bound.dataset.kind in _READABLE]
    if tables:
        name = tables[0].logical
        name = name if _PLAIN_NAME.fullmatch(name) else f'\\"{name}\\"'
        query = f"select * from {name} limit 10"  # noqa: S608 - shown, not run
        commands.append((f'penstock sql "{query}"{where_else}', "look at the result"))
    if result.rows_dead:
        commands.append((f"penstock deadletters {flow_command}", "the rows that could not be processed, and why"))
    commands.append((f"penstock ledger {flow_command}", "what each epoch read and wrote"))
    if result.finished and result.epochs == 0:
        commands.append((f"penstock run {flow_command} --reset", "begin again from the first row"))
    return commands


_READABLE = ("delta", "parquet", "files", "duckdb", "postgres")
