"""`penstock pause`: let a flow's process stay with its state, and plan no epoch."""

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
    timeout: Timeout = 60.0,
    why: Why = "",
    project: ProjectFolder = Path(),
) -> int:
    """Let a flow's process stay with its state, and plan no epoch."""
    with steering(flow, project, env, why=why) as steered:
        steered.wisher.pause(steered.flow)
        return follow(steered, ("paused",), doing="pausing", timeout_s=timeout, wait=not no_wait)
