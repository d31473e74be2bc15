"""Who may run a flow in an environment: a file lock that the operating system drops when its holder dies.

`penstock run` holds it alone; the members that a server runs share it, because one leads and others follow.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.clock import SystemClock
from penstock.errors import ConfigError, FlowBusy

__all__ = ["flow_lock", "lock_holder"]

_MEMBERS = "members"
_TRIES = 5
_PAUSE_S = 0.01


@contextmanager
def flow_lock(folder: Path, flow: str, environment: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock `folder/lock`; its text is the process id of who holds it alone, or `members`.

    The file stays when the lock is given back: removing it would let two processes lock two files of one name.
    Raises FlowBusy that names who holds it, ConfigError where the folder can't be written.
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
        if not _taken(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            raise _busy(_text(descriptor), flow, environment)
        _tell_holder(descriptor, _MEMBERS if shared else str(os.getpid()))
        try:
            yield
        finally:
            if not shared:
                _tell_holder(descriptor, "")
    finally:
        os.close(descriptor)


def lock_holder(folder: Path, *, shared: bool = False) -> int | None:
    """The process that holds the lock of a flow's folder alone, None where nobody does.

    With `shared`, members that share it count too. 0: somebody who does not say which process.
    """
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if _taken(descriptor, fcntl.LOCK_EX if shared else fcntl.LOCK_SH):
            return None
        text = _text(descriptor)
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)


def _taken(descriptor: int, how: int) -> bool:
    """Take the lock, or say that it can't be had. Somebody who only asks who holds it has it for a moment."""
    for attempt in range(_TRIES):
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt < _TRIES - 1:
                SystemClock().sleep(_PAUSE_S)
        else:
            return True
    return False


def _busy(text: str, flow: str, environment: str) -> FlowBusy:
    if text == _MEMBERS:
        return FlowBusy(
            f"processes of the server run this flow in environment {environment!r}",
            flow=flow,
            state_left="nothing was changed",
            hint=f"stop it first: penstock stop {flow} --env {environment}",
        )
    holder = text if text.isdigit() else ""
    return FlowBusy(
        f"another process runs this flow in environment {environment!r}" + (f": process {holder}" if holder else ""),
        flow=flow,
        state_left="nothing was changed",
        hint=f"wait for it, or stop it cleanly: kill -TERM {holder}" if holder else "wait for it, or stop it",
    )


def _text(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()


def _tell_holder(descriptor: int, text: str) -> None:
    """Best effort: the lock holds without it, a full disk only costs the process id in a message."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    except OSError:
        return
