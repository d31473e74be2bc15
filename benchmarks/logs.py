"""Logs: lines through Python's `logging` in a worker, while another process makes Parquet of them; then questions.

The worker has the real handler, scope, journal and redaction. Its lines are spread over a day, by a clock that
goes on by a fixed step a line (which costs a little more than the real one); all else is as in a flow.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import IO, Any

from benchmarks.places import say, work_folder
from penstock.clock import SystemClock, to_datetime
from penstock.control import Environment, LogKeeper, SqlSession, bare_project, log_folder, opened_ledger
from penstock.ledger import EpochPlan, EpochRecord
from penstock.observe import (
    FlowLogs,
    Identity,
    JournalWriter,
    LogCapture,
    LogQuery,
    LogReader,
    LogSpan,
    Quota,
    Scope,
    StepMark,
    compact,
    log_scope,
    time_json,
)

__all__ = ["DAY_US", "FLOW", "log_lines", "logs"]

FLOW = "bench"
EPOCHS = 1_000
DAY_US = 86_400_000_000
TIMES = 5
CLOCK = SystemClock()


def logs(*, lines: int) -> dict[str, Any]:
    """So many lines, and what it costs to keep and to find them."""
    with work_folder("logs") as work:
        environment = Environment("dev", work, ".penstock/dev")
        start_us = CLOCK.now_us() - DAY_US
        figures = log_lines(environment, lines, start_us)
        _commit_epochs(environment)
        return {**figures, **_asked(environment, start_us, lines)}


def log_lines(environment: Environment, lines: int, start_us: int) -> dict[str, Any]:
    """Lines of the flow `FLOW` through Python's logging, over a day from `start_us`, all in Parquet; what it took."""
    store = FlowLogs(log_folder(environment) / FLOW)
    say(f"{lines:,} lines through logging, spread over a day")
    with (
        (environment.root / "log.txt").open("w") as log,  # where a member has its stderr
        _process(log, "keeper", str(environment.root)) as keeper,
        _process(log, "worker", str(store.folder), str(lines), str(start_us)) as worker,
    ):
        told, _ = worker.communicate()
        behind_from_s = CLOCK.stopwatch_s()
        keeper.communicate()
    compact(store, CLOCK)
    behind_s = CLOCK.stopwatch_s() - behind_from_s
    index = store.index()
    kept = sum(file.rows for file in index.files)
    size = sum(file.size_bytes for file in index.files)
    seconds, cpu_s = json.loads(told)["seconds"], json.loads(told)["cpu_s"]
    say(f"{kept:,} lines kept in {len(index.files)} files, {size / 1e6:,.1f} MB; {lines / seconds:,.0f} lines/s")
    return {
        "lines": kept,
        "lost": lines - kept,
        "ingest_lines_per_s": round(lines / seconds),
        "ingest_lines_per_cpu_s": round(lines / cpu_s),
        "compaction_behind_s": round(behind_s, 1),
        "bytes_per_line": round(size / max(kept, 1), 2),
    }


def _asked(environment: Environment, start_us: int, lines: int) -> dict[str, Any]:
    since_us = start_us + DAY_US // 2
    hour = f'timestamp>="{_time(since_us)}" AND timestamp<"{_time(since_us + 3_600_000_000)}"'
    folder = log_folder(environment)

    def filter_1h() -> None:
        with LogReader(folder, CLOCK) as reader:
            found = reader.newest(LogQuery(filter=f'severity>=ERROR AND resource.labels.flow="{FLOW}" AND {hour}'))
        assert abs(len(found) - min(100, lines / 2_400)) <= 1, len(found)

    def full_text() -> None:
        with LogReader(folder, CLOCK) as reader:
            found = reader.table(LogQuery(LogSpan(), '"customer c-777 "'), "select count(*) as n from logs").to_pylist()
        assert found[0]["n"] == len(range(777, lines, 1_000)), found

    def sql_join() -> None:
        with SqlSession(environment) as session:
            _, rows = session.rows(
                "select e.version, count(*), sum(e.rows_in) from logs join epochs e using (flow, epoch) "
                "where severity >= 500 group by e.version",
                limit=10,
                limit_s=None,
            )
        assert rows[0][1] == len(range(99, lines, 100)), rows

    return {
        "filter_1h_ms": _milliseconds(filter_1h),
        "full_text_ms": _milliseconds(full_text),
        "sql_join_ms": _milliseconds(sql_join),
    }


