"""Leaving the cores to the flows that run, while a process only gets ready or looks something up.

Linux weighs sessions before it weighs the processes in them ("autogroup", since 2.6.38), and lets anybody move the
weight of a session between 0 and 19, both ways; the nice value of a process can't be lowered again without a privilege.
Each process of a flow has a session of its own. Elsewhere, and in a service's cgroup, nothing happens.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FULL", "LEAST", "READYING", "weigh"]

FULL = 0
"""For who leads, or may be asked to at any moment."""
READYING = 10
"""For who loads a state and catches up: about a tenth of the weight of who leads, and all that that one leaves."""
LEAST = 19
"""For what has time: the lowest weight that there is. A spare that imports, a chore."""


def weigh(nice: int, pid: int | None = None) -> bool:
    """Give this process's session, or that of another process, the weight of a nice value.

    False where it may be tried again in 0.1 s: without a privilege the kernel makes no more than ten changes a second.
    """
    try:
        Path(f"/proc/{'self' if pid is None else pid}/autogroup").write_text(str(nice), encoding="ascii")
    except BlockingIOError:
        return False
    except OSError:  # not Linux, no autogroups, or the process is gone
        pass
    return True
