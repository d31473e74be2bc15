"""A source that falls silent is told to be idle by the clock, even where no row comes from anywhere."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

import penstock as ps
from penstock.clock import ManualClock
from penstock.connect import clear, memory_rows, put_rows
from penstock.engine import RunOptions, StopSignal, run_flow
from penstock.ledger import MemoryStateStore, open_ledger

START = datetime(2026, 1, 1)  # noqa: DTZ001 - event times are naive UTC
SCHEMA = pl.Schema({"at": pl.Datetime("us"), "n": pl.Int64()})


class Ticking(ManualClock):
    """Time goes on by half a second with every look, and asks the run to stop after ten minutes."""

    def __init__(self, stop: StopSignal) -> None:
        super().__init__()
        self._stop = stop
        self._end_us = super().now_us() + 600_000_000

    def now_us(self) -> int:
        """The simulated time."""
        self.sleep(0.5)
        if super().now_us() > self._end_us:
            self._stop.request()
        return super().now_us()


def frame(*seconds: int) -> pl.DataFrame:
    """Rows at seconds."""
    rows = {"at": [START + timedelta(seconds=second) for second in seconds], "n": list(seconds)}
    return pl.DataFrame(rows, schema=SCHEMA)


def test_a_window_closes_when_the_slow_source_is_idle(tmp_path: Path) -> None:
    """One source brought a row and fell silent; after its `idle_after` the other one's watermark closes the window."""
    for name, rows in (("idle-slow", frame(1)), ("idle-fast", frame(2, 20))):
        clear(name)
        put_rows(name, rows)
    flow = ps.Flow("idle")
    slow = flow.read(ps.memory("idle-slow", schema=SCHEMA), event_time="at", idle_after="5s", name="slow")
    fast = flow.read(ps.memory("idle-fast", schema=SCHEMA), event_time="at", name="fast")
    sums = slow.union(fast, name="both").window(ps.tumbling("5s")).agg(name="sums", n=pl.col("n").sum())
    sums.write(ps.memory("idle-out"), name="out")
    definition, stop = flow.build(), StopSignal()
    clock = Ticking(stop)
    ledger = open_ledger(tmp_path, env="test", clock=clock)
    run_flow(
        definition,
        {step.name: step.operation.dataset for step in (*definition.reads, *definition.writes)},  # type: ignore[attr-defined]
        ledger=ledger,
        store=MemoryStateStore(),
        folder=tmp_path / "steps",
        root=tmp_path,
        clock=clock,
        options=RunOptions(max_epochs=20),
        stop=stop,
    )
    epochs = len(ledger.epochs("idle"))
    ledger.close()

    assert memory_rows("idle-out")["n"].to_list() == [3]
    assert epochs < 20, "a silent flow must not run empty epochs"
