"""State: what an epoch costs that updates 10,000 of 100,000 keys, and 10,000 of ten million.

A running count and sum by key. The keys are put in first, in large epochs; then the process starts anew, loads them,
and takes epochs of 10,000 rows with keys drawn at random, each with its change of state durable on disk.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import polars as pl

import penstock as ps
from benchmarks.places import say, work_folder
from benchmarks.running import Ran, run
from penstock.engine import Progress, RunOptions, StopSignal
from penstock.flow import Dataset

__all__ = ["state"]

SMALL_KEYS, LARGE_KEYS = 100_000, 10_000_000
ROWS_AN_EPOCH = 10_000
PRELOAD_ROWS = 500_000
WARM_UP_EPOCHS = 10
SEED = 7
SCHEMA = {"key": pl.Int64, "value": pl.Int64}


def running_sums() -> ps.Flow:
    """Count and sum by key, over all time. The updates themselves go nowhere: the state is what is measured."""
    flow = ps.Flow("state")
    rows = flow.read(ps.topic("rows", schema=SCHEMA), name="rows")
    sums = rows.group_by("key").agg(rows=pl.len(), total=pl.col("value").sum())
    sums.write(ps.table("sums", key=["key"]), name="sums")
    return flow


def state(*, small: int = SMALL_KEYS, large: int = LARGE_KEYS, epochs: int = 200) -> dict[str, Any]:
    """The median epoch with `small` and with `large` keys, and the memory of the latter."""
    few, many = (measured(keys, epochs) for keys in (small, large))
    return {
        "epoch_ms_p50_100k_keys": few["epoch_ms_p50"],
        "epoch_ms_p50_10m_keys": many["epoch_ms_p50"],
        "ratio": round(many["epoch_ms_p50"] / few["epoch_ms_p50"], 3),
        "rss_mb_10m_keys": many["rss_mb"],
        "epoch_ms_p99_10m_keys": many["epoch_ms_p99"],
        "phases_ms_100k_keys": few["phases_ms"],
        "phases_ms_10m_keys": many["phases_ms"],
        "keys": [small, large],
    }


def measured(keys: int, epochs: int) -> Mapping[str, Any]:
    """One size. Both parts run in processes of their own, so that memory is that of the second part alone."""
    with work_folder("state") as work:
        write_rows(work, keys, epochs + WARM_UP_EPOCHS)
        say(f"{keys:,} keys: putting them in")
        _in_process(preload, work)
        say(f"{keys:,} keys: {epochs} epochs of {ROWS_AN_EPOCH:,} rows")
        told: Mapping[str, Any] = _in_process(measure, work)
    say(f"{keys:,} keys: {told['epoch_ms_p50']} ms an epoch, {told['rss_mb']} MB")
    return told


def write_rows(work: Path, keys: int, epochs: int) -> None:
    """Two files: every key once in an order by chance, and the rows of the epochs to measure."""
    chance = np.random.default_rng(SEED)
    (work / "rows").mkdir()
    first = pl.DataFrame({"key": chance.permutation(keys), "value": 1}, schema=SCHEMA)
    first.write_parquet(work / "first.parquet")
    drawn = chance.integers(0, keys, size=epochs * ROWS_AN_EPOCH)
    pl.DataFrame({"key": drawn, "value": chance.integers(0, 1_000, size=drawn.size)}, schema=SCHEMA).write_parquet(
        work / "later.parquet"
    )


def preload(work: Path, answer: Connection) -> None:
    """Put every key in."""
    ran = _run(work, "first.parquet", PRELOAD_ROWS)
    answer.send({"epochs": ran.result.epochs})


def measure(work: Path, answer: Connection) -> None:
    """Update keys drawn at random, and tell of the epochs after a warm-up."""
    memory_mb: list[int] = []
    ran = _run(work, "later.parquet", ROWS_AN_EPOCH, memory_mb)
    records = [record for record in ran.epochs if sum(record.rows_in.values()) == ROWS_AN_EPOCH][WARM_UP_EPOCHS:]
    # From one commit to the next: all that an epoch costs, its own commit and plan included.
    whole_ms = [(after.committed_us - before.committed_us) / 1_000 for before, after in pairwise(records)]
    phases = {
        phase: round(median(record.timings_ms[phase] for record in records), 2)
        for phase in ("read", "run", "write", "state")
    }
    answer.send(
        {
            "epoch_ms_p50": round(median(whole_ms), 2),
            "epoch_ms_p99": round(quantiles(whole_ms, n=100, method="inclusive")[98], 2),
            "rss_mb": memory_mb[-1],
            "phases_ms": phases,
        }
    )


def _run(work: Path, file: str, epoch_rows: int, memory_mb: list[int] | None = None) -> Ran:
    """Let the flow find one more file in its watched folder, and run until all of it is read.

    `memory_mb`: gets the memory of the process as it runs, the state in it.
    """
    found = (work / file).rename(work / "rows" / file)
    rows = pl.scan_parquet(found).select(pl.len()).collect().item()
    stop = StopSignal()

    def look(progress: Progress) -> None:
        if memory_mb is not None:
            memory_mb.append(_rss_mb())
        if progress.rows_in >= rows:
            stop.request()

    datasets: dict[str, Dataset] = {
        "rows": ps.files(str(work / "rows"), schema=SCHEMA, format="parquet", watch=True),
        "sums": ps.memory("sums", key=["key"]),
    }
    options = RunOptions(epoch_rows=epoch_rows, epoch_bytes=1 << 30, epoch_ms=60_000)
    return run(running_sums().build(), datasets, work, options=options, stop=stop, on_progress=look)


def _rss_mb() -> int:
    """Memory of this process that is in use now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1_024)


def _in_process(work_on: Any, work: Path) -> Any:
    """Run a function in a fresh process and give what it sends."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=work_on, args=(work, theirs))
    child.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        child.join()