def _milliseconds(question: Callable[[], None]) -> float:
    """The median of some runs, each with a session of its own."""
    taken = []
    for _ in range(TIMES):
        began_s = CLOCK.stopwatch_s()
        question()
        taken.append((CLOCK.stopwatch_s() - began_s) * 1_000)
    return round(median(taken), 1)


def _time(time_us: int) -> str:
    return time_json(to_datetime(time_us))


def _commit_epochs(environment: Environment) -> None:
    with opened_ledger(environment, CLOCK) as ledger:
        resume = ledger.claim(FLOW, version="v1", holder="bench")
        plan = EpochPlan(1, {}, CLOCK.now_us(), 1)
        ledger.plan(FLOW, resume.generation, plan)
        for epoch in range(1, EPOCHS + 1):
            record = EpochRecord(
                epoch, resume.generation, "v1", plan, rows_in={"read": 10}, committed_us=CLOCK.now_us()
            )
            plan = EpochPlan(epoch + 1, {}, CLOCK.now_us(), 1)
            ledger.commit(FLOW, record, next_plan=plan)


def _process(log: IO[str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.logs", *arguments]
    # As the server starts the processes of flows: a session of its own, and OpenBLAS does not wait in a loop.
    variables = {**os.environ, "OPENBLAS_THREAD_TIMEOUT": "4"}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=variables,
        start_new_session=True,
    )


class _Spread(SystemClock):
    """A clock that goes on by so much with each line. It asks the real one too, so that a line costs no less."""

    def __init__(self, start_us: int, step_us: int) -> None:
        count = itertools.count(start_us, step_us)
        self.now_us = lambda: time.time_ns() // 1_000 and next(count)  # type: ignore[method-assign]


def work(folder: Path, lines: int, start_us: int) -> None:
    """The worker: logs, and tells how long it took."""
    clock = _Spread(start_us, DAY_US // lines)
    journal = JournalWriter(folder, Identity("bench", FLOW, "dev", "v1", "worker"), quota=Quota())
    log = logging.getLogger("bench.flow")
    step = StepMark("clean")
    with LogCapture(journal, secrets=lambda: ("a secret of the environment",), clock=clock) as caught:
        caught.attach()
        began_s, cpu_from_s = CLOCK.stopwatch_s(), sum(os.times()[:2])
        for epoch in range(1, EPOCHS + 1):
            with log_scope(Scope(FLOW, generation=1, epoch=epoch, at=step)):
                for number in range((epoch - 1) * lines // EPOCHS, epoch * lines // EPOCHS):
                    if number % 100 == 99:
                        log.error("order %d of customer c-%d refused: no stock", number, number % 1_000)
                    else:
                        log.info("order %d of customer c-%d cleaned in %.1f ms", number, number % 1_000, 2.5)
        seconds, cpu_s = CLOCK.stopwatch_s() - began_s, sum(os.times()[:2]) - cpu_from_s
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu_s": cpu_s}) + "\n")


def keep(root: Path) -> None:
    """The keeper: makes Parquet of full journals by the duty that the server has for it, until its input ends."""
    reading = sys.stdin
    ended = Event()

    def wait() -> None:
        reading.read()
        ended.set()

    Thread(target=wait, daemon=True).start()
    project = bare_project(root)
    keeper = LogKeeper(project, project.environment("dev"), CLOCK)
    while not ended.wait(0.2):
        keeper.step()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        work(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        keep(Path(sys.argv[2]))
