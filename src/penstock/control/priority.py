"""Leaving the cores to the flows that run, while a process only gets ready or looks something up.

Linux weighs sessions before it weighs the processes in them ("autogroup", since 2.6.38), and lets anybody move the
weight of a session between 0 and 19, both ways; the nice value of a process can't be lowered again without a privilege.
Each process of a flow has a session of its own. Elsewhere, and in a service's cgroup, nothing happens.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FULL", "LEAST", "READYING", "weigh", "weight_of_age"]

FULL = 0
"""For who leads, or may be asked to at any moment."""
READYING = 10
"""For who loads a state and catches up: about a tenth of the weight of who leads, and all that that one leaves."""
LEAST = 19
"""For what has time: the lowest weight that there is. A spare that imports, a chore in its first moments."""

_LEAST_S, _READYING_S = 3.0, 10.0


def weight_of_age(age_s: float) -> int:
    """The nice value of something that somebody waits for, by how long it has taken: on a machine that is busy all the
    time the lowest weight is next to nothing, and nobody waits for ever.
    """
    return LEAST if age_s < _LEAST_S else READYING if age_s < _READYING_S else FULL


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
