"""Runs a flow as `penstock run` would: ledger in SQLite, state on disk, everything durable; and a server beside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from penstock.clock import SystemClock
from penstock.control import bare_project, read_server
from penstock.engine import Progress, RunOptions, RunResult, StopSignal, run_flow
from penstock.flow import Dataset, Definition
from penstock.ledger import EpochRecord, LocalStateStore, open_ledger

__all__ = ["CLOCK", "Ran", "run", "server", "server_url"]

CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run: the engine's own result, how long the call took, and the records of its epochs."""

    result: RunResult
    seconds: float
    epochs: tuple[EpochRecord, ...] = field(repr=False)


def run(
    definition: Definition,
    datasets: Mapping[str, Dataset],
    folder: Path,
    *,
    options: RunOptions | None = None,
    stop: StopSignal | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Ran:
    """Run `definition` in `folder`, by default until its input ends. A second call goes on where the first ended."""
    ledger = open_ledger(folder / "ledger", env="bench", clock=CLOCK)
    try:
        started_s = CLOCK.stopwatch_s()
        result = run_flow(
            definition,
            datasets,
            ledger=ledger,
            store=LocalStateStore(folder / "state"),
            folder=folder / "steps",
            root=folder,
            options=options or RunOptions(until_drained=True),
            stop=stop,
            on_progress=on_progress,
        )
        seconds = CLOCK.stopwatch_s() - started_s
        first = result.last_epoch - result.epochs + 1 if result.last_epoch is not None else 0
        return Ran(result, seconds, tuple(ledger.epochs(definition.name, first=first)))
    finally:
        ledger.close()


@contextmanager
def server(folder: Path, token: str) -> Iterator[subprocess.Popen[bytes]]:
    """`penstock up` in a project; it ends with the block, and its flows go on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.interfaces.cli", "up", "--port", "0"],
        cwd=folder,
        env={**os.environ, "PENSTOCK_TOKEN": token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(30)
        process.kill()
        process.wait()


def server_url(folder: Path) -> str | None:
    """Where the server of a project listens; None where there is none yet."""
    found = read_server(bare_project(folder).environment("dev").folder)
    return None if found is None else found.url or None
