"""Latency: from the creation of an event to the moment another connection can see it in PostgreSQL.

A generator gives bids at a fixed rate, each with the time of its creation. A reader in a process of its own asks every
millisecond which epoch the table holds and notes when it first saw it. A row became visible with its epoch.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import polars as pl
import psycopg

import penstock as ps
from benchmarks.nexmark import without
from benchmarks.nexmark.data import EVENTS, SHARE, rows_of
from benchmarks.nexmark.stateless import EUROS_PER_DOLLAR
from benchmarks.places import say, work_folder
from benchmarks.running import CLOCK, Ran, run
from penstock.engine import Progress, RunOptions, StopSignal
from penstock.flow import Dataset
from penstock.testing.servers import postgres

__all__ = ["RATE_PER_S", "latency"]

TABLE = "live_bids"
RATE_PER_S = 50_000
WARM_UP_S = 2.0
POLL_S = 0.001


def live_bids(rate_per_s: int) -> Dataset:
    """Bids as they come, so many a second, each with the time at which it was made."""
    return ps.nexmark("bid", rate_per_s=rate_per_s * EVENTS / SHARE["bid"], live=True)


def live_flow(generator: Dataset, sink: Dataset) -> ps.Flow:
    """Bids in euros into a table."""
    flow = ps.Flow("latency")
    bids = flow.read(generator, event_time="date_time", name="bids")
    euros = bids.select("auction", "bidder", pl.col("price") * EUROS_PER_DOLLAR, "date_time")
    euros.write(sink, name="live")
    return flow


def watch(dsn: str, answer: Connection) -> None:
    """Note when each epoch of the table is first seen, until told to stop; then send both as lists."""
    epochs: list[int] = []
    seen_us: list[int] = []
    last = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        answer.send("ready")
        while not answer.poll():
            try:
                row = connection.execute("select epoch from penstock_epochs", prepare=True).fetchone()
            except psycopg.errors.UndefinedTable:
                row = None
            if row is not None and row[0] is not None and row[0] > last:
                last = row[0]
                epochs.append(last)
                seen_us.append(CLOCK.now_us())
            CLOCK.sleep(POLL_S)
    answer.send((epochs, seen_us))


def latency(*, seconds: float, rate_per_s: int = RATE_PER_S) -> dict[str, Any]:
    """Run for a warm-up and `seconds` and give the percentiles of the rows created after the warm-up."""
    warm_up_s = min(WARM_UP_S, seconds)
    generator = live_bids(rate_per_s)
    with postgres() as server, work_folder("latency") as work:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        reader = spawn.Process(target=watch, args=(server.dsn, theirs), daemon=True)
        reader.start()
        assert ours.recv() == "ready"
        ran = _run_for(warm_up_s + seconds, generator, ps.postgres(server.dsn, TABLE), work)
        CLOCK.sleep(0.1)
        ours.send("stop")
        epochs, seen_us = ours.recv()
        reader.join()
        rows = _rows(server.dsn)
    say(f"{ran.result.epochs} epochs, {len(rows):,} rows")
    lost, duplicated = _compared(rows, ran)
    seen = pl.DataFrame({"_epoch": epochs, "seen_us": seen_us}, schema={"_epoch": pl.Int64, "seen_us": pl.Int64})
    return _figures(rows, seen, warm_up_s) | {"rate_per_s": rate_per_s, "lost": lost, "duplicated": duplicated}


def _run_for(seconds: float, generator: Dataset, sink: Dataset, work: Path) -> Ran:
    """Run the flow in this process until the time is over; the last epoch is finished."""
    stop = StopSignal()
    until_s = CLOCK.stopwatch_s() + seconds

    def look(_: Progress) -> None:
        if CLOCK.stopwatch_s() > until_s:
            stop.request()

    definition = live_flow(generator, sink).build()
    return run(definition, {"bids": generator, "live": sink}, work, options=RunOptions(), stop=stop, on_progress=look)


def _rows(dsn: str) -> pl.DataFrame:
    """All rows of the table with the time of their creation."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            f"select auction, bidder, price, (extract(epoch from date_time) * 1000000)::bigint, _epoch from {TABLE}"
        ).fetchall()
    names = ["auction", "bidder", "price", "created_us", "_epoch"]
    return pl.DataFrame(found, schema=names, orient="row")


def _compared(rows: pl.DataFrame, ran: Ran) -> tuple[int, int]:
    """Rows that the generator made, up to the last epoch, and that the table lacks; and rows that it has too often."""
    events = ran.epochs[-1].plan.ranges["bids"]["end"]["events"]
    made = pl.concat(rows_of(ps.nexmark("bid", events=events)))
    due = made.select("auction", "bidder", pl.col("price") * EUROS_PER_DOLLAR)
    columns = ("auction", "bidder", "price")
    return without(due, rows, columns).height, without(rows, due, columns).height


def _figures(rows: pl.DataFrame, seen: pl.DataFrame, warm_up_s: float) -> dict[str, Any]:
    """Percentiles over the rows created after the warm-up. An epoch between two looks was seen with the next."""
    timed = rows.filter(pl.col("created_us") >= pl.col("created_us").min() + round(warm_up_s * 1e6)).sort("_epoch")
    joined = timed.join_asof(seen.sort("_epoch"), on="_epoch", strategy="forward")
    waited_ms = (joined["seen_us"] - joined["created_us"]) / 1_000
    quantiles: Sequence[tuple[str, float]] = (("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0))
    figures: dict[str, Any] = {name: round(waited_ms.quantile(share, "nearest") or 0.0, 2) for name, share in quantiles}
    return figures | {"rows": timed.height, "epochs": timed["_epoch"].n_unique()}
