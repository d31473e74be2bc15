"""Nexmark on Pathway. Run by the Python of Pathway's own environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pathway as pw  # type: ignore[import-not-found]

from benchmarks.peers.protocol import asked, count_lines, first_row, tell

FORMAT = "%Y-%m-%dT%H:%M:%S.%f"


class Bid(pw.Schema):  # type: ignore[misc]
    """A bid as it stands in the file."""

    auction: int
    bidder: int
    price: int
    channel: str
    url: str
    date_time: str
    extra: str


def answer(query: str, bids: Any) -> Any:
    """The query as a table over the table of bids."""
    if query == "q1":
        return bids.select(
            pw.this.auction, pw.this.bidder, pw.this.date_time, pw.this.extra, price=pw.this.price * 0.908
        )
    if query == "q2":
        return bids.filter(pw.this.auction % 123 == 0).select(pw.this.auction, pw.this.price)
    timed = bids.select(pw.this.auction, at=pw.this.date_time.dt.strptime(FORMAT))
    windows = pw.temporal.sliding(hop=timedelta(seconds=2), duration=timedelta(seconds=10))
    counts = timed.windowby(timed.at, window=windows, instance=timed.auction).reduce(
        auction=pw.this["_pw_instance"], window_end=pw.this["_pw_window_end"], num=pw.reducers.count()
    )
    most = counts.groupby(counts.window_end).reduce(counts.window_end, most=pw.reducers.max(counts.num))
    pairs = counts.join(most, counts.window_end == most.window_end)
    hottest = pairs.select(counts.auction, counts.num, most.most, counts.window_end)
    return hottest.filter(pw.this.num == pw.this.most).without(pw.this.most)


def once(query: str, source: Path, work: Path) -> None:
    """One run in this process; writes its seconds to a file."""
    bids = pw.io.jsonlines.read(str(source), schema=Bid, mode="static", name="bid")
    pw.io.csv.write(answer(query, bids), str(work / "out.csv"))
    backend = pw.persistence.Backend.filesystem(str(work / "persisted"))
    started = time.perf_counter()
    pw.run(monitoring_level=pw.MonitoringLevel.NONE, persistence_config=pw.persistence.Config(backend))
    (work / "seconds.txt").write_text(str(time.perf_counter() - started))


def fresh(query: str, source: Path, work: Path) -> tuple[float, int]:
    """One run in a process of its own (a graph can't be run twice): seconds, and rows written."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.peers.on_pathway", "--once", "--query", query]
    command += ["--input", f"bid={source}", "--work", str(work)]
    subprocess.run(command, check=True, env=dict(os.environ, PATHWAY_THREADS="2"), stdout=sys.stderr)
    return float((work / "seconds.txt").read_text()), count_lines(work / "out.csv") - 1


def main() -> None:
    """Measure, and take the time of a run over one row off."""
    job = asked()
    source = job.inputs["bid"]
    if job.once:
        once(job.query, source, job.work)
        return
    idle_s, _ = fresh(job.query, first_row(source, job.work), job.work / "run")
    runs = [fresh(job.query, source, job.work / "run") for _ in range(job.repeat)]
    tell("pathway", runs, idle_s=idle_s)


if __name__ == "__main__":
    main()
