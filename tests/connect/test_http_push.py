"""HTTP push and its inbox: durable before `202`, keys, limits, and processes that are killed while clients retry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from penstock.clock import ManualClock, SystemClock, new_id, seeded
from penstock.connect import Budget, Context
from penstock.connect.http_push import HttpPushSource
from penstock.connect.http_rows import BadBody, as_json_lines
from penstock.connect.inbox import Entry, Inbox
from penstock.errors import ConfigError, ConnectorError, SchemaError
from penstock.flow import Dataset

ROWS = pl.Schema({"n": pl.Int64()})
OPENED: list[HttpPushSource | Inbox] = []


@pytest.fixture(autouse=True)
def closed_at_the_end() -> Iterator[None]:
    """Whatever a test opened is closed after it."""
    yield
    while OPENED:
        OPENED.pop().close()


def source_at(folder: Path, schema: pl.Schema | None = ROWS, **options: Any) -> HttpPushSource:
    """A source with its inbox in `folder`; the server is not started."""
    context = Context("orders", "read", folder / "own", folder, SystemClock(), schema)
    OPENED.append(HttpPushSource(Dataset("http_push", "orders", options=options), context))
    assert isinstance(OPENED[-1], HttpPushSource)
    return OPENED[-1]


def inbox_at(folder: Path, clock: ManualClock | None = None) -> Inbox:
    """An inbox in `folder`."""
    OPENED.append(Inbox(folder, clock or SystemClock(), key_retention_s=60.0))
    assert isinstance(OPENED[-1], Inbox)
    return OPENED[-1]


def all_rows(source: HttpPushSource, budget: Budget | None = None) -> list[int]:
    """Everything that the inbox holds, range by range."""
    at, found = source.initial(), list[int]()
    while (end := source.offer(at, budget or Budget())) != at:
        found += [n for part in source.read(at, end) for n in part.frame["n"].to_list()]
        at = end
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body, which always is a JSON object."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def ask(method: str, url: str, body: str | bytes | None = None, **headers: str) -> Answer:
    """One request on a connection of its own. Raises OSError, HTTPException."""
    address = urlsplit(url)
    connection = HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, address.path or "/", body, named)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def post(url: str, body: str | bytes, **headers: str) -> Answer:
    """Push rows."""
    return ask("POST", url, body, **headers)


def test_lines_an_object_and_an_array_are_rows(tmp_path: Path) -> None:
    """All three ways to write rows are accepted, and the answer says how many and which number the first got."""
    source = source_at(tmp_path)
    first = post(source.url, '{"n": 1}\n\n{"n": 2}\r\n')
    second = post(source.url, '[{"n": 3},\n {"n":\n 4}]')
    third = post(source.url, '{\n  "n": 5\n}')
    empty = post(source.url, "[]")

    assert [r.status for r in (first, second, third, empty)] == [202] * 4
    assert first.json() == {"rows": 2, "first": 1, "repeated": False}
    assert second.json()["first"] == 3
    assert all_rows(source) == [1, 2, 3, 4, 5]
    assert all_rows(source, Budget(rows=1)) == [1, 2, 3, 4, 5]


def test_the_chosen_port_is_written_down(tmp_path: Path) -> None:
    """With port 0 the folder says where the server is; being asked for the schema only starts no server."""
    source = source_at(tmp_path)
    assert source.schema() == ROWS
    assert not (tmp_path / "own").exists()
    source.initial()
    facts = json.loads((tmp_path / "own/http.json").read_text())

    assert facts["url"] == f"http://127.0.0.1:{facts['port']}" == source.url
    assert ask("GET", f"{facts['url']}/health").json() == {"status": "ok", "backlog_rows": 0}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"n": 1}\n{"n": }\n', "line 2: not JSON"),
        ('{"n": 1}\n[1]', "line 2: a row is a JSON object"),
        ('{"n": NaN}', "NaN is no JSON number"),
        ('[{"n": 1},\n2]', "line 2: a row is a JSON object"),
        ('[{"n": 1}\n', "line 2: not JSON"),
        ('[{"n": 1}] x', "something follows"),
        (b'{"n": 1}\n\xff', "line 2: not UTF-8"),
        ("[" * 100_000, "a row is a JSON object"),
        ('{"n": ' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_bad_bodies_store_nothing(tmp_path: Path, body: str | bytes, message: str) -> None:
    """A body with a line that is no JSON object is refused as a whole, naming the line."""
    source = source_at(tmp_path)
    answer = post(source.url, body)

    assert answer.status == 400
    assert message in answer.json()["error"] or "nested too deeply" in answer.json()["error"]
    assert all_rows(source) == []


def test_rows_of_wrong_types_become_rejects(tmp_path: Path) -> None:
    """A row that is JSON but not of the schema is stored, and told with its number when it is read."""
    source = source_at(tmp_path)
    post(source.url, '{"n": 1}\n{"n": "x"}\n{"n": 3}\n')
    post(source.url, '{"n": [4]}\n{"n": 5}\n')
    start = source.initial()
    (part,) = source.read(start, source.offer(start, Budget()))

    assert part.frame["n"].to_list() == [1, 3, 5]
    assert [reject.offset for reject in part.rejects] == [2, 4]
    assert part.rejects[0].raw == '{"n": "x"}'


def test_repeated_key_stores_once(tmp_path: Path) -> None:
    """The same key and body again gets the first answer and stores nothing; another body is refused."""
    source = source_at(tmp_path)
    first = post(source.url, '{"n": 1}', idempotency_key="a")
    again = post(source.url, '{"n": 1}', idempotency_key="a")
    other = post(source.url, '{"n": 2}', idempotency_key="a")
    source.forget({"inbox": 2})
    later = post(source.url, '{"n": 1}', idempotency_key="a")

    assert [r.status for r in (first, again, other, later)] == [202, 202, 422, 202]
    assert (first.json()["repeated"], again.json()["repeated"], later.json()["repeated"]) == (False, True, True)
    assert source.offer({"inbox": 1}, Budget()) == {"inbox": 1}


def test_concurrent_requests_with_one_key_store_once(tmp_path: Path) -> None:
    """Many clients with few keys at the same time: each key's row is there once."""
    source = source_at(tmp_path)
    url = source.url

    def send(number: int) -> int:
        return post(url, json.dumps({"n": number % 10}), idempotency_key=f"key {number % 10}").status

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(send, range(100)))

    assert set(statuses) == {202}
    assert sorted(all_rows(source)) == list(range(10))


