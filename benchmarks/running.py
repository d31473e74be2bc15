"""Runs a flow as `penstock run` would: ledger in SQLite, state on disk, everything durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock.clock import SystemClock
from penstock.engine import Progress, RunOptions, RunResult, StopSignal, run_flow
from penstock.flow import Dataset, Definition
from penstock.ledger import EpochRecord, LocalStateStore, open_ledger

__all__ = ["CLOCK", "Ran", "run"]

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
