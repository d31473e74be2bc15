"""`penstock rollback`: let the version before lead again, or take back what is under way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.interfaces.cli.handing import Detach, VersionId, carried_out, handing, nothing_to_do, show_plan
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder
from penstock.interfaces.cli.screen import screen
from penstock.interfaces.cli.steering import Why

__all__ = ["command"]


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    version: VersionId = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and end.")] = False,
    detach: Detach = False,
    why: Why = "",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> int:
    """Let the version before lead again.

    While a deploy is under way, it is taken back: before its cut nothing has changed yet; after it the old version is
    still warm and takes over at once. Later the old version is started and takes over when it has caught up. What the
    new version wrote stays; `penstock undo` takes that back, too.
    """
    with handing(flow, project, env, why=why) as asked:
        intent = asked.asker.rollback(asked.flow, version)
        if not intent.plan and intent.said_to is None:
            return nothing_to_do(asked, f"nothing to do, {intent.ask.version} leads", as_json=as_json)
        if dry_run:
            show_plan(asked, intent)
            if intent.said_to is not None:
                screen().print(f"takes back {intent.said_to}, which is under way", markup=False)
            return 0
        return carried_out(asked, intent, detach=detach, as_json=as_json)
