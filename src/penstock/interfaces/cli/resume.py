"""`penstock resume`: let a paused flow go on."""

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
    """Let a paused flow go on."""
    with steering(flow, project, env, why=why) as steered:
        steered.wisher.resume(steered.flow)
        return follow(
            steered,
            ("running", "draining", "finished", "scheduled"),
            doing="resuming",
            timeout_s=timeout,
            wait=not no_wait,
        )
