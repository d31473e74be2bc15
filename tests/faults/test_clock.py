"""A clock that somebody sets back by an hour while a flow runs."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import penstock as ps
from penstock.clock import ManualClock, new_id
from penstock.connect.memory import memory_rows
from penstock.engine import RunOptions, RunResult, StopSignal, run_flow
from penstock.flow import Definition
from penstock.ledger import EpochRecord, MemoryStateStore, open_ledger

HOUR_S = 3_600
ROWS = 15


class SetBack(ManualClock):
    """Simulated time with a stopwatch of its own: what the wall shows may jump, what has passed may not."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def stopwatch_s(self) -> float:
        """What has passed."""
        return self.passed_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.passed_s += seconds
        super().sleep(seconds)

    def set_back(self) -> None:
        """Show an hour less from now on."""
        self._now_us -= HOUR_S * 1_000_000


class Running:
    """A flow with windows of ten seconds of processing time, which runs on a clock of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SetBack()
        self.name = new_id()
        self.stop = StopSignal()
        self.jumps = 0
        self.most_jumps = 3

    def definition(self, *, watch: bool) -> Definition:
        """Count the rows of each window."""
        pl.select(id=pl.int_range(ROWS)).write_ndjson(self.folder / "rows.jsonl")
        source = ps.files("rows.jsonl", schema={"id": pl.Int64}, watch=watch)
        flow = ps.Flow("clocked")
        rows = flow.read(source, event_time=ps.PROCESSING_TIME, name="rows")
        rows.window(ps.tumbling("10s")).agg(n=pl.len(), name="counted").write(ps.memory(f"{self.name}/out"), name="out")
        return flow.build()

    def probe(self, point: str, epoch: int) -> None:
        """Set the clock back after each of the first epochs."""
        if point == "forgotten" and self.jumps < self.most_jumps:
            self.clock.set_back()
            self.jumps += 1

    def run(self, *, watch: bool, most_s: float, epoch_rows: int = ROWS) -> tuple[RunResult, list[EpochRecord]]:
        """Run until the input ends, or so much time has passed."""

        def on_progress(_progress: object) -> None:
            if self.clock.passed_s > most_s:
                self.stop.request()

        definition = self.definition(watch=watch)
        ledger = open_ledger(self.folder / "ledger", env="test", clock=self.clock)
        result = run_flow(
            definition,
            {step.name: step.operation.dataset for step in (*definition.reads, *definition.writes)},  # type: ignore[attr-defined]
            ledger=ledger,
            store=MemoryStateStore(),
            folder=self.folder / "steps",
            root=self.folder,
            clock=self.clock,
            options=RunOptions(epoch_rows=epoch_rows, max_epochs=20),
            stop=self.stop,
            on_progress=on_progress,
            probe=self.probe,
        )
        records = list(ledger.epochs("clocked"))
        ledger.close()
        return result, records

    @property
    def counted(self) -> int:
        """The rows in all windows that closed."""
        return int(memory_rows(f"{self.name}/out")["n"].sum())


def test_the_time_of_epochs_never_goes_back(tmp_path: Path) -> None:
    """With the clock set back an hour after each epoch, plans go on from the time that was; every row is counted."""
    running = Running(tmp_path)
    result, records = running.run(watch=False, most_s=60, epoch_rows=3)
    times_us = [record.plan.now_us for record in records]

    assert running.jumps == 3
    assert result.finished
    assert times_us == sorted(times_us)
    assert running.counted == ROWS


@pytest.mark.parametrize("jumps", [0, 1, 3])
def test_a_window_closes_in_its_time(tmp_path: Path, jumps: int) -> None:
    """A window of ten seconds closes ten seconds later without any row, not when the clock has caught up an hour on."""
    running = Running(tmp_path)
    running.most_jumps = jumps
    _, records = running.run(watch=True, most_s=30)
    times_us = [record.plan.now_us for record in records]

    assert running.counted == ROWS
    assert times_us == sorted(times_us)
    assert len(records) <= 3
