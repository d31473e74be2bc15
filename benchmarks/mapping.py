"""Row-wise Python: a `map` step against the bare loop that anybody would write, with the same function."""

from __future__ import annotations

import gc
from statistics import median
from typing import Any

import polars as pl

import penstock as ps
from benchmarks.nexmark.data import frame
from benchmarks.nexmark.query import Bid
from benchmarks.places import say, work_folder
from benchmarks.running import CLOCK, run
from penstock.connect import memory
from penstock.engine import RunOptions

__all__ = ["mapping"]

SEED = 7
ROWS = 300_000


class Priced(Bid):
    """A bid with its price in euros and a level."""

    euros: float
    level: str


def priced(row: dict[str, Any]) -> dict[str, Any]:
    """A little work for each row, of the kind that people write."""
    euros = row["price"] * 0.908
    level = "high" if euros >= 1_000_000 else "medium" if euros >= 10_000 else "low"
    return {**row, "euros": euros, "level": level}


def map_flow() -> ps.Flow:
    """Bids through a row-wise function."""
    flow = ps.Flow("map")
    bids = flow.read(ps.topic("bid", schema=Bid), name="bids")
    bids.map(priced, schema=Priced).write(ps.table("priced"), name="priced_bids")
    return flow


def mapping(*, rows: int = ROWS, pairs: int = 5) -> dict[str, Any]:
    """Rows a second through the step and through the loop that does the same job, and of the function's calls alone.

    The step's time is what the epochs say they spent in the steps, of which there is only this one: columns to rows,
    the calls, and rows to columns. The bare loop does these three by hand: `iter_rows`, the calls, a frame. `ratio` is
    step to loop; `ratio_to_calls` is step to the calls alone, over rows that are dicts already.
    """
    bids = frame("bid", rows, seed=SEED)
    seconds: dict[str, list[float]] = {"step": [], "loop": [], "calls": []}
    for number in range(pairs + 1):
        found = {"step": _step(bids), "loop": _loop(bids), "calls": _calls(bids)}
        if number:  # the first pair warms up
            for name, value in found.items():
                seconds[name].append(value)
    to_loop = median(step / loop for step, loop in zip(seconds["step"], seconds["loop"], strict=True))
    to_calls = median(step / calls for step, calls in zip(seconds["step"], seconds["calls"], strict=True))
    say(f"map costs {to_loop:.2f} times a bare loop, {to_calls:.2f} times the calls alone")
    return {
        "map_rows_per_s": round(rows / median(seconds["step"])),
        "loop_rows_per_s": round(rows / median(seconds["loop"])),
        "calls_per_s": round(rows / median(seconds["calls"])),
        "ratio": round(to_loop, 3),
        "ratio_to_calls": round(to_calls, 3),
    }


def _step(bids: pl.DataFrame) -> float:
    """Seconds in the step, over all epochs."""
    gc.collect()
    memory.put_rows("map-bids", bids)
    memory.finish("map-bids")
    try:
        with work_folder("map") as work:
            datasets = {"bids": ps.memory("map-bids", schema=Bid), "priced_bids": ps.memory("map-priced")}
            ran = run(map_flow().build(), datasets, work, options=RunOptions(until_drained=True))
        return sum(record.timings_ms["run"] for record in ran.epochs) / 1_000
    finally:
        memory.clear("map-bids")
        memory.clear("map-priced")


def _loop(bids: pl.DataFrame) -> float:
    """Seconds of the loop that anybody would write over a frame."""
    gc.collect()
    started_s = CLOCK.stopwatch_s()
    found = pl.DataFrame([priced(row) for row in bids.iter_rows(named=True)])
    seconds = CLOCK.stopwatch_s() - started_s
    assert len(found) == len(bids)
    return seconds


def _calls(bids: pl.DataFrame) -> float:
    """Seconds of the function's calls alone, over rows that are dicts already."""
    rows = bids.to_dicts()
    gc.collect()
    started_s = CLOCK.stopwatch_s()
    found = [priced(row) for row in rows]
    seconds = CLOCK.stopwatch_s() - started_s
    assert len(found) == len(bids)
    return seconds
