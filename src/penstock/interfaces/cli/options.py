"""Arguments and options that several verbs have, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from penstock.control import Environment, Project, find_flow, known_flows, project_for, read_ledger
from penstock.errors import ConfigError, did_you_mean

__all__ = ["AsJson", "EnvironmentName", "FlowName", "ProjectFolder", "environment_of", "flow_in_ledger", "given_params"]

FlowName: TypeAlias = Annotated[
    str, typer.Argument(metavar="FLOW", help="Name of a flow, path/to/file.py, or path/to/file.py:variable.")
]
EnvironmentName: TypeAlias = Annotated[
    str, typer.Option("--env", "-e", envvar="PENSTOCK_ENV", metavar="NAME", help="The environment.")
]
ProjectFolder: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--project",
        "-C",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Look for penstock.toml from this folder upwards.",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def environment_of(folder: Path, name: str) -> tuple[Project, Environment]:
    """The project around a folder and its environment. Raises ConfigError."""
    project = project_for(folder)
    return project, project.environment(name)


def given_params(given: list[str]) -> dict[str, str]:
    """What `--set` gave, by name. Raises ConfigError."""
    params = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set {text!r} is not KEY=VALUE", hint="write for example --set vat=0.19")
        params[name.strip()] = value
    return params


def flow_in_ledger(asked: str, folder: Path, environment_name: str) -> tuple[str, Environment]:
    """The name of a flow that ran in an environment, found without loading any author's code.

    Raises ConfigError where it never ran there.
    """
    if asked.partition(":")[0].endswith(".py") or "/" in asked:
        target = find_flow(asked, folder)
        environment = target.project.environment(environment_name)
        names = [flow.name for flow in known_flows(target.project) if flow.file == target.file]
        names = names or [target.file.stem]
    else:
        environment = project_for(folder).environment(environment_name)
        names = [asked]
    ran = _flows_that_ran(environment)
    found = [name for name in names if name in ran]
    if len(found) == 1:
        return found[0], environment
    if found:
        raise ConfigError(f"{asked} holds several flows: {', '.join(found)}", hint="give the name of one")
    raise ConfigError(
        f"the flow {names[0]!r} never ran in environment {environment.name!r}.{did_you_mean(names[0], ran)}",
        hint=f"flows that did: {', '.join(ran)}" if ran else f"penstock run {asked}",
    )


def _flows_that_ran(environment: Environment) -> list[str]:
    with read_ledger(environment) as ledger:
        return [] if ledger is None else [facts.flow for facts in ledger.flows()]
