"""`penstock undo`: take back what was written after an epoch, and write it anew by the good version."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from penstock.errors import ConfigError
from penstock.interfaces.cli.handing import Detach, carried_out, handing, manner, nothing_to_do, show_plan
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder
from penstock.interfaces.cli.rollout_screen import preview_parts
from penstock.interfaces.cli.screen import print_json, screen
from penstock.interfaces.cli.steering import Why

__all__ = ["command"]


def command(
    flow: FlowName,
    *,
    to: Annotated[
        str,
        typer.Option("--to", metavar="TARGET", help="The last good epoch, a time (2026-08-01T10:00, 10m), a version."),
    ],
    with_: Annotated[
        str | None, typer.Option("--with", metavar="ID", help="By which version; else the one that ran that epoch.")
    ] = None,
    env: EnvironmentName = "dev",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be taken back, and end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    detach: Detach = False,
    why: Why = "",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> int:
    """Take back what was written after an epoch; write it anew.

    Code, state and rows are then as if the bad version had never led. TARGET is the last good epoch, a time, or a
    version: then the last epoch that it ran before another one followed. Sinks that can't take rows back get
    corrections, where they have a way to mark them. First shows all of it, and asks.
    """
    with handing(flow, project, env, why=why) as asked:
        preview = asked.asker.preview_undo(asked.flow, to, version=with_)
        if dry_run and as_json:
            print_json({"flow": asked.flow, "env": asked.env, **preview.as_json()})
            return 0
        if not as_json:
            for part in preview_parts(preview):
                screen().print(part, soft_wrap=True)
        if not preview.is_possible and not dry_run:
            raise _impossible(asked.flow)
        how = manner(asked, shadow=None, watch=None, auto_approve=True, force=False, why=why)
        intent = asked.asker.undo(preview, asked.flow, how)
        if not intent.plan:
            return nothing_to_do(asked, "nothing was written after that epoch", as_json=as_json)
        if dry_run:
            screen().print()
            show_plan(asked, intent)
            return 0
        if not yes and not _sure(asked.flow, preview.losses.epochs, as_json=as_json):
            screen().print("nothing was changed")
            return 0
        return carried_out(asked, intent, detach=detach, as_json=as_json)


def _sure(flow: str, epochs: int, *, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        raise ConfigError(
            "an undo takes rows back, and there is nobody to ask",
            flow=flow,
            state_left="nothing was changed",
            hint="look at it with --dry-run, then say --yes",
        )
    return typer.confirm(f"Take back {epochs:,} epochs of {flow}?", default=False)


def _impossible(flow: str) -> ConfigError:
    return ConfigError(
        "it can't be undone that far",
        flow=flow,
        state_left="nothing was changed",
        hint="name a later epoch, or another version with --with; [undo] in penstock.toml says how long input is kept",
    )
