"""Nexmark on Bytewax. Run by the Python of Bytewax's own environment."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]
import bytewax.operators.windowing as win  # type: ignore[import-not-found]
from bytewax.connectors.files import FileSink, FileSource  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.recovery import RecoveryConfig, init_db_dir  # type: ignore[import-not-found]
from bytewax.testing import cluster_main  # type: ignore[import-not-found]

from benchmarks.peers.protocol import asked, count_lines, tell

START = datetime(1970, 1, 1, tzinfo=UTC)


def euros(line: str) -> tuple[str, str]:
    """q1 for one line."""
    bid = json.loads(line)
    kept = {key: bid[key] for key in ("auction", "bidder", "date_time", "extra")}
    return "0", json.dumps({**kept, "price": bid["price"] * 0.908})


def selected(line: str) -> tuple[str, str] | None:
    """q2 for one line."""
    bid = json.loads(line)
    return ("0", json.dumps({"auction": bid["auction"], "price": bid["price"]})) if bid["auction"] % 123 == 0 else None


def dearer(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """q7 for two bids."""
    return other if other["price"] > one["price"] else one


def when(bid: dict[str, Any]) -> datetime:
    """The event time of a bid."""
    return datetime.fromisoformat(bid["date_time"]).replace(tzinfo=UTC)


def flow(query: str, source: Path, target: Path) -> Any:
    """The query as a dataflow from file to file."""
    made = Dataflow(query)
    lines = op.input("in", made, FileSource(source, batch_size=1_000))
    if query == "q1":
        out = op.map("euros", lines, euros)
    elif query == "q2":
        out = op.filter_map("selected", lines, selected)
    else:
        bids = op.map("parse", lines, lambda line: ("0", json.loads(line)))
        clock = win.EventClock(ts_getter=when, wait_for_system_duration=timedelta(seconds=4))
        windows = win.TumblingWindower(length=timedelta(seconds=10), align_to=START)
        best = win.reduce_window("best", bids, clock, windows, dearer)
        out = op.map("text", best.down, lambda item: (item[0], json.dumps(item[1][1])))
    op.output("out", out, FileSink(target))
    return made


def run(query: str, source: Path, work: Path) -> tuple[float, int]:
    """One run over the whole file: seconds, and rows written."""
    shutil.rmtree(work, ignore_errors=True)
    database = work / "recovery"
    database.mkdir(parents=True)
    init_db_dir(database, 1)
    target = work / "out.txt"
    made = flow(query, source, target)
    started = time.perf_counter()
    cluster_main(
        made,
        [],
        0,
        epoch_interval=timedelta(seconds=1),
        recovery_config=RecoveryConfig(str(database)),
        worker_count_per_proc=1,
    )
    seconds = time.perf_counter() - started
    return seconds, count_lines(target)


def main() -> None:
    """Measure; there is nothing to warm up in an interpreter."""
    job = asked()
    tell("bytewax", [run(job.query, job.inputs["bid"], job.work / "run") for _ in range(job.repeat)])


if __name__ == "__main__":
    main()
