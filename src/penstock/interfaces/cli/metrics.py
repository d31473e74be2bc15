"""`penstock metrics`: what `/metrics` of the server says, with or without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.clock import SystemClock
from penstock.control import Environment, flow_samples, read_ledger
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder
from penstock.interfaces.cli.screen import NUMBER, TEXT, fitting_table, print_json, screen
from penstock.interfaces.cli.steering import ran_here
from penstock.observe import MetricValue, TotalsByFlow, metric_values

__all__ = ["command"]

_COLUMNS = (("flow", TEXT), ("metric", TEXT), ("of", TEXT), ("value", NUMBER))


def command(
    flow: Annotated[str | None, typer.Argument(metavar="[FLOW]", help="One flow; all where none is named.")] = None,
    *,
    env: EnvironmentName = "dev",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Tell the metrics of flows as they are now.

    Rows, epochs, time, backlog, freshness: read from the ledger, so no server has to run. `--json` has the buckets of
    histograms, and the states that a flow is not in, too.
    """
    name, environment = ran_here(flow, project, env)
    found = _values(environment, name)
    if as_json:
        print_json({"env": env, "metrics": [value.as_dict() for value in found]})
        return
    out = screen()
    rows = [_row(value) for value in found if not (value.name.endswith("_bucket") or _is_no_state(value))]
    if not rows:
        out.print(f"no flow ever ran in {env}", markup=False)
        return
    out.print(fitting_table(out, _COLUMNS, rows, expendable=["of"]))


def _values(environment: Environment, flow: str | None) -> list[MetricValue]:
    with read_ledger(environment) as ledger:
        if ledger is None:
            return []
        samples = flow_samples(ledger, environment, SystemClock(), TotalsByFlow(ledger), flow=flow)
    return metric_values(environment.name, samples)


def _is_no_state(value: MetricValue) -> bool:
    """Whether it is one of the states that a flow is not in."""
    return "state" in value.labels and not value.value


def _row(value: MetricValue) -> tuple[str, ...]:
    more = {name: text for name, text in value.labels.items() if name not in ("env", "flow")}
    shown = f"{value.value:,.0f}" if value.value == int(value.value) else f"{value.value:,.3f}"
    return value.labels["flow"], value.name, ", ".join(f"{name}={text}" for name, text in more.items()), shown
