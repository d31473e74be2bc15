"""What runs in the story: the server and its flows, the feeder, and the command line. All of it ends with the story."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, TypeVar

from examples.flights.story.project import StoryProject
from penstock import PenstockError
from penstock.clock import SystemClock
from penstock.control import Environment, is_there, living_server, load_project, read_ledger

__all__ = ["FLOW", "Failed", "Stage", "end_all_with", "raised"]

T = TypeVar("T")

FLOW = "delays"
PATIENCE_S = 300.0
END_S = 60.0
POLL_S = 0.2
ROOT = Path(__file__).resolve().parents[3]
CLOCK = SystemClock()
LAUNCH = """
import ctypes, os, sys
getattr(ctypes.CDLL(None), "prctl", lambda *_: None)(1, int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes another program, which Linux sends a signal (PR_SET_PDEATHSIG) when the process that started it is gone."""


class Failed(Exception):
    """Something did not go as the story goes."""


@dataclass
class Stage:
    """The story's project with what runs in it."""

    project: StoryProject
    width: int
    rate_per_s: float
    feeder: subprocess.Popen[bytes] | None = None
    server: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> Environment:
        """Where the flow runs."""
        return load_project(self.project.folder / "penstock.toml").environment("dev")

    # --- the command line ---------------------------------------------------------------------------------------------

    def penstock(self, *words: str, code: int = 0) -> Generator[str, None, None]:
        """Run a verb of the command line; gives the lines that it prints, as they come.

        Raises Failed where it ends with another exit code.
        """
        command = [sys.executable, "-m", "penstock.interfaces.cli", *words, "-C", str(self.project.folder)]
        printed: list[str] = []
        process = self._started(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                printed.append(raw.decode(errors="replace").rstrip("\n"))
                yield printed[-1]
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            process.wait()
        if process.returncode != code:
            told = "\n".join(printed[-30:])
            raise Failed(f"penstock {' '.join(words)} ended with {process.returncode}, not {code}:\n{told}")

    def last_receipt(self) -> Mapping[str, Any]:
        """What the last handover came to."""
        with read_ledger(self.environment) as ledger:
            assert ledger is not None
            return ledger.operations.deployments(FLOW, limit=1)[0].receipt

    def leader(self) -> str:
        """Which version leads."""
        with read_ledger(self.environment) as ledger:
            standing = None if ledger is None else ledger.standing(FLOW)
        return "" if standing is None else standing.version

    def flights_in(self) -> int:
        """How many flights the epochs that are committed have read."""
        with read_ledger(self.environment) as ledger:
            records = () if ledger is None else ledger.epochs(FLOW)
        return sum(record.rows_in.get("flights", 0) + record.rows_dead for record in records)

    def wait(self, what: str, found: Callable[[], T | None]) -> T:
        """Wait for something. Raises Failed where it does not come."""
        until_s = CLOCK.stopwatch_s() + PATIENCE_S
        while CLOCK.stopwatch_s() < until_s:
            value = found()
            if value:
                return value
            if self.server is not None and self.server.poll() is not None:
                raise Failed(f"the server ended while the story waited for {what}:\n{self._log()}")
            CLOCK.sleep(POLL_S)
        raise Failed(f"waited {PATIENCE_S:.0f} s in vain for {what}; the server said:\n{self._log()}")

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_server(self) -> None:
        """`penstock up`, on any port; what it says goes to a file."""
        command = [sys.executable, "-m", "penstock.interfaces.cli", "up", "--port", "0", "--stop-flows"]
        with self._log_file().open("ab") as log:
            whole = [*command, "-C", str(self.project.folder)]
            self.server = self._started(whole, dies=signal.SIGINT, stdout=log, stderr=subprocess.STDOUT)
        self.wait("the server", lambda: living_server(self.environment))

    def start_feeder(self) -> None:
        """Let the flights come, up to the one at which the change is made."""
        source, target, part = self.project.records / "flights.ndjson", self.project.stream, self.project.part
        words = [str(source), str(target), str(part.stream), str(self.rate_per_s)]
        command = [sys.executable, "-m", "examples.flights.story.feeder", *words]
        with self._log_file().open("ab") as log:
            self.feeder = self._started(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT)
        self.tell_feeder(f"upto {part.change}")

    def tell_feeder(self, words: str) -> None:
        """Say how far the flights may come."""
        assert self.feeder is not None
        assert self.feeder.stdin is not None
        with suppress(BrokenPipeError):  # all flights are out already
            self.feeder.stdin.write(f"{words}\n".encode())
            self.feeder.stdin.flush()

    def end_feed(self) -> None:
        """Let the rest of the flights come, faster, and wait for the last of them."""
        self.tell_feeder("hurry")
        feeder = self.feeder
        if self.wait("the last flight", lambda: feeder is None or feeder.poll() is not None) and feeder is not None:
            feeder.wait()
            if feeder.returncode != 0:
                raise Failed(f"the feeder failed:\n{self._log()}")

    def end(self) -> None:
        """End all that was started here, the flows cleanly where they can."""
        with ExitStack() as last:
            last.callback(self._kill_members)
            last.callback(self._end_server)
            if self.feeder is not None:
                self.feeder.kill()
                self.feeder.wait()

    def _end_server(self) -> None:
        if self.server is None:
            return
        self.server.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.server.wait(END_S)
        if self.server.poll() is None:
            self.server.kill()
            self.server.wait()

    def _kill_members(self) -> None:
        """Where the server could not stop them: no process of a flow may stay."""
        with suppress(PenstockError), read_ledger(self.environment) as ledger:
            for member in () if ledger is None else ledger.members():
                if is_there(member):
                    with suppress(ProcessLookupError):
                        os.kill(member.pid, signal.SIGKILL)

    def _started(
        self, command: Sequence[str], *, dies: signal.Signals = signal.SIGKILL, **streams: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own: Ctrl-C is for the story, which ends all in order. `dies`: the signal
        that it gets where the story is killed.
        """
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL, **streams}
        surroundings = {**os.environ, "COLUMNS": str(self.width), "PYTHONUNBUFFERED": "1"}
        launched = [sys.executable, "-S", "-c", LAUNCH, str(int(dies)), *command]
        return subprocess.Popen(launched, cwd=ROOT, env=surroundings, start_new_session=True, **given)

    def _log_file(self) -> Path:
        return self.project.folder / "server.txt"

    def _log(self) -> str:
        return self._log_file().read_text(encoding="utf-8", errors="replace")[-3000:]


@contextmanager
def end_all_with(stage: Stage) -> Iterator[Stage]:
    """All that runs ends with the story, however that ends; SIGTERM and a closed terminal are like Ctrl-C."""
    before = {number: signal.signal(number, raised) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stage
    finally:
        quiet = {number: signal.signal(number, signal.SIG_IGN) for number in (*before, signal.SIGINT)}
        try:
            stage.end()
        finally:
            for number, handler in {**quiet, **before}.items():
                signal.signal(number, handler)


def raised(number: int, _: FrameType | None) -> None:
    """A signal as KeyboardInterrupt."""
    raise KeyboardInterrupt(signal.Signals(number).name)