def test_large_bodies_and_full_inboxes_are_refused(tmp_path: Path) -> None:
    """A body over the limit is 413; above the backlog limit 503 with Retry-After until rows are forgotten."""
    source = source_at(tmp_path, body_bytes=1000, backlog_bytes=1500)
    line = json.dumps({"n": 1, "padding": "x" * 800})
    assert post(source.url, "x" * 2000).status == 413
    assert [post(source.url, line).status for _ in range(2)] == [202, 202]
    refused = post(source.url, line)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    source.forget({"inbox": 3})

    assert post(source.url, line).status == 202


def test_token_and_origin(tmp_path: Path) -> None:
    """With a token only who has it may push; without one, web pages and foreign host names may not."""
    closed = source_at(tmp_path / "closed", token="s3cret")
    assert post(closed.url, '{"n": 1}').status == 401
    assert post(closed.url, '{"n": 1}', authorization="Bearer wrong").status == 401
    assert post(closed.url, '{"n": 1}', authorization="Bearer s3cret").status == 202
    local = source_at(tmp_path / "local")
    assert post(local.url, '{"n": 1}', origin="http://evil.example").status == 403
    assert post(local.url, '{"n": 1}', host="evil.example").status == 403
    assert post(local.url, '{"n": 1}', content_encoding="gzip").status == 415

    with pytest.raises(ConfigError, match="from everybody"):
        source_at(tmp_path, host="0.0.0.0")  # noqa: S104 - that is what is refused


def test_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    """A port that somebody listens on is told, with the way out."""
    first = source_at(tmp_path / "a")
    port = int(first.url.rsplit(":", 1)[1])

    with pytest.raises(ConnectorError, match=f"can't listen on 127.0.0.1:{port}"):
        source_at(tmp_path / "b", port=port).initial()


def test_no_schema_is_told(tmp_path: Path) -> None:
    """Without a schema nobody knows the columns."""
    with pytest.raises(SchemaError, match="columns only you know"):
        source_at(tmp_path, None).schema()


def test_wait_ends_when_a_row_comes(tmp_path: Path) -> None:
    """Waiting returns because of a request, long before its time is over."""
    source = source_at(tmp_path)
    start = source.initial()
    sender = Thread(target=post, args=(source.url, '{"n": 1}'))
    sender.start()
    source.wait(start, 60.0)
    sender.join()

    assert source.offer(start, Budget()) == {"inbox": 2}


def test_inbox_is_cut_within_the_budget(tmp_path: Path) -> None:
    """Ranges hold rows and bytes, cut batches between rows, and always get on."""
    inbox = inbox_at(tmp_path)
    inbox.append([Entry(b'{"n":1}\n' * 10, 10), Entry(b'{"n":2}\n' * 10, 10)])
    inbox.append([Entry(b'{"n":3}\n' * 10, 10)])

    assert [inbox.cut(start, Budget(rows=7)) for start in (1, 8, 25, 31)] == [8, 15, 31, 31]
    assert inbox.cut(1, Budget(size_bytes=8 * 12)) == 13
    assert inbox.cut(1, Budget(size_bytes=1)) == 2
    assert inbox.read(10, 12) == b'{"n":1}\n{"n":2}\n'
    assert inbox.read(1, 31).count(b"\n") == 30
    assert inbox.backlog(11).rows == 20


