"""What watching costs: the throughput of a flow that logs a line for every ten thousand rows, under a server that keeps
samples, follows the logs, is scraped every five seconds and has the page of the flow open with its charts; against the
same flow under a server that does none of it and with a level of logs that keeps none, in interleaved pairs of one run.

What the engine itself notes of each epoch (time, rows and bytes of steps) is in both: it can't be switched off.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

import httpx

from benchmarks.places import say, work_folder
from benchmarks.running import CLOCK, server, server_url
from penstock.control import bare_project, opened_ledger, read_ledger

__all__ = ["overhead"]

FLOW = '''
"""Bids of more than a hundred dollars, counted on the way."""
import logging
import polars as pl
import penstock as ps

log = logging.getLogger("watched")
flow = ps.Flow("watched", freshness="30s")
large = ps.metric("bids_large", labels=["channel"])


def count(batch):
    large.inc(batch.height, channel="all")
    for row in range(0, batch.height, 10_000):
        log.info("bids %d to %d of a batch of %d are counted", row, row + 10_000, batch.height)
    return batch


bids = flow.read(ps.nexmark("bid", events={events}), event_time="date_time")
kept = bids.filter(pl.col("price") > 100).map_batches(count, name="count")
kept.write(ps.parquet("out/bids"))
'''
CHARTS = tuple(
    f"/v1/metrics/query?{urlencode({'query': query})}"
    for query in (
        "penstock_freshness_seconds",
        "rate(penstock_records_in_total[1m])",
        "rate(penstock_step_time_seconds_total[1m])",
    )
)
TOKEN = "overhead" * 4
PATIENCE_S = 600.0
LOOK_S = 0.2
SCRAPE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Side:
    """One run: rows a second, and the processor time of the server while the flow ran."""

    rows_per_s: float
    server_cpu_s: float
    lasted_s: float


def overhead(*, rows: int, pairs: int) -> dict[str, Any]:
    """Run both sides `pairs` times, in turns. `overhead_ratio`: which share of the throughput watching costs."""
    on: list[Side] = []
    off: list[Side] = []
    for pair in range(pairs):
        order = (True, False) if pair % 2 else (False, True)
        for watched in order:
            side = _run(rows, watched=watched)
            (on if watched else off).append(side)
            who = "watched" if watched else "alone"
            say(f"{who}: {side.rows_per_s:,.0f} rows/s, server {side.server_cpu_s:.2f} s of processor time")
    costs = sorted(1 - one.rows_per_s / other.rows_per_s for one, other in zip(on, off, strict=True))
    cores = os.cpu_count() or 1
    shares = [
        one.server_cpu_s / one.lasted_s - other.server_cpu_s / other.lasted_s
        for one, other in zip(on, off, strict=True)
    ]
    return {
        "overhead_ratio": round(max(median(costs), 0.0), 4),
        "overhead_least": round(costs[0], 4),
        "overhead_most": round(costs[-1], 4),
        "cpu_ratio": round(median(shares) / cores, 4),
        "rows_per_s_watched": round(median(one.rows_per_s for one in on)),
        "rows_per_s_alone": round(median(one.rows_per_s for one in off)),
        "rows": rows,
        "pairs": pairs,
    }


def _run(rows: int, *, watched: bool) -> Side:
    with work_folder("overhead") as folder:
        (folder / "watched.py").write_text(FLOW.format(events=rows))
        every, level = ("10s", "INFO") if watched else ("30d", "ERROR")
        (folder / "penstock.toml").write_text(f'[metrics]\nevery = "{every}"\n[logs]\nlevel = "{level}"\n')
        with server(folder, TOKEN) as process, _looked_at(folder, wanted=watched):
            _command(folder, "start", "watched", "--no-wait")
            _wait(folder)
            cpu_s = _cpu_s(process.pid)
        return _measured(folder, cpu_s)


@contextmanager
def _looked_at(folder: Path, *, wanted: bool) -> Iterator[None]:
    """Ask every five seconds for `/metrics`, three times as often as Prometheus usually does, and for what charts show,
    as often as the page does; and have the page's stream of events open.
    """
    over = threading.Event()
    threads = [threading.Thread(target=look, args=(folder, over)) for look in (_scrape, _listen)] if wanted else []
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _scrape(folder: Path, over: threading.Event) -> None:
    with _client() as client:
        while not over.wait(LOOK_S):
            url = server_url(folder)
            if url is not None:
                with suppress(httpx.TransportError):
                    for path in ("/metrics", "/v1/flows/watched", *CHARTS):
                        client.get(f"{url}{path}").raise_for_status()
                over.wait(SCRAPE_EVERY_S)


def _listen(folder: Path, over: threading.Event) -> None:
    with _client() as client:
        while not over.wait(0.2):
            url = server_url(folder)
            if url is not None:
                with suppress(httpx.TransportError), client.stream("GET", f"{url}/v1/stream") as events:
                    for _ in events.iter_lines():
                        if over.is_set():
                            return


def _client() -> httpx.Client:
    return httpx.Client(
        headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=httpx.Timeout(30, read=3)
    )


def _command(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "penstock.interfaces.cli", *arguments], cwd=folder, check=True, stdout=2)


def _wait(folder: Path) -> None:
    """Until the input is read to its end."""
    until_s = CLOCK.stopwatch_s() + PATIENCE_S
    environment = bare_project(folder).environment("dev")
    while CLOCK.stopwatch_s() < until_s:
        with read_ledger(environment) as ledger:
            last = () if ledger is None else ledger.epochs("watched", limit=1, newest=True)
        if last and last[0].plan.final:
            return
        CLOCK.sleep(LOOK_S)
    raise TimeoutError("the flow did not end")


def _cpu_s(pid: int) -> float:
    """Processor time of a process so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measured(folder: Path, cpu_s: float) -> Side:
    with opened_ledger(bare_project(folder).environment("dev")) as ledger:
        epochs = ledger.epochs("watched")
    lasted_s = (epochs[-1].committed_us - epochs[0].plan.now_us) / 1e6
    read = sum(sum(record.rows_in.values()) for record in epochs)
    return Side(read / lasted_s, cpu_s, lasted_s)
