"""Makes the processes that are tried, and learns what becomes of them; the other end is `victim`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from penstock.clock import Clock, SystemClock
from penstock.control.exit_codes import EXIT_CODES
from penstock.errors import PenstockError

__all__ = ["Ending", "Nursery", "Process"]

_COMMAND = ("-m", "penstock.control.chaos.victim")
_LOG_LINES = 200
_BUG = 70
"""The exit code after which the last words are a traceback."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended. `code`: of `EXIT_CODES`, or minus a signal. `said`: its last words."""

    code: int
    said: str = ""
    step: str | None = None

    @property
    def told(self) -> str:
        """In words."""
        if self.code < 0:
            return f"killed by signal {-self.code}"
        if self.code and self.said:
            return self.said.splitlines()[-1 if self.code == _BUG else 0]
        return EXIT_CODES.get(self.code, f"exit code {self.code}")


@dataclass(slots=True)
class Process:
    """One process, as it was heard of last."""

    number: int
    told: threading.Condition
    clock: Clock
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> Ending | None:
        """How it ended; None while it is there."""
        if "ended" not in self.facts:
            return None
        return Ending(int(self.facts["ended"]), str(self.facts.get("said", "")), self.facts.get("step"))

    @property
    def is_stopped(self) -> bool:
        """Whether it is frozen."""
        return bool(self.facts.get("stopped"))

    def kill(self, number: int) -> None:
        """Send it a signal; nothing happens where it is gone."""
        with self.told:
            if "ended" not in self.facts and "pid" in self.facts:
                os.kill(int(self.facts["pid"]), number)

    def wait(self, timeout_s: float) -> Ending:
        """Its end. Raises TimeoutError."""
        self._until(lambda: "ended" in self.facts, timeout_s)
        found = self.ended
        assert found is not None
        return found

    def wait_stopped(self, timeout_s: float) -> bool:
        """Until it is frozen; False where it ended instead. Raises TimeoutError."""
        self._until(lambda: "ended" in self.facts or self.is_stopped, timeout_s)
        return self.ended is None

    def wait_running(self, timeout_s: float) -> bool:
        """Until it has claimed the flow; False where it ended before. Raises TimeoutError."""
        self._until(lambda: "ended" in self.facts or "runs" in self.facts, timeout_s)
        return self.ended is None

    def _until(self, is_so: Callable[[], bool], timeout_s: float) -> None:
        with self.told:
            if not self.told.wait_for(is_so, timeout_s):
                raise TimeoutError(f"nothing was heard of process {self.facts.get('pid')} for {timeout_s:.0f} s")


class Nursery:
    """A process that forks one for each job. To be closed, or used in a `with`: then all of them are gone.

    `hash_seed`: how its processes hash text.
    """

    def __init__(self, root: Path, *, hash_seed: int) -> None:
        variables = {name: value for name, value in os.environ.items() if name != "PENSTOCK_KILL_AT"}
        self._parent = subprocess.Popen(
            [sys.executable, *_COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=root,
            env={**variables, "PYTHONHASHSEED": str(hash_seed), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self._told = threading.Condition()
        self._clock = SystemClock()
        self._processes: dict[int, Process] = {}
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._is_over = False
        for work in (self._listen, self._keep_log):
            threading.Thread(target=work, name="penstock-chaos", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        """The last lines that its processes wrote to the standard error."""
        return "".join(self._log)

    def start(self, job: Mapping[str, Any]) -> Process:
        """A new process for a job. Raises PenstockError where none can be had."""
        assert self._parent.stdin is not None
        with self._told:
            process = Process(len(self._processes) + 1, self._told, self._clock)
            self._processes[process.number] = process
        try:
            self._parent.stdin.write(json.dumps({"id": process.number, "job": dict(job)}).encode() + b"\n")
            self._parent.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None
        return process

    def close(self) -> None:
        """End all processes."""
        for stream in (self._parent.stdin,):
            if stream is not None:
                stream.close()
        try:
            self._parent.wait(5)
        except subprocess.TimeoutExpired:
            self._parent.kill()
            self._parent.wait()
        for pipe in (self._parent.stdout, self._parent.stderr):
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        assert self._parent.stdout is not None
        for line in self._parent.stdout:
            try:
                facts = json.loads(line)
                number = int(facts.pop("id"))
            except (ValueError, KeyError, TypeError, AttributeError):
                self._log.append(line.decode(errors="replace"))  # the author's code printed something
                continue
            with self._told:
                self._processes[number].facts.update(facts)
                self._told.notify_all()
        with self._told:
            for process in self._processes.values():
                process.facts.setdefault("ended", 70)
                process.facts.setdefault("said", self.log or "the process that makes them is gone")
            self._told.notify_all()

    def _keep_log(self) -> None:
        assert self._parent.stderr is not None
        for line in self._parent.stderr:
            self._log.append(line.decode(errors="replace"))

    def _gone(self) -> PenstockError:
        return PenstockError(f"no process can be started: {self.log[-2000:]}", state_left="nothing was changed")
