"""Starts the processes of flows: a warm spare gets the job where there is one, else a new interpreter.

A spare has imported the kernels and waits; most of a start's time is behind it. Its input is a pipe of ours: it ends
with us as long as it has no job, and goes on without us once it has one.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.clock import Clock, new_id
from penstock.control.priority import FULL, LEAST, READYING
from penstock.control.supervising.processes import Processes
from penstock.errors import ConfigError

__all__ = ["COMMAND", "LOG", "Launched", "Launcher", "log_tail", "rotate_log"]

COMMAND = ("-P", "-X", "faulthandler", "-m", "penstock.control.member")
LOG = "log.txt"
LOG_BYTES = 10_000_000
"""A log that is longer is moved to `log.1.txt`, in the place of the one before."""
_TAIL_BYTES = 64_000
"""Enough for a dump of all threads."""
_SPARE_FIRST_S, _SPARE_LONGEST_S = 1.0, 60.0
_SECRETS = ("PENSTOCK_TOKEN",)


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that waits for its job. `started`: when it began, as the system counts."""

    pid: int
    started: str


@dataclass(frozen=True, slots=True)
class _Spare:
    launched: Launched
    log: Path


class Launcher:
    """Starts processes and keeps `spares` of them warm. `command`: what follows the interpreter's name."""

    def __init__(
        self,
        processes: Processes,
        clock: Clock,
        *,
        folder: Path,
        root: Path,
        spares: int = 1,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._processes = processes
        self._clock = clock
        self._folder = folder / "spares"
        self._root = root
        self._wanted = spares
        self._command = tuple(command)
        self._spares: deque[_Spare] = deque()
        self._lost = 0
        self._next_s = 0.0

    @property
    def spares(self) -> tuple[int, ...]:
        """The process ids of the spares, the warmest first."""
        return tuple(spare.launched.pid for spare in self._spares)

    def launch(self, log: Path, *, python: str | None = None) -> Launched:
        """A process that waits for its job and writes to `log`. Raises ConfigError where none can be started.

        `python`: the interpreter of a version that has its own; a spare is of no use for it.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        while self._spares and python in (None, sys.executable):
            spare = self._spares.popleft()
            if self._processes.started(spare.launched.pid) == spare.launched.started:
                with contextlib.suppress(OSError):
                    spare.log.replace(log)
                return spare.launched
        return self._start(log, python or sys.executable)

    def give(self, launched: Launched, job: Mapping[str, Any]) -> bool:
        """Give it the job. False where it has died: its end will be told like any other's."""
        # It may be importing still, as one that nobody waits for.
        self._processes.weigh(launched.pid, FULL if job.get("role") == "lead" else READYING)
        return self._processes.give(launched.pid, json.dumps(job))

    def ended(self, pid: int) -> bool:
        """Whether a process that has ended was a spare. Spares that die one after the other are started less often."""
        for spare in self._spares:
            if spare.launched.pid == pid:
                self._spares.remove(spare)
                self._lost += 1
                wait_s = min(_SPARE_FIRST_S * 2 ** min(self._lost, 10), _SPARE_LONGEST_S)
                self._next_s = self._clock.stopwatch_s() + wait_s
                spare.log.unlink(missing_ok=True)
                return True
        return False

    def refill(self) -> None:
        """Start one spare where one is missing. One at a time: importing takes a core for a moment."""
        if len(self._spares) >= self._wanted or self._clock.stopwatch_s() < self._next_s:
            return
        log = self._folder / f"{new_id()}.txt"
        try:
            spare = _Spare(self._start(log, sys.executable), log)
        except ConfigError:  # a member that is needed will be refused too, and say so
            self._next_s = self._clock.stopwatch_s() + _SPARE_LONGEST_S
            return
        self._processes.weigh(spare.launched.pid, LEAST)
        self._spares.append(spare)

    def close(self) -> None:
        """Let the spares go: their input ends, and so do they."""
        while self._spares:
            spare = self._spares.popleft()
            self._processes.give(spare.launched.pid, "")
            spare.log.unlink(missing_ok=True)

    def _start(self, log: Path, python: str) -> Launched:
        variables = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        variables["PYTHONUNBUFFERED"] = "1"
        # Threads of OpenBLAS wait for work in a loop from the import of numpy on: a twentieth of what a start takes.
        variables.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
        pid = self._processes.spawn([python, *self._command], log=log, folder=self._root, variables=variables)
        return Launched(pid, self._processes.started(pid) or "")


def log_tail(log: Path) -> str:
    """The last lines of a log; empty where there is none."""
    try:
        with log.open("rb") as text:
            text.seek(0, os.SEEK_END)
            text.seek(max(text.tell() - _TAIL_BYTES, 0))
            return text.read().decode(errors="replace")
    except OSError:
        return ""


def rotate_log(log: Path, *, most_bytes: int = LOG_BYTES) -> None:
    """Move a log that has become too long to `log.1.txt`. The process goes on writing to the same, now empty, file."""
    try:
        if log.stat().st_size <= most_bytes:
            return
        with log.open("rb") as text:
            text.seek(-most_bytes // 2, os.SEEK_END)
            log.with_suffix(f".1{log.suffix}").write_bytes(text.read())
        os.truncate(log, 0)  # it was opened for appending: what comes next is at the beginning
    except OSError:
        return
