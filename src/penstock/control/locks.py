"""One live process a flow and environment: a file lock that the operating system drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import ConfigError, FlowBusy

__all__ = ["flow_lock", "lock_holder"]


@contextmanager
def flow_lock(folder: Path, flow: str, environment: str) -> Iterator[None]:
    """Hold the lock `folder/lock`; its text is the process id of the holder.

    The file stays when the lock is given back: removing it would let two processes lock two files of one name.
    Raises FlowBusy that names the process, ConfigError where the folder can't be written.
    """
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(
            f"the folder of the environment can't be written: {error.filename}: {error.strerror}",
            flow=flow,
            hint="free space, correct the permissions, or set another folder in penstock.toml",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            raise FlowBusy(
                f"another process runs this flow in environment {environment!r}"
                + (f": process {holder}" if holder else ""),
                flow=flow,
                state_left="nothing was changed",
                hint=f"wait for it, or stop it cleanly: kill -TERM {holder}" if holder else "wait for it, or stop it",
            ) from None
        _tell_holder(descriptor, str(os.getpid()))
        try:
            yield
        finally:
            _tell_holder(descriptor, "")
    finally:
        os.close(descriptor)


def lock_holder(folder: Path) -> int | None:
    """The process that holds the lock of a flow's folder, None where nobody does."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor) or 0
    finally:
        os.close(descriptor)
    return None


def _holder(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None


def _tell_holder(descriptor: int, text: str) -> None:
    """Best effort: the lock holds without it, a full disk only costs the process id in a message."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    except OSError:
        return
