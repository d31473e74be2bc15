"""Leaving the cores to the flows that run, while a process only gets ready or looks something up.

Linux weighs sessions before it weighs the processes in them ("autogroup", since 2.6.38), and lets anybody move the
weight of a session between 0 and 19, both ways; the nice value of a process can't be lowered again without a privilege.
Each process of a flow has a session of its own. Elsewhere, and in a service's cgroup, nothing happens.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["LEAST", "READYING", "SPARE", "step_back", "step_forward"]

LEAST = 19
"""For what has time: the lowest weight that there is."""
READYING = 5
"""For who imports, or loads a state: about a third of the weight of who leads."""

SPARE = "--spare"
"""The argument of a process that nobody waits for yet."""

_AUTOGROUP = Path("/proc/self/autogroup")


def step_back(nice: int) -> None:
    """Give this process's session the weight of a nice value. The process must lead its session."""
    with suppress(OSError):  # not Linux, no autogroups, or too soon after the last change
        _AUTOGROUP.write_text(str(nice), encoding="ascii")


def step_forward(pid: int | None = None) -> None:
    """Give this process's session, or that of a child, its full weight again."""
    with suppress(OSError):
        (_AUTOGROUP if pid is None else Path(f"/proc/{pid}/autogroup")).write_text("0", encoding="ascii")
