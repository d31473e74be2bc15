"""Nexmark on Apache Flink SQL. Run by the Python of Flink's own environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyflink.table import EnvironmentSettings, TableEnvironment  # type: ignore[import-not-found]

from benchmarks.peers.protocol import asked, count_lines, first_row, tell

SETTINGS = {
    "parallelism.default": "2",
    "execution.checkpointing.interval": "1 s",
    "execution.checkpointing.mode": "EXACTLY_ONCE",
    "state.backend.type": "hashmap",
    "table.local-time-zone": "UTC",
    "pipeline.object-reuse": "true",
    "taskmanager.memory.managed.size": "128m",
    "rest.bind-address": "127.0.0.1",
    "jobmanager.bind-host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
}

COLUMNS = {
    "bid": "auction bigint, bidder bigint, price bigint, channel string, url string, date_time timestamp(3), "
    "extra string",
    "auction": "id bigint, item_name string, description string, initial_bid bigint, reserve bigint, "
    "date_time timestamp(3), expires timestamp(3), seller bigint, category bigint, extra string",
    "person": "id bigint, name string, email_address string, credit_card string, city string, state string, "
    "date_time timestamp(3), extra string",
}

TUMBLED_BIDS = "table(tumble(table bid, descriptor(date_time), interval '10' second))"
TUMBLED_PEOPLE = "table(tumble(table person, descriptor(date_time), interval '10' second))"
TUMBLED_AUCTIONS = "table(tumble(table auction, descriptor(date_time), interval '10' second))"
COUNTS = """(
    select auction, count(*) as num, window_start, window_end
    from table(hop(table bid, descriptor(date_time), interval '2' second, interval '10' second))
    group by auction, window_start, window_end)"""

ANSWERS = {
    "q1": "auction bigint, bidder bigint, price double, date_time timestamp(3), extra string",
    "q2": "auction bigint, price bigint",
    "q5": "auction bigint, num bigint, window_end timestamp(3)",
    "q7": "auction bigint, price bigint, bidder bigint, date_time timestamp(3), extra string",
    "q8": "id bigint, name string, stime timestamp(3)",
}

QUERIES = {
    "q1": "select auction, bidder, cast(0.908 as double) * price, date_time, extra from bid",
    "q2": "select auction, price from bid where mod(auction, 123) = 0",
    "q5": f"""
        select c.auction, c.num, c.window_end from {COUNTS} c join (
            select max(num) as most, window_start, window_end from {COUNTS} group by window_start, window_end) m
        on c.window_start = m.window_start and c.window_end = m.window_end and c.num = m.most""",
    "q7": f"""
        select b.auction, b.price, b.bidder, b.date_time, b.extra from (select * from {TUMBLED_BIDS}) b join (
            select max(price) as most, window_start, window_end from {TUMBLED_BIDS} group by window_start, window_end) m
        on b.window_start = m.window_start and b.window_end = m.window_end and b.price = m.most""",
    "q8": f"""
        select p.id, p.name, p.window_start from (
            select id, name, window_start, window_end from {TUMBLED_PEOPLE}
            group by id, name, window_start, window_end) p
        join (
            select seller, window_start, window_end from {TUMBLED_AUCTIONS}
            group by seller, window_start, window_end) a
        on p.id = a.seller and p.window_start = a.window_start and p.window_end = a.window_end""",
}


def session(more: Mapping[str, str]) -> Any:
    """An environment for tables, reached by this machine only, with `more` settings."""
    # Otherwise PyFlink opens a port to everybody, for functions in Python; there are none here.
    os.environ["_python_worker_execution_mode"] = "process"  # noqa: SIM112 - PyFlink's own name
    tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for key, value in {**SETTINGS, **more}.items():
        tables.get_config().set(key, value)
    return tables


def run(query: str, inputs: dict[str, Path], work: Path) -> tuple[float, int]:
    """One run over all that is there: net run time of the job in seconds, and rows written."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    tables = session({"execution.checkpointing.dir": f"file://{work}/checkpoints"})
    for name, path in inputs.items():
        tables.execute_sql(
            f"create table {name} ({COLUMNS[name]}, watermark for date_time as date_time - interval '4' second) with ("
            f"'connector' = 'filesystem', 'path' = 'file://{path}', 'format' = 'json', "
            "'json.timestamp-format.standard' = 'ISO-8601')"
        )
    tables.execute_sql(
        f"create table answer ({ANSWERS[query]}) with ('connector' = 'filesystem', 'path' = 'file://{work}/out', "
        "'format' = 'csv')"
    )
    job = tables.execute_sql(f"insert into answer {QUERIES[query]}").get_job_client()
    seconds = job.get_job_execution_result().result().get_net_runtime() / 1_000
    return seconds, count_lines(work / "out")


def main() -> None:
    """Warm up once, measure, and take the time of a job of one row off: that is the job's start and end."""
    job = asked()
    short = {name: first_row(path, job.work) for name, path in job.inputs.items()}
    runs = [run(job.query, job.inputs, job.work / "run") for _ in range(job.repeat + 1)]
    idle_s = min(run(job.query, short, job.work / "run")[0] for _ in range(2))
    tell("apache-flink", runs[1:], idle_s=idle_s)


if __name__ == "__main__":
    main()
