"""`penstock stop`: let a flow finish its epoch and end; it stays stopped until it is started again."""

from __future__ import annotations

from pathlib import Path

from penstock.interfaces.cli.options import EnvironmentName, FlowName, ProjectFolder
from penstock.interfaces.cli.steering import NoWait, Timeout, Why, follow, steering

__all__ = ["command"]


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    no_wait: NoWait = False,
    timeout: Timeout = 300.0,
    why: Why = "",
    project: ProjectFolder = Path(),
) -> int:
    """Let a flow finish its epoch and end."""
    with steering(flow, project, env, why=why) as steered:
        steered.wisher.stop(steered.flow)
        return follow(steered, ("stopped",), doing="stopping", timeout_s=timeout, wait=not no_wait)