def test_forgotten_and_lost_rows_are_told(tmp_path: Path) -> None:
    """Reading what was forgotten, or from an inbox that was replaced, is a ConnectorError and never silence."""
    inbox = inbox_at(tmp_path)
    inbox.append([Entry(b'{"n":1}\n', 1)] * 5)
    inbox.forget(3)
    inbox.forget(2)
    assert inbox.read(3, 6).count(b"\n") == 3
    with pytest.raises(ConnectorError, match="no row 2"):
        inbox.read(2, 4)
    with pytest.raises(ConnectorError, match="another one than the flow has read from"):
        inbox.cut(100, Budget())


def test_numbers_go_on_after_everything_was_forgotten(tmp_path: Path) -> None:
    """A number is given once, also over a restart with an empty inbox."""
    inbox = inbox_at(tmp_path)
    inbox.append([Entry(b'{"n":1}\n', 1)] * 5)
    inbox.forget(6)

    assert inbox_at(tmp_path).append([Entry(b'{"n":1}\n', 1)])[0].first == 6


def test_keys_are_kept_for_their_time(tmp_path: Path) -> None:
    """A key is known until its retention is over, and deleted then."""
    clock = ManualClock()
    inbox = inbox_at(tmp_path, clock)
    entry = Entry(b'{"n":1}\n', 1, "a")
    inbox.append([entry])
    clock.sleep(59.0)
    assert inbox.append([entry])[0].repeated
    clock.sleep(2.0)
    inbox.forget(1)

    assert not inbox.append([entry])[0].repeated


def test_full_disk_answers_503_and_stores_nothing(tmp_path: Path) -> None:
    """A disk that takes no more is told to the sender, who may try again; later requests go through."""
    source = source_at(tmp_path)
    url = source.url
    inbox = source._opened()
    pages = inbox._writer.execute("pragma page_count").fetchone()[0]
    inbox._writer.execute(f"pragma max_page_count = {pages + 1}")
    refused = post(url, json.dumps({"n": 1, "padding": "x" * 100_000}), idempotency_key="a")
    inbox._writer.execute("pragma max_page_count = 1000000")
    accepted = post(url, json.dumps({"n": 1}), idempotency_key="a")

    assert (refused.status, accepted.status) == (503, 202)
    assert "full" in refused.json()["error"]
    assert all_rows(source) == [1]


def test_whole_numbers_and_texts_are_stored_as_written() -> None:
    """No number is parsed and written anew: what was sent is what is stored."""
    body = b'[{"n": 1.10, "m": 123456789012345678901234567890, "t": "\\u00e9]"}]'

    assert as_json_lines(body) == (b'{"n": 1.10, "m": 123456789012345678901234567890, "t": "\\u00e9]"}\n', 1)
    assert as_json_lines(b"") == (b"", 0)
    with pytest.raises(BadBody) as caught:
        as_json_lines(b'{"n": 1}\n{"n"\n')
    assert caught.value.line == 2


SERVER = """
import sys
from pathlib import Path
import polars as pl
from penstock.clock import SystemClock
from penstock.connect import Budget, Context
from penstock.connect.http_push import HttpPushSource
from penstock.flow import Dataset

root = Path(sys.argv[1])
context = Context("orders", "read", root / "own", root, SystemClock(), pl.Schema({"n": pl.Int64()}))
source = HttpPushSource(Dataset("http_push", "orders"), context)
source.initial()
print(source.url, flush=True)
sys.stdin.read()
"""


@pytest.mark.crash
def test_acknowledged_rows_survive_kills_exactly_once(tmp_path: Path) -> None:
    """Clients post and retry while the process is killed eight times: each row that was answered is there once."""
    chance = seeded(7)
    urls: list[str] = []
    acknowledged: list[int] = []
    stop: list[bool] = []

    def client(worker: int) -> None:
        number = worker
        while not stop:
            key = new_id()
            while not stop:
                try:
                    answer = post(urls[-1], json.dumps({"n": number}), idempotency_key=key)
                except (OSError, HTTPException):
                    SystemClock().sleep(0.005)
                    continue
                if answer.status == 202:
                    acknowledged.append(number)
                    break
            number += 4

    clients = [Thread(target=client, args=(worker,)) for worker in range(4)]
    for round_number in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ},
        )
        assert process.stdout is not None
        assert process.stdin is not None
        urls.append(process.stdout.readline().decode().strip())
        if round_number == 0:
            for thread in clients:
                thread.start()
        SystemClock().sleep(0.1 + chance.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stdin.close()
    stop.append(True)
    for thread in clients:
        thread.join()
    stored = all_rows(source_at(tmp_path))

    assert len(acknowledged) > 20
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    # A row may be stored whose answer never arrived: at most the last one of each client.
    assert len(stored) - len(acknowledged) <= 4
