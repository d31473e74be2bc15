"""Files and folders that are there, whole, after a power cut: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from penstock.clock import new_id
from penstock.errors import LedgerError

__all__ = ["TEMPORARY", "make_folder", "sync_folder", "write_file"]

TEMPORARY = ".tmp"
"""The ending of files that are being written, or that a crash left behind."""


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(file: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let `write` fill a file that appears whole under its name, or not at all; durable on return. Raises OSError."""
    temporary = file.with_name(f"{file.name}.{new_id()[:8]}{TEMPORARY}")
    try:
        with temporary.open("wb") as opened:
            write(opened)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
        sync_folder(file.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def make_folder(folder: Path) -> None:
    """Create a folder with its parents and make their names durable. Raises LedgerError."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            sync_folder(made.parent)
    except OSError as problem:
        raise LedgerError(
            f"can't create the folder {folder}: {problem.strerror}",
            state_left="nothing was written",
            hint="name a folder on a local disk that this user may write",
        ) from problem
