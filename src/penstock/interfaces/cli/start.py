"""`penstock start`: let a server run a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.control import bundle_of, bytes_of, find_flow, load_flow, make_bundle, prepare, python_of
from penstock.errors import ConfigError
from penstock.interfaces.cli.options import EnvironmentName, FlowName, ProjectFolder, given_params
from penstock.interfaces.cli.screen import screen
from penstock.interfaces.cli.steering import NoWait, Steering, Timeout, Why, follow, steering

__all__ = ["command", "version_for"]


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    version: Annotated[
        str | None, typer.Option("--version", metavar="ID", help="Which version, where it never ran yet.")
    ] = None,
    standby: Annotated[
        bool | None,
        typer.Option(
            "--standby/--no-standby", help="Keep a second process that takes over at once when the first dies."
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try a flow again that is held.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set a parameter of the flow, where it never ran yet."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", metavar="SIZE", help="Most memory of its process, 2GB for example; 0: as penstock.toml says."
        ),
    ] = None,
    hang_after: Annotated[
        float | None,
        typer.Option("--hang-after", metavar="SECONDS", min=1, help="Restart it where an epoch takes longer."),
    ] = None,
    no_wait: NoWait = False,
    timeout: Timeout = 60.0,
    why: Why = "",
    project: ProjectFolder = Path(),
) -> int:
    """Let the server run a flow, from now on.

    The first time, a version is made of the code as it is now; later it is the version that ran last. To let changed
    code take over: penstock deploy FLOW.
    """
    with steering(flow, project, env, why=why, new=True) as steered:
        given = given_params(set_ or [])
        chosen = version_for(steered, flow, project, version, given)
        options: dict[str, Any] = {}
        if standby is not None:
            options["standby"] = standby or None
        if memory is not None:
            options["memory_bytes"] = _bytes(memory)
        if hang_after is not None:
            options["hang_after_s"] = hang_after
        steered.wisher.start(steered.flow, version=chosen, retry=retry, options=options)
        states = ("running", "draining", "finished", "scheduled")
        return follow(steered, states, doing="starting", timeout_s=timeout, wait=not no_wait)


def version_for(steered: Steering, asked: str, folder: Path, version: str | None, params: dict[str, str]) -> str | None:
    """The version that was asked for; one of the working tree where there is none yet; None for the one it has."""
    if version is not None:
        bundle = bundle_of(steered.environment, steered.flow, version)
    elif params or steered.ledger.operations.desired(steered.flow) is None:
        target = find_flow(asked, folder)
        prepared = prepare(load_flow(target, steered.environment, params), steered.environment)
        bundle = make_bundle(prepared, ledger=steered.ledger, clock=steered.clock)
        screen().print(f"{bundle.flow}: version {bundle.id} is the code as it is now", markup=False)
    else:
        return None
    if bundle.lock is not None:
        screen().print(f"{bundle.flow}: looking for the packages of {bundle.lock.name}", markup=False)
        python_of(bundle)
    return bundle.id


def _bytes(text: str) -> int | None:
    if text == "0":
        return None
    size = bytes_of(text)
    if size is None:
        raise ConfigError(f"--memory {text!r} is no size", hint="write for example --memory 2GB, or 0 for no limit")
    return size
