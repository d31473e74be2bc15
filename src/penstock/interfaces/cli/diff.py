"""`penstock diff`: what is different between two versions of a flow, and whether the state of one fits the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from penstock.analysis import ColumnsChange, StepChange, TableVerdict, VersionDiff, diff_versions
from penstock.control import RUNNING, WORKING, version_manifest
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder, given_params
from penstock.interfaces.cli.screen import print_json, screen
from penstock.interfaces.cli.steering import flow_named

__all__ = ["command", "print_diff"]

_MARKS = {"added": "+", "removed": "-", "changed": "~", "renamed": ">"}
_COLOURS = {"+": "green", "-": "red", "~": "yellow", ">": "cyan", "@": "cyan"}
_SIZE = 200


def command(
    flow: FlowName,
    old: Annotated[
        str, typer.Argument(metavar="[A]", help="The version before: an id or its beginning, `running` or `working`.")
    ] = RUNNING,
    new: Annotated[
        str, typer.Argument(metavar="[B]", help="The version after; `working` is the working tree.")
    ] = WORKING,
    *,
    env: EnvironmentName = "dev",
    params: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="A parameter of the working tree's flow."),
    ] = None,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Tell what is different between two versions of a flow.

    Steps, with the code that is to blame; columns; sources and sinks; packages; and for each table of state, whether
    the new version can go on with it, or which lines its author has to write. Nothing runs.
    """
    name, environment = flow_named(flow, project, env)
    given = given_params(params or [])
    manifests = [
        version_manifest(asked, flow if asked == WORKING else name, environment, project, params=given)
        for asked in (old, new)
    ]
    found = diff_versions(*manifests)
    if as_json:
        print_json({"env": env, **found.as_json()})
        return
    print_diff(screen(), found, names=(old, new))


def print_diff(out: Console, diff: VersionDiff, *, names: tuple[str, str]) -> None:
    """Print it. `names`: what a person called the two versions."""
    before, after = (_named(asked, one) for asked, one in zip(names, (diff.old, diff.new), strict=True))
    out.print(f"{diff.flow}: {before} -> {after}", markup=False)
    if diff.is_empty:
        said = ", and nothing that counts: both do the same" if diff.files else ": it is the same"
        out.print(f"no step differs{said}", markup=False)
    for lines in (_steps(diff), _ends(diff), _settings(diff), _state(diff), _files(diff)):
        for line in lines:
            out.print(_coloured(line), soft_wrap=True)


def _named(asked: str, version: str) -> str:
    return version if version.startswith(asked) else f"{asked} ({version})"


def _coloured(line: str) -> Text:
    mark = line.strip()[:1]
    return Text(line, style=_COLOURS.get(mark, "") if line.startswith(" ") else "bold")


def _steps(diff: VersionDiff) -> Iterator[str]:
    if diff.steps:
        yield "steps"
    for step in diff.steps:
        yield f"  {_MARKS[step.change]} {step.name} ({step.kind}){_about(step)}"
        if step.inputs is not None:
            before, after = (", ".join(names) or "none" for names in step.inputs)
            yield f"      takes rows of {before}, now of {after}"
        if step.change not in ("added", "removed"):
            yield from (f"      {line}" for line in _columns(step.columns))
        for code in step.code:
            what = "" if code.kind == "step" else f" {code.kind}"
            yield f"      {code.name}{what} {code.change}" + (f" ({code.location})" if code.location else "")
            yield from (f"        {line}" for line in code.diff.splitlines()[2:])


def _about(step: StepChange) -> str:
    was = f", was {step.old_name}" if step.old_name else ""
    before, after = (text if len(text) <= _SIZE else f"{text[:_SIZE]}..." for text in (step.before, step.after))
    if step.change in ("added", "removed"):
        return f"{was}: {after or before}" if after or before else was
    return f"{was}: {before} -> {after}" if before != after else was


def _columns(columns: ColumnsChange) -> Iterator[str]:
    if columns.is_empty:
        return
    parts = [f"+ {name} {dtype}" for name, dtype in columns.added.items()]
    parts += [f"- {name} {dtype}" for name, dtype in columns.removed.items()]
    parts += [f"{name} {before} -> {after}" for name, (before, after) in columns.retyped.items()]
    yield f"columns: {', '.join(parts)}"


def _ends(diff: VersionDiff) -> Iterator[str]:
    if diff.ends:
        yield "sources and sinks"
    for end in diff.ends:
        what = " -> ".join(place for place in (end.before, end.after) if place)
        yield f"  {_MARKS[end.change]} {end.step} {'writes' if end.writes else 'reads'} {what}"


def _settings(diff: VersionDiff) -> Iterator[str]:
    if diff.settings:
        yield "settings"
    for name, (before, after) in diff.settings.items():
        yield f"  ~ {name}: {before} -> {after}"


def _state(diff: VersionDiff) -> Iterator[str]:
    if diff.state.tables:
        yield "state" if diff.state.is_compatible else "state: the new version can't take it over as it is"
    for table in diff.state.tables:
        yield from _table(table)
    for line in diff.state.unused:
        yield f"  not needed: {line}"


def _table(table: TableVerdict) -> Iterator[str]:
    name = table.step or table.old_step
    part = f" ({table.part})" if table.part else ""
    was = f", was {table.old_step}" if table.old_step and table.step and table.old_step != table.step else ""
    yield f"  {name}{part}: {table.outcome}{was}"
    yield from (f"      {line}" for line in (*table.reasons, *table.notes))
    changed = [column for column in table.columns if column.change not in ("same", "renamed")]
    if table.outcome not in ("refused", "reset-by-author"):
        yield from (f"      {column}" for column in changed)
    if table.hint:
        yield "      write one of these into the flow:"
        yield from (f"        {line}" for line in table.hint.splitlines())


def _files(diff: VersionDiff) -> Iterator[str]:
    if diff.files:
        yield "files"
    for name, change in diff.files.items():
        yield f"  {_MARKS[change]} {name}"
