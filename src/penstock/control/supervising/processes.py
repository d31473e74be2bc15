"""Processes as Linux shows them: start one, learn of its end at once, and never mistake it for another of its number.

A process is known by its id *and* its start: an id is given again, a start is not. A server that was killed leaves
its processes behind; the next one watches them by the same two, though it is not their parent.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from penstock.control.priority import weigh
from penstock.errors import ConfigError

__all__ = ["Ended", "Processes", "SystemProcesses", "process_started", "this_host"]

_PAGE_BYTES = resource.getpagesize()
_ZOMBIE = "Z"
_START_FIELD = 19
_RESIDENT = 1
_OOM_SCORE = "300"
"""Added to what the kernel counts when it has to kill something: a flow comes back, the server is to see to that."""


def this_host() -> str:
    """What this machine is called in the ledger's table of members."""
    return socket.gethostname()


def process_started(pid: int) -> str | None:
    """When a process began, as the system counts it, with the boot it was in; None where it is not there or is dead.

    Two processes that had one id never give the same text, across reboots too.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = _boot()
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold anything, brackets too.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == _ZOMBIE else f"{boot}:{fields[_START_FIELD]}"


@cache
def _boot() -> str:
    """The boot that this process is in."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended. `code`: its exit code, minus the signal that ended it, None where nobody can say."""

    pid: int
    code: int | None


class Processes(Protocol):
    """What the supervisor asks of the operating system; a simulation gives it another one."""

    @property
    def host(self) -> str:
        """The machine's name."""
        ...

    def spawn(self, command: Sequence[str], *, log: Path, folder: Path, variables: Mapping[str, str]) -> int:
        """Start a process in a session of its own and give its id; it is watched from now on. Raises ConfigError."""
        ...

    def give(self, pid: int, line: str) -> bool:
        """Give a process that `spawn` started one line, then the end of its input. False where it is gone."""
        ...

    def started(self, pid: int) -> str | None:
        """When a living process began; None where it is not there."""
        ...

    def watch(self, pid: int, started: str) -> bool:
        """Watch a process that another one started. False where it is gone."""
        ...

    def forget(self, pid: int) -> None:
        """Watch it no more."""
        ...

    def ended(self) -> Sequence[Ended]:
        """The watched processes that have ended since the last call."""
        ...

    def weigh(self, pid: int, nice: int) -> None:
        """Give a process that `spawn` started the weight of a nice value, where the system can."""
        ...

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a watched process a signal that ends it."""
        ...

    def memory_bytes(self, pid: int) -> int | None:
        """How much memory a process has in use."""
        ...

    def kernel_kills(self) -> int:
        """How many processes this machine has killed for want of memory since it started."""
        ...


class SystemProcesses:
    """The real ones. `wait` sleeps until one ends or somebody calls `wake`; all else is for one thread."""

    def __init__(self) -> None:
        if not hasattr(os, "pidfd_open"):
            raise ConfigError(
                "the server runs on Linux only: nothing else tells of a process's end in time",
                hint="run flows by themselves here: penstock run FLOW",
            )
        self.host = this_host()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._descriptors: dict[int, int] = {}
        self._wakes, self._waker = os.pipe()
        os.set_blocking(self._wakes, False)
        os.set_blocking(self._waker, False)

    def spawn(self, command: Sequence[str], *, log: Path, folder: Path, variables: Mapping[str, str]) -> int:
        """Start a process in a session of its own, its output appended to `log`. Raises ConfigError."""
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                child = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=dict(variables),
                    start_new_session=True,  # a signal for the server's terminal is none for its flows
                )
        except OSError as error:
            raise ConfigError(
                f"no process could be started: {error.filename or command[0]}: {error.strerror}",
                hint="look at the free memory, the number of processes, and the permissions of that file",
            ) from error
        with contextlib.suppress(OSError):
            # A hung process is ended by SIGABRT, which shows where it hung; gigabytes of a core dump show no more.
            resource.prlimit(child.pid, resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
            Path(f"/proc/{child.pid}/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
        self._children[child.pid] = child
        self._descriptors[child.pid] = os.pidfd_open(child.pid)
        return child.pid

    def give(self, pid: int, line: str) -> bool:
        """Give a child one line, then the end of its input. False where it is gone."""
        child = self._children.get(pid)
        if child is None or child.stdin is None:
            return False
        try:
            with child.stdin as stdin:
                stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            return False
        return True

    def started(self, pid: int) -> str | None:
        """When a living process began; None where it is not there."""
        return process_started(pid)

    def watch(self, pid: int, started: str) -> bool:
        """Watch a process that another one started. False where it is gone."""
        if pid in self._descriptors:
            return True
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return False
        if process_started(pid) != started:  # asked after it was opened: from here on it can't become another one
            os.close(descriptor)
            return False
        self._descriptors[pid] = descriptor
        return True

    def forget(self, pid: int) -> None:
        """Watch it no more; a child is left to itself, its input ends."""
        descriptor = self._descriptors.pop(pid, None)
        if descriptor is not None:
            os.close(descriptor)
        child = self._children.pop(pid, None)
        if child is not None and child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
        # Popen would warn of a child that is still there; init takes it over when this process ends.
        if child is not None and child.returncode is None and child.poll() is None:
            child.returncode = 0

    def ended(self) -> Sequence[Ended]:
        """The watched processes that have ended since the last call; they are watched no more."""
        found = []
        for pid in self._ready(0):
            child = self._children.get(pid)
            code = None if child is None else child.wait()
            found.append(Ended(pid, code))
            self.forget(pid)
        return found

    def wait(self, seconds: float) -> None:
        """Sleep until a watched process ends, somebody calls `wake`, or so many seconds are over."""
        self._ready(seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wakes, 1024):
                pass

    def wake(self) -> None:
        """End a `wait`, from any thread or signal handler; nothing happens after `close`."""
        with contextlib.suppress(OSError):
            os.write(self._waker, b"!")

    def weigh(self, pid: int, nice: int) -> None:
        """Give a child the weight of a nice value, where the system can; see `penstock.control.priority`."""
        weigh(nice, pid)

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a watched process a signal that ends it."""
        descriptor = self._descriptors.get(pid)
        if descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)

    def memory_bytes(self, pid: int) -> int | None:
        """How much memory a process has in use (its resident set)."""
        try:
            return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[_RESIDENT]) * _PAGE_BYTES
        except (OSError, IndexError, ValueError):
            return None

    def kernel_kills(self) -> int:
        """How many processes this machine has killed for want of memory since it started."""
        try:
            lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def close(self) -> None:
        """Let go of everything; no process is ended by it."""
        for pid in list(self._descriptors):
            self.forget(pid)
        wakes, waker = self._wakes, self._waker
        self._wakes = self._waker = -1
        if wakes >= 0:
            os.close(wakes)
            os.close(waker)

    def _ready(self, seconds: float) -> list[int]:
        """The watched processes that have ended, after waiting for so many seconds at most."""
        poll = select.poll()
        poll.register(self._wakes, select.POLLIN)
        by_descriptor = {descriptor: pid for pid, descriptor in self._descriptors.items()}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        return [by_descriptor[ready] for ready, _ in poll.poll(seconds * 1000) if ready in by_descriptor]
