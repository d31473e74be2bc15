"""`penstock ledger`: the epochs of a flow."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from penstock.control import flow_folder, lock_holder, read_ledger
from penstock.interfaces.cli.checks import failed_checks
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder, flow_in_ledger
from penstock.interfaces.cli.screen import NUMBER, TEXT, count_text, fitting_table, print_json, screen, time_text
from penstock.ledger import EpochRecord

__all__ = ["command"]

_VERSION_DIGITS = 8
_COLUMNS = (
    ("epoch", NUMBER),
    ("committed (UTC)", TEXT),
    ("rows in", NUMBER),
    ("out", NUMBER),
    ("late", NUMBER),
    ("dead", NUMBER),
    ("failed", NUMBER),
    ("watermark", TEXT),
    ("ms", NUMBER),
    ("gen", NUMBER),
    ("version", TEXT),
)


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many epochs, the newest.")] = 20,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """List the epochs of a flow: what was read and written, when.

    May be asked while the flow runs. `failed` counts rows that did not meet an expectation, `ms` is the time an epoch
    took, `gen` counts how often a process took the flow over, `version` is that of its code.
    """
    name, environment = flow_in_ledger(flow, project, env)
    with read_ledger(environment) as ledger:
        records = [] if ledger is None else list(ledger.epochs(name, limit=last, newest=True))
    if as_json:
        print_json({"flow": name, "env": env, "epochs": [dataclasses.asdict(record) for record in records]})
        return
    out = screen()
    if not records:
        out.print(f"{name} in {env}: no epoch was committed yet")
        return
    rows = [_row(record) for record in records]
    names = [name for name, _ in _COLUMNS]
    all_zero = [name for name in ("late", "dead", "failed") if {row[names.index(name)] for row in rows} == {"0"}]
    out.print(fitting_table(out, _COLUMNS, rows, expendable=["version", "gen", *all_zero, "ms"]))
    holder = lock_holder(flow_folder(environment, name))
    out.print()
    out.print(f"{name} in {env}: " + (f"runs now (process {holder})" if holder else "does not run now"), markup=False)


def _row(record: EpochRecord) -> tuple[str, ...]:
    return (
        count_text(record.epoch),
        time_text(record.committed_us),
        count_text(sum(record.rows_in.values())),
        count_text(sum(record.rows_out.values())),
        count_text(record.rows_late),
        count_text(record.rows_dead),
        count_text(sum(failed_checks(record.checks).values())),
        time_text(record.watermark_us),
        f"{sum(record.timings_ms.values()):,.1f}",
        str(record.generation),
        record.version[:_VERSION_DIGITS],
    )
