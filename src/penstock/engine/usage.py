"""What this process uses of the machine, as the system counts it."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

__all__ = ["cpu_seconds", "memory_bytes"]

_STATM = Path("/proc/self/statm")


def cpu_seconds() -> float:
    """Seconds of processor time since the process began, of all its threads, in the kernel too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return round(used.ru_utime + used.ru_stime, 3)


def memory_bytes() -> int | None:
    """Memory that it has in use now; None where the system does not say so in a file."""
    with suppress(OSError, ValueError, IndexError):
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
