"""Where one phase takes place: a folder, processes in it, and the random numbers of its seed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penstock.clock import Clock, SystemClock
from penstock.control.chaos.nursery import Ending, Nursery, Process
from penstock.control.chaos.remains import Remains, differences, remains_of
from penstock.control.chaos.script import TABLES
from penstock.control.running import PreparedRun
from penstock.control.supervising.processes import this_host
from penstock.ledger import Ledger, Member

__all__ = ["Chance", "NotReachedError", "PhaseFailedError", "Scene"]

_LOOK_EVERY_S = 0.02


class PhaseFailedError(Exception):
    """The flow did not do what it has to."""


class NotReachedError(Exception):
    """There was nothing to try; says why."""


class Chance(Protocol):
    """Random numbers of a seed (`penstock.clock.seeded`)."""

    def randint(self, a: int, b: int, /) -> int:
        """A whole number, both ends included."""
        ...

    def uniform(self, a: float, b: float, /) -> float:
        """A number between two."""
        ...


@dataclass(slots=True)
class Scene:
    """One phase's place. `make`: prepares the flow to run in a folder. `limit_s`: how long a process may take.

    `expected`, `epochs`, `run_s`: what the uninterrupted run left, its epochs in which things go wrong, its duration.
    """

    script: Path
    story: Path
    make: Callable[[Path], PreparedRun]
    nursery: Nursery
    chance: Chance
    expected: Remains
    epochs: Sequence[int]
    run_s: float
    limit_s: float
    clock: Clock = field(default_factory=SystemClock)
    processes: list[Process] = field(default_factory=list)
    rows: int = 0
    """How many rows of sinks were compared."""
    prepared: PreparedRun = field(init=False)

    def __post_init__(self) -> None:
        self.prepared = self.make(self.story)

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.prepared.flow

    @property
    def sinks(self) -> int:
        """How many sinks it has."""
        return len(self.prepared.loaded.definition.writes)

    @property
    def locks_out(self) -> bool:
        """Whether a sink is a file that only one process can have open."""
        return any(one.writes and one.dataset.kind == "duckdb" for one in self.prepared.bound)

    def some_epoch(self) -> int:
        """An epoch in the middle of the run, by the seed."""
        return self.epochs[self.chance.randint(0, len(self.epochs) - 1)]

    def start(self, *, role: str = "lead", member: str = "", **job: Any) -> Process:
        """A new process of the flow. `job`: `faults`, `wish`, `savepoint`, `options`."""
        name = member or f"m{len(self.processes) + 1}"
        given = {"do": "serve", "script": str(self.script), "story": str(self.story), "member": name, "role": role}
        process = self.nursery.start({**given, **job})
        self.processes.append(process)
        return process

    def run(self, **job: Any) -> Ending:
        """A new process of the flow, and its end. Raises PhaseFailedError where it takes too long."""
        return self.end_of(self.start(**job))

    def end_of(self, process: Process) -> Ending:
        """The end of a process. Raises PhaseFailedError where it takes too long."""
        try:
            return process.wait(self.limit_s)
        except TimeoutError as error:
            raise PhaseFailedError(f"it hangs: {error}") from None

    def finish(self) -> Ending:
        """Let a process without faults go on to the end of the input. Raises PhaseFailedError where it does not."""
        ending = self.run()
        if ending.code != 0:
            raise PhaseFailedError(f"the next process did not get to the end: {ending.told}")
        return ending

    def check(self) -> None:
        """Raise PhaseFailedError where something is not as the uninterrupted run left it."""
        found = remains_of(self.prepared)
        self.rows += found.rows
        wrong = differences(self.expected, found)
        if wrong:
            raise PhaseFailedError("\n".join(wrong))

    def begin_again(self) -> None:
        """Go on in an empty place."""
        self.story = self.story.with_name(f"{self.story.name}-again")
        self.prepared = self.make(self.story)

    def join(self, ledger: Ledger, member: str, wish: Mapping[str, Any]) -> None:
        """Note a process in the ledger before it starts, so that it can be wished for things."""
        ledger.join(Member(member, self.flow, "", 0, this_host(), "", wish=wish))

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until something is so. Raises PhaseFailedError where it takes too long."""
        end_s = self.clock.stopwatch_s() + self.limit_s
        while not is_so():
            if self.clock.stopwatch_s() > end_s:
                raise PhaseFailedError(f"{what}: not within {self.limit_s:.0f} s")
            self.clock.sleep(_LOOK_EVERY_S)

    def sink_files(self) -> dict[str, tuple[int, int]]:
        """All files of the sinks with size and time: whoever writes anything changes it."""
        found = {}
        for path in sorted((self.story / TABLES).rglob("*")):
            if path.is_file():
                status = path.stat()
                found[str(path.relative_to(self.story))] = (status.st_size, status.st_mtime_ns)
        return found

    def clear(self) -> None:
        """End the processes that are still there."""
        for process in self.processes:
            process.kill(signal.SIGKILL)
        for process in self.processes:
            process.wait(self.limit_s)
