"""`penstock show`: the graph of a flow, its columns, and what its ends are bound to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.analysis import Analysis, draw_svg, draw_text, type_text
from penstock.control import PreparedRun, find_flow, inspect_flow, load_flow, prepare
from penstock.errors import ConfigError
from penstock.flow import Param
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder
from penstock.interfaces.cli.screen import TEXT, print_json, screen, table

__all__ = ["command"]


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write the graph as an SVG picture.")
    ] = None,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Draw the steps of a flow, check its columns, say what it is bound to.

    Nothing runs and no row is read. A wrong column is an error, as it would be in `penstock run`.
    """
    target = find_flow(flow, project)
    environment = target.project.environment(env)
    prepared = prepare(load_flow(target, environment), environment)
    analysis = inspect_flow(prepared)
    definition = prepared.loaded.definition
    if svg is not None:
        _write(svg, draw_svg(definition, analysis))
    if as_json:
        print_json(_as_values(prepared, analysis))
        return
    out = screen()
    if svg is not None:
        out.print(f"wrote {svg}", markup=False)
        return
    out.print(draw_text(definition, analysis), markup=False, soft_wrap=True)
    out.print()
    columns = (("step", TEXT), ("dataset", TEXT), (f"in {env}", TEXT), ("bound by", TEXT))
    rows = ((bound.step, bound.logical, bound.place, bound.origin) for bound in prepared.bound)
    out.print(table(columns, rows))
    if prepared.loaded.params:
        out.print()
        out.print(table((("parameter", TEXT), ("value", TEXT), ("what it is", TEXT)), _params(prepared.loaded.params)))


def _params(params: Mapping[str, Param]) -> list[tuple[str, str, str]]:
    return [(name, str(found.value), found.help) for name, found in params.items()]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} can't be written: {error.strerror}", hint="name a file in a folder that is there"
        ) from None


def _as_values(prepared: PreparedRun, analysis: Analysis) -> dict[str, Any]:
    """The flow as plain JSON values. Options of datasets are left out: a careless one may hold a secret."""
    definition = prepared.loaded.definition
    return {
        "flow": definition.name,
        "owner": definition.owner,
        "description": definition.description,
        "env": prepared.environment.name,
        "steps": [
            {
                "name": step.name,
                "kind": step.operation.kind,
                "inputs": list(step.inputs),
                "location": step.location,
                "columns": {name: type_text(dtype) for name, dtype in analysis.steps[step.name].schema.items()},
                "event_time": analysis.steps[step.name].event_time,
                "key": list(analysis.steps[step.name].key),
                "updating": analysis.steps[step.name].updating,
            }
            for step in definition.steps
        ],
        "datasets": [
            {
                "step": bound.step,
                "name": bound.logical,
                "writes": bound.writes,
                "kind": bound.dataset.kind,
                "place": bound.place,
                "bound_by": bound.origin,
            }
            for bound in prepared.bound
        ],
        "params": {name: found.value for name, found in prepared.loaded.params.items()},
    }
