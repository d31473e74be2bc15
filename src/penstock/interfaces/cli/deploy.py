"""`penstock deploy`: let a new version take over while the flow runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.interfaces.cli.handing import (
    AutoApprove,
    Detach,
    Force,
    ShadowLength,
    VersionId,
    WatchLength,
    carried_out,
    handing,
    manner,
    nothing_to_do,
    version_of,
)
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder, given_params
from penstock.interfaces.cli.steering import Why

__all__ = ["command"]


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    version: VersionId = None,
    params: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="A parameter of the new version.")
    ] = None,
    shadow: ShadowLength = None,
    watch: WatchLength = None,
    auto_approve: AutoApprove = False,
    force: Force = False,
    detach: Detach = False,
    why: Why = "",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> int:
    """Let a new version take over while the flow runs.

    It is checked, its state is migrated on a copy, and it runs hidden on the same input; the difference of its rows is
    judged; then it leads from one epoch to the next, and the old version stays warm for a while. Until the cut nothing
    of the old version has stopped. Ctrl-C leaves it to go on.
    """
    with handing(flow, project, env, why=why, new=True) as asked:
        chosen = version_of(asked, flow, project, version, given_params(params or []), why=why)
        how = manner(asked, shadow=shadow, watch=watch, auto_approve=auto_approve, force=force, why=why)
        intent = asked.asker.deploy(asked.flow, chosen, how)
        if not intent.plan:
            return nothing_to_do(asked, f"nothing to do, version {chosen} leads", as_json=as_json)
        return carried_out(asked, intent, detach=detach, as_json=as_json)
