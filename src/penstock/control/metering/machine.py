"""What the machine gives and what is used of it, as far as the system says."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from shutil import disk_usage

__all__ = ["disk_bytes", "files_bytes", "memory_limit_bytes"]

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def memory_limit_bytes(limit_bytes: int | None = None) -> int:
    """What a process may use: the least of its own limit, that of the container, and the machine's memory."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError):
        limits.append(int(_CGROUP.read_text(encoding="ascii")))
    return min([*limits, *([] if limit_bytes is None else [limit_bytes])])


def disk_bytes(folder: Path) -> tuple[int | None, int | None]:
    """Free and in all, of the disk that a folder is on."""
    with suppress(OSError):
        found = disk_usage(folder)
        return found.free, found.total
    return None, None


def files_bytes(folder: Path) -> int:
    """The size of the ledger's files in an environment's folder."""
    total = 0
    for pattern in ("ledger.db*", "flows/*/epochs*"):
        for file in folder.glob(pattern):
            with suppress(OSError):
                total += file.stat().st_size
    return total
