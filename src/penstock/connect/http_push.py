"""HTTP push: rows that others `POST`, answered `202` once they are durable, and read from the inbox.

| request | answer |
|---|---|
| `POST /` with JSON lines, an object, or an array of objects | `202 {"rows", "first"}`: they are on the disk |
| the same `Idempotency-Key` and body again | `202` with the first answer; nothing is stored twice |
| the same key with another body | `422` |
| no JSON objects | `400` with the line; nothing of the body is stored |
| larger than `body_bytes` | `413` |
| more waiting than `backlog_bytes`, or a disk that says no | `503` with `Retry-After`; nothing is stored |
| wrong or no token | `401` |
| `GET /health` | `200 {"status", "backlog_rows"}` |

A row with a value of the wrong type is accepted at the door: it is JSON, and who sends it can do nothing about a
schema that it does not know. It becomes a dead letter when it is read.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Condition, Lock

import polars as pl
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from penstock.analysis import to_schema
from penstock.connect.complaints import naming
from penstock.connect.contract import Backlog, Budget, Context, Offsets, PartitionRead, Reject, Source
from penstock.connect.disk import write_durably
from penstock.connect.http_door import Door, Porter
from penstock.connect.http_rows import BadBody, as_json_lines
from penstock.connect.inbox import KEY_RETENTION_S, Entry, Inbox
from penstock.connect.inbox_writer import InboxWriter
from penstock.connect.ndjson import JsonLines, count_lines
from penstock.connect.secrets import resolve
from penstock.errors import ConfigError, ConnectorError, PenstockError, SchemaError
from penstock.flow import Dataset

__all__ = ["HttpPushSource"]

PARTITION = "inbox"
BODY_BYTES = 16 * 1024 * 1024
BACKLOG_BYTES = 4 * 1024 * 1024 * 1024
KEY_LENGTH = 255
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class HttpPushSource(Source):
    """Rows that are pushed. The server starts when the flow leads or asks where it stands, not when it is looked at.

    Options: `host` (loopback; another needs a token), `port` (0: a free one, see `http.json` in the folder; the same
    the next time, if it is still free), `token` (may be a reference), `body_bytes`, `backlog_bytes`, `key_retention_s`.
    """

    replayable = False

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        options = dataset.options
        self._host = str(options.get("host", "127.0.0.1"))
        self._port = int(options.get("port", 0))
        token = options.get("token")
        self._token = None if token is None else resolve(str(token), context.root).encode()
        if self._token is None and not is_loopback(self._host):
            raise ConfigError(
                f"http_push on {self._host} would take rows from everybody",
                flow=context.flow,
                step=context.step,
                hint='set token="env:NAME", or listen on 127.0.0.1',
            )
        self._body_bytes = int(options.get("body_bytes", BODY_BYTES))
        self._backlog_bytes = int(options.get("backlog_bytes", BACKLOG_BYTES))
        self._key_retention_s = float(options.get("key_retention_s", KEY_RETENTION_S))
        self._start_lock = Lock()
        self._came = Condition()
        self._inbox: Inbox | None = None
        self._writer: InboxWriter | None = None
        self._door: Door | None = None
        self._porter: Porter | None = None
        self._resting = False
        self._lines: JsonLines | None = None
        self._at = 1

    @property
    def url(self) -> str:
        """Where rows are taken; starts the server. Raises ConnectorError where another process takes them."""
        self._start()
        if self._door is None:
            raise ConnectorError(f"http_push {self.dataset.name!r} rests: another process of the flow takes rows")
        return self._door.url

    def schema(self) -> pl.Schema:
        """The declared columns. Raises SchemaError where none are declared."""
        if self.context.schema is not None:
            return self.context.schema
        if self.dataset.schema is not None:
            return to_schema(self.dataset.schema)
        raise SchemaError(
            f"http_push {self.dataset.name!r} takes JSON rows, whose columns only you know",
            flow=self.context.flow,
            step=self.context.step,
            hint="declare a schema for it",
        )

    def initial(self) -> Offsets:
        """The first row that the inbox ever got."""
        self._start()
        return {PARTITION: 1}

    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """What is stored, within the budget."""
        self._at = max(self._at, _row(start))
        return {PARTITION: self._start().cut(_row(start), budget)}

    def read(self, start: Offsets, end: Offsets) -> Sequence[PartitionRead]:
        """The rows of the range; what is no row of the schema becomes a reject with its number."""
        first, stop = _row(start), _row(end)
        if first >= stop:
            return []
        with naming(self.context):
            block = self._opened().read(first, stop)
        if self._lines is None:
            self._lines = JsonLines(self.schema())
        frame, bad = self._lines.parse(block)
        rejects: list[Reject] = []
        place, number = 0, first
        for line in bad:
            number += count_lines(block[place : line.place])
            place = line.place
            rejects.append(Reject(PARTITION, number, line.raw, line.error))
        return [PartitionRead(PARTITION, frame, rejects)]

    def lead(self) -> None:
        """Listen; for a moment beside the process that led before, if it still does."""
        self._resting = False
        self._start().count()

    def rest(self) -> None:
        """Answer what has begun and stop listening; the inbox stays open to read."""
        with self._start_lock:
            self._resting = True
            door, self._door = self._door, None
        if door is not None:
            door.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._porter is not None:
            self._porter.close()
            self._porter = None

    def forget(self, end: Offsets) -> None:
        """Delete the rows before `end`; idempotency keys stay for their time."""
        self._at = max(self._at, _row(end))
        self._opened().forget(_row(end))

    def backlog(self, at: Offsets) -> Backlog:
        """Rows and bytes that wait."""
        return self._opened().backlog(_row(at))

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """Until a request has been stored."""
        inbox = self._start()
        with self._came:
            self._came.wait_for(lambda: inbox.end() > _row(at), timeout_s)

    def close(self) -> None:
        """Answer what has begun, stop the server, close the inbox."""
        self.rest()
        if self._inbox is not None:
            self._inbox.close()

    def _opened(self) -> Inbox:
        with self._start_lock:
            if self._inbox is None:
                self._inbox = Inbox(self.context.folder, self.context.clock, key_retention_s=self._key_retention_s)
            return self._inbox

    def _start(self) -> Inbox:
        inbox = self._opened()
        with self._start_lock:
            if self._door is None and not self._resting:
                self._listen(inbox)
        return inbox

    def _listen(self, inbox: Inbox) -> None:
        folder = Path(self.context.folder)
        porter = Porter(folder / "http.lock")
        writer = self._writer = InboxWriter(inbox, self._notify)
        routes = [Route("/", self._push, methods=["POST"]), Route("/health", self._health, methods=["GET"])]
        try:
            self._door = self._new_door(Starlette(routes=routes), shared=not porter.alone)
        except ConnectorError:
            writer.close()
            porter.close()
            raise
        self._porter = porter
        facts = {"host": self._host, "port": self._door.port, "url": self._door.url}
        write_durably(folder / "http.json", json.dumps(facts).encode())

    def _new_door(self, application: Starlette, *, shared: bool) -> Door:
        if self._port:
            return Door(application, self._host, self._port, shared=shared)
        last = self._last_port()
        if last:
            with suppress(ConnectorError):  # a stranger may have taken that port meanwhile
                return Door(application, self._host, last, shared=shared)
        return Door(application, self._host, 0)

    def _last_port(self) -> int:
        """The port of the last time: who pushes need not look for another one. 0 where there was none."""
        try:
            facts = json.loads((Path(self.context.folder) / "http.json").read_text())
            return int(facts["port"]) if facts["host"] == self._host else 0
        except (OSError, ValueError, KeyError):
            return 0

    def _notify(self) -> None:
        with self._came:
            self._came.notify_all()

    async def _push(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        assert self._writer is not None
        if self._writer.waiting_bytes > self._backlog_bytes:
            return answer(503, "too much is waiting", {"Retry-After": "1"})
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return answer(400, "the request ended in the middle")
        if body is None:
            return answer(413, f"the body is larger than {self._body_bytes} bytes; send less at once")
        try:
            lines, rows = as_json_lines(body)
        except BadBody as error:
            return answer(400, error.message)
        key = request.headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= KEY_LENGTH:
            return answer(400, f"an Idempotency-Key has 1 to {KEY_LENGTH} letters")
        try:
            outcome = await self._writer.store(Entry(lines, rows, key))
        except PenstockError as error:
            return answer(503, error.message, {"Retry-After": "5"})
        if outcome.conflict:
            return answer(422, "this Idempotency-Key was used for another body")
        found = {"rows": outcome.rows, "first": outcome.first, "repeated": outcome.repeated}
        return JSONResponse(found, status_code=202)

    async def _health(self, request: Request) -> Response:
        assert self._writer is not None
        return JSONResponse({"status": "ok", "backlog_rows": self._opened().backlog(self._at).rows})

    async def _body(self, request: Request) -> bytes | None:
        """The whole body, None where it is too large."""
        parts: list[bytes] = []
        size_bytes = 0
        async for part in request.stream():
            size_bytes += len(part)
            if size_bytes > self._body_bytes:
                return None
            parts.append(part)
        return b"".join(parts)

    def _refusal(self, request: Request) -> Response | None:
        """Why this request is not listened to, if so."""
        if self._token is not None:
            given = request.headers.get("authorization", "").encode()
            # Compared in constant time, so that the answer's delay says nothing about the token.
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                return answer(401, "a token is needed", {"WWW-Authenticate": "Bearer"})
        elif "origin" in request.headers or request.url.hostname not in (*LOCAL_NAMES, self._host):
            # Without a token only programs on this machine may push, not web pages that a browser here has open.
            return answer(403, "not from a web page, and only under a local name")
        if request.headers.get("content-encoding", "identity") != "identity":
            return answer(415, "send the body without Content-Encoding")
        return None


def answer(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """A refusal: one JSON shape for all."""
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _row(offsets: Offsets) -> int:
    return int(offsets[PARTITION])
