"""HTTP push while a flow is handed over: clients are not refused, strangers are not joined, the port stays."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Thread

import polars as pl
import pytest

from penstock.clock import SystemClock, new_id
from penstock.connect import Budget, Context
from penstock.connect.http_push import HttpPushSource
from penstock.errors import ConnectorError
from penstock.flow import Dataset
from penstock.testing.servers import free_port

ROWS = pl.Schema({"n": pl.Int64()})
Make = Callable[..., HttpPushSource]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make sources on one folder, or on another one; closed at the end."""
    made: list[HttpPushSource] = []

    def one(port: int = 0, folder: str = "own") -> HttpPushSource:
        context = Context("orders", "read", tmp_path / folder, tmp_path, SystemClock(), ROWS)
        made.append(HttpPushSource(Dataset("http_push", "orders", options={"port": port}), context))
        return made[-1]

    yield one
    for source in made:
        source.close()


def stored(source: HttpPushSource) -> list[int]:
    """All rows of the inbox."""
    end = source.offer({"inbox": 1}, Budget())
    return [n for part in source.read({"inbox": 1}, end) for n in part.frame["n"].to_list()]


def post(url: str, number: int, key: str) -> None:
    """Push a row on a connection of its own, again where a connection broke, never where it was refused."""
    while True:
        connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
        try:
            connection.request("POST", "/", json.dumps({"n": number}), {"Idempotency-Key": key})
            status = connection.getresponse().status
        except ConnectionRefusedError as error:
            raise AssertionError(f"row {number} was refused") from error
        except (OSError, HTTPException):
            continue
        finally:
            connection.close()
        assert status == HTTPStatus.ACCEPTED
        return


def test_no_client_is_refused_in_a_handover(make: Make) -> None:
    """The new leader listens before the old one rests: four clients push all the time, each row is stored once."""
    port = free_port()
    sources = [make(port), make(port)]
    sources[0].lead()
    sent: list[int] = []
    stop: list[bool] = []
    failures: list[BaseException] = []

    def client(worker: int) -> None:
        number = worker
        try:
            while not stop:
                post(f"http://127.0.0.1:{port}", number, new_id())
                sent.append(number)
                number += 4
        except AssertionError as error:
            failures.append(error)

    clients = [Thread(target=client, args=(worker,)) for worker in range(4)]
    for thread in clients:
        thread.start()
    for turn in range(8):
        old, new = sources[turn % 2], sources[1 - turn % 2]
        reached = len(sent) + 20
        while len(sent) < reached and not failures:
            SystemClock().sleep(0.002)
        new.lead()
        old.rest()
    stop.append(True)
    for thread in clients:
        thread.join()
    assert failures == []
    assert sorted(stored(sources[0])) == sorted(sent)


def test_a_follower_does_not_listen(make: Make) -> None:
    """A source that only reads opens no port, and none after it rests, however it is asked."""
    leader, follower = make(), make()
    leader.lead()
    post(leader.url, 7, "a")
    assert follower.read({"inbox": 1}, {"inbox": 2})[0].frame["n"].to_list() == [7]
    url = leader.url
    leader.rest()
    assert leader.offer({"inbox": 1}, Budget()) == {"inbox": 2}
    with pytest.raises(ConnectorError, match="rests"):
        _ = leader.url
    with pytest.raises(AssertionError, match="refused"):
        post(url, 8, "b")


def test_the_port_stays(make: Make) -> None:
    """A free port that was found once is taken again, by the next process too; where it is gone, another one."""
    first = make()
    first.lead()
    url = first.url
    first.close()
    second, third = make(), make()
    second.lead()
    third.lead()
    assert second.url == third.url == url
    second.rest()
    third.rest()
    with socket.create_server(("127.0.0.1", int(url.rsplit(":", 1)[1])), reuse_port=True):
        second.lead()
        assert second.url != url


def test_a_stranger_on_the_port_is_not_joined(make: Make) -> None:
    """Two flows with the same port by mistake would take each other's rows: the second is told, and that heals."""
    port = free_port()
    first, other = make(port), make(port, "other")
    first.lead()
    with pytest.raises(ConnectorError, match=f"can't listen on 127.0.0.1:{port}") as caught:
        other.lead()
    assert caught.value.heals
    first.rest()
    other.lead()
    assert other.url == f"http://127.0.0.1:{port}"


SERVER = """
import sys
from pathlib import Path
import polars as pl
from penstock.clock import SystemClock
from penstock.connect import Context
from penstock.connect.http_push import HttpPushSource
from penstock.flow import Dataset

root, port = Path(sys.argv[1]), int(sys.argv[2])
context = Context("orders", "read", root / "own", root, SystemClock(), pl.Schema({"n": pl.Int64()}))
source = HttpPushSource(Dataset("http_push", "orders", options={"port": port}), context)
source.lead()
print(source.url, flush=True)
sys.stdin.read()
"""


@pytest.mark.crash
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_can_not_let_go_of_the_port(make: Make, tmp_path: Path, sign: signal.Signals) -> None:
    """Frozen or dead, the process that led before keeps the next one from nothing; what it stored is there."""
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(tmp_path), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        post(url, 1, "a")
        process.send_signal(sign)
        source = make(port)
        source.lead()
        assert stored(source) == [1]
        process.kill()
        process.wait()
        post(url, 2, "b")
        assert stored(source) == [1, 2]
