"""`penstock plan`: what a deploy would do, without doing any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.analysis import diff_versions
from penstock.control import RUNNING, known_versions
from penstock.interfaces.cli.diff import print_diff
from penstock.interfaces.cli.handing import (
    Force,
    ShadowLength,
    VersionId,
    WatchLength,
    handing,
    manner,
    show_plan,
    version_of,
)
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder, given_params
from penstock.interfaces.cli.screen import print_json, screen
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
    force: Force = False,
    why: Why = "",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Show what a deploy would change, and its stages.

    The code as it is now is kept as a version, so that the deploy that follows can name it.
    """
    with handing(flow, project, env, why=why, new=True) as asked:
        chosen = version_of(asked, flow, project, version, given_params(params or []), why=why)
        how = manner(asked, shadow=shadow, watch=watch, auto_approve=False, force=force, why=why)
        intent = asked.asker.deploy(asked.flow, chosen, how)
        known = known_versions(asked.steered.environment, asked.flow)
        new = next(one.manifest for one in known if one.id == chosen)
        current = next((one.manifest for one in known if one.is_current and "steps" in one.manifest), None)
        diff = None if current is None else diff_versions(current, new)
        if as_json:
            stages = [{"stage": stage.name, "does": stage.text()} for stage in intent.plan]
            about = {"flow": asked.flow, "env": asked.env, "old": intent.old_version, "new": chosen}
            print_json({**about, "plan": stages, "diff": None if diff is None else diff.as_json()})
            return
        if not intent.plan:
            screen().print(f"{asked.flow} in {asked.env}: nothing to do, version {chosen} leads", markup=False)
            return
        if diff is not None:
            print_diff(screen(), diff, names=(RUNNING, chosen))
            screen().print()
        show_plan(asked, intent)
