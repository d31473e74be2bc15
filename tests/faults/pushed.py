"""A flow that takes pushed rows into Parquet files, and the process that runs it until it is killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import penstock as ps
from penstock.clock import SystemClock
from penstock.engine import Progress, RunOptions, RunResult, StopSignal, run_flow
from penstock.flow import Dataset
from penstock.ledger import LocalStateStore, open_ledger
from tests.faults.story import SCHEMA, once

__all__ = ["SINK", "serve", "take"]

SINK = ps.parquet("out")


def take(folder: Path, options: RunOptions, stop: StopSignal, on_progress: Callable[[Progress], None]) -> RunResult:
    """Run the flow."""
    source = Dataset("http_push", "rows", SCHEMA)
    ledger = open_ledger(folder / "ledger", env="test", clock=SystemClock())
    try:
        return run_flow(
            once(source),
            {"rows": source, "out": SINK},
            ledger=ledger,
            store=LocalStateStore(folder / "state"),
            folder=folder / "steps",
            root=folder,
            options=options,
            stop=stop,
            on_progress=on_progress,
        )
    finally:
        ledger.close()


def serve(folder: Path, ready: Connection) -> None:
    """What a process does that is killed, or stopped by SIGTERM: run, and tell once it takes rows."""
    stop = StopSignal()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.request())
    left = [ready]

    def on_progress(progress: Progress) -> None:
        if left and progress.phase in ("idle", "running"):
            left.pop().send("running")

    take(folder, RunOptions(), stop, on_progress)
