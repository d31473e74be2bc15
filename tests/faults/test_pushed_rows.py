"""HTTP push from end to end: clients that retry, a flow that is killed ten times, each row once in the sink."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event

import httpx
import pytest

from penstock.clock import seeded
from penstock.engine import RunOptions, StopSignal
from tests.faults.pushed import SINK, serve, take
from tests.faults.story import rows_in

SEED = 20_261_122
KILLS = 10
CLIENTS = 2
BODY_ROWS = 5
LONGEST_S = 0.3


def push(folder: Path, client: int, enough: Event) -> list[int]:
    """Push one body after the other, each until it is acknowledged; gives the ids of all of them."""
    acknowledged: list[int] = []
    number = 0
    with httpx.Client(timeout=30) as door:
        while not enough.is_set():
            ids = [client * 1_000_000 + number * BODY_ROWS + row for row in range(BODY_ROWS)]
            body = "".join(json.dumps({"id": row, "word": f"word {row}"}) + "\n" for row in ids)
            while not accepted(door, folder, body, f"{client}-{number}"):
                Event().wait(0.05)
            acknowledged += ids
            number += 1
    return acknowledged


def accepted(door: httpx.Client, folder: Path, body: str, key: str) -> bool:
    """Whether the rows are acknowledged; False where nobody is there, or somebody died before the answer."""
    try:
        url = json.loads((folder / "steps" / "rows" / "http.json").read_text())["url"]
        answer = door.post(url, content=body, headers={"Idempotency-Key": key})
    except (httpx.TransportError, OSError):
        return False
    assert answer.status_code in (httpx.codes.ACCEPTED, httpx.codes.SERVICE_UNAVAILABLE), answer.text
    return answer.status_code == httpx.codes.ACCEPTED


def started(folder: Path) -> BaseProcess:
    """A process that takes rows. It is forked from one that has imported everything and done nothing."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.faults.pushed", "penstock.connect.http_push", "penstock.connect.parquet"])
    ready, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=serve, args=(folder, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ready.recv() == "running"
    return process


@pytest.mark.crash
def test_acknowledged_rows_are_in_the_sink_once(tmp_path: Path) -> None:
    """Ten kills at random moments (the seed is above) while clients push and retry: lost 0, duplicated 0."""
    chance = seeded(SEED)
    enough = Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(push, tmp_path, client, enough) for client in range(CLIENTS)]
        try:
            for _ in range(KILLS):
                victim = started(tmp_path)
                time.sleep(chance.uniform(0, LONGEST_S))
                victim.kill()
                victim.join()
                assert victim.exitcode == -signal.SIGKILL
            last = started(tmp_path)
            enough.set()
            acknowledged = [row for client in clients for row in client.result(60)]
            last.terminate()
            last.join()
            assert last.exitcode == 0
        finally:
            enough.set()
    take(tmp_path, RunOptions(until_drained=True), StopSignal(), lambda _progress: None)

    assert len(acknowledged) > KILLS * BODY_ROWS
    assert rows_in(SINK, tmp_path) == sorted(acknowledged)
