"""Chores: questions that only the author's code can answer, asked of a process that is thrown away.

`python -m penstock.control.rollouts.chores FILE` takes a job as one line of JSON on stdin and leaves its answer in the
file. The server asks, goes on with its work, and looks whether the answer is there; a server that died asks again.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.clock import Clock, new_id
from penstock.control.priority import LEAST, READYING, weigh, weight_of_age
from penstock.control.rollouts.checking import check
from penstock.control.rollouts.questions import input_rows, tried_letters
from penstock.control.rollouts.replaying import write_into, write_parquet
from penstock.errors import ConfigError, PenstockError

__all__ = ["Chores", "answered", "main"]

KINDS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "check": check,
    "keep": write_parquet,
    "into": write_into,
    "letters": tried_letters,
    "input": input_rows,
}
_LINES = 3


@dataclass(slots=True)
class _Process:
    process: subprocess.Popen[bytes]
    answer: Path
    log: Path
    begun_s: float
    nice: int = LEAST


class Chores:
    """The processes of one server's chores. `folder`: for their answers and what they say. `weigh`: gives the process
    of an id the weight of a nice value.
    """

    def __init__(self, folder: Path, clock: Clock, *, weigh: Callable[[int, int], bool] = weigh) -> None:
        self._folder = folder
        self._weigh = weigh
        self._clock = clock
        self._processes: dict[str, _Process] = {}

    def ask(self, key: str, job: Mapping[str, Any], *, python: str | None = None) -> Mapping[str, Any] | None:
        """The answer; None while it is worked on. The first time of a key, the work begins. Raises ConfigError."""
        known = self._processes.get(key)
        if known is None:
            self._processes[key] = self._begun(job, python or sys.executable)
            return None
        code = known.process.poll()
        if code is None:
            nice = weight_of_age(self._clock.stopwatch_s() - known.begun_s)
            if nice != known.nice and self._weigh(nice, known.process.pid):
                known.nice = nice
            return None
        try:
            answer: dict[str, Any] = json.loads(known.answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"ok": False, "error": {"code": "bug", "message": _told(known.log, code), "heals": False}}
        return answer

    def drop(self, key: str) -> None:
        """Nobody wants the answer any more; a process that works on it ends."""
        known = self._processes.pop(key, None)
        if known is None:
            return
        if known.process.poll() is None:
            known.process.kill()
        known.process.wait()
        for file in (known.answer, known.log):
            file.unlink(missing_ok=True)

    def close(self) -> None:
        """End all."""
        for key in list(self._processes):
            self.drop(key)

    def _begun(self, job: Mapping[str, Any], python: str) -> _Process:
        name = new_id()
        answer, log = self._folder / f"{name}.json", self._folder / f"{name}.txt"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as said:
                process = subprocess.Popen(
                    [python, "-m", "penstock.control.rollouts.chores", str(answer)],
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                    cwd=str(job["project_root"]),
                    env={name: value for name, value in os.environ.items() if name != "PENSTOCK_TOKEN"},
                )
        except OSError as error:
            raise ConfigError(
                f"no process can be started to look at the version: {error.strerror}",
                state_left="nothing was changed",
                hint="free memory or space, then try again",
            ) from error
        self._weigh(LEAST, process.pid)  # before it imports anything: that is most of its work
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: its log says why
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.close()
        return _Process(process, answer, log, self._clock.stopwatch_s())


def _told(log: Path, code: int) -> str:
    """What a process said last before it ended without an answer."""
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return f"{' / '.join(lines[-_LINES:])} (exit code {code})"
    return f"its process ended with exit code {code}"


def main() -> None:
    """Do the job of stdin."""
    os.nice(READYING)  # a chore has time; where sessions have no weights, processes have
    target = Path(sys.argv[1])
    line = sys.stdin.readline()
    if not line.strip():
        sys.exit(0)
    answer = answered(json.loads(line))
    staged = target.with_suffix(".tmp")
    staged.write_text(json.dumps(answer, default=str), encoding="utf-8")
    staged.replace(target)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing is left to tidy, and an author's threads must not hold it up


def answered(job: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a job: `ok` with what was found, or the error."""
    try:
        return {"ok": True, **KINDS[str(job["kind"])](job)}
    except PenstockError as error:
        notes = "\n".join(getattr(error, "__notes__", []))
        told = error.as_dict()
        return {"ok": False, "error": {**told, "message": f"{error.message}\n{notes}" if notes else error.message}}
    except Exception as error:
        traceback.print_exc()
        said = "".join(traceback.format_exception_only(error)).strip()
        return {"ok": False, "error": {"code": "bug", "message": said, "heals": False}}


if __name__ == "__main__":
    main()
