"""Disks that a test can fill, and give room again."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KINDS", "Disk", "may_mount", "small_file_system", "small_files"]

SIZE_BYTES = 4 * 1024 * 1024
LIMIT_BYTES = 256 * 1024


@dataclass(frozen=True)
class Disk:
    """A folder on a disk that can be filled and emptied."""

    folder: Path
    fill: Callable[[], None]
    make_room: Callable[[], None]


def small_file_system(folder: Path) -> Iterator[Disk]:
    """A file system of 4 MB in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder)], check=True)
    filler = folder / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as opened, suppress(OSError):
            while True:
                opened.write(bytes(4096))

    try:
        yield Disk(folder, fill, filler.unlink)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def small_files(folder: Path) -> Iterator[Disk]:
    """A limit on the size of every file that this process writes, for whom nobody lets mount anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def make_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        yield Disk(folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard)), make_room)
    finally:
        make_room()


def may_mount() -> bool:
    """Whether this user may mount a file system."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0


KINDS = {"small files": small_files, **({"small file system": small_file_system} if may_mount() else {})}
