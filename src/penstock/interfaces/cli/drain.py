"""`penstock drain`: let a flow read what is there now, and end."""

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
    timeout: Timeout = 3600.0,
    why: Why = "",
    project: ProjectFolder = Path(),
) -> int:
    """Let a flow read what is there now, and end."""
    with steering(flow, project, env, why=why) as steered:
        steered.wisher.drain(steered.flow)
        return follow(steered, ("finished", "stopped"), doing="draining", timeout_s=timeout, wait=not no_wait)
