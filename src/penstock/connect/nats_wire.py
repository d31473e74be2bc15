"""One connection to a NATS server, blocking, made for bulk: frames are built and parsed many at a time.

The asyncio client spends 50 microseconds on a message; an epoch moves a hundred thousand of them, one after another, in
a thread that has nothing else to do. So this speaks the protocol itself: CONNECT, SUB, HPUB, MSG, HMSG, PING. There
is no reconnecting: an error closes the connection, the caller asks for a new one and starts from what the stream says.

Source of the protocol: the NATS client protocol, https://docs.nats.io/reference/reference-protocols/nats-protocol.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections import deque
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from penstock.clock import Clock, new_id
from penstock.errors import ConfigError, ConnectorError

__all__ = ["Frame", "Wire", "headers_of", "status_of"]

PORT = 4222
CHUNK = 1 << 20
LINE_MAX = 1 << 16
SCHEMES = ("nats", "tls")


class Frame(NamedTuple):
    """A message that arrived: the subject it came to, where it wants its answer, raw headers, payload."""

    subject: bytes
    reply: bytes
    headers: bytes
    payload: bytes


class Wire:
    """A connection. Raises ConnectorError for whatever goes wrong, and is closed then."""

    def __init__(self, url: str, clock: Clock, *, timeout_s: float = 10.0) -> None:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise ConfigError(f"nats: no such address: {parts.scheme}://{parts.hostname}", hint="nats://HOST:PORT")
        self._parts = parts
        self._host, self._port = parts.hostname, parts.port or PORT
        self._clock = clock
        self._timeout_s = timeout_s
        self._inbox = f"_INBOX.{new_id()}"
        self._requests = 0
        self._buffer = b""
        self._place = 0
        self._arrived: deque[Frame] = deque()
        self.closed = False
        self.max_payload = 0
        self._socket = self._connect()

    def close(self) -> None:
        """End the connection."""
        self.closed = True
        self._socket.close()

    def inbox(self) -> str:
        """A fresh subject that messages to this connection can be sent to."""
        self._requests += 1
        return f"{self._inbox}.{self._requests}"

    def send(self, frames: bytes) -> None:
        """Send whole frames (see `publication`)."""
        try:
            self._socket.sendall(frames)
        except OSError as error:
            raise self._broken(error) from error

    def receive(self, timeout_s: float | None = None) -> Frame:
        """The next message to any of our inboxes. Raises ConnectorError where none comes in time."""
        if not self._arrived:
            deadline_s = self._clock.stopwatch_s() + (self._timeout_s if timeout_s is None else timeout_s)
            while not self._arrived:
                self._fill(deadline_s)
        return self._arrived.popleft()

    def request(self, subject: str, payload: bytes = b"") -> bytes:
        """Send and wait for the one answer. Raises ConnectorError where nobody serves the subject."""
        inbox = self.inbox()
        self.send(publication(subject, inbox, payload))
        while True:
            frame = self.receive()
            if frame.subject != inbox.encode():
                continue  # a late answer to a request that was given up
            if status_of(frame) == 503:  # noqa: PLR2004 - NATS: no responders
                raise ConnectorError(
                    f"the NATS server {self._host}:{self._port} does not serve {subject}",
                    hint="start it with JetStream enabled (nats-server -js)",
                )
            return frame.payload

    def call(self, api: str, **arguments: Any) -> dict[str, Any]:
        """A request of the JetStream API (`STREAM.INFO.x`): its answer, which may be `{"error": ...}`."""
        payload = json.dumps(arguments).encode() if arguments else b""
        answer: dict[str, Any] = json.loads(self.request(f"$JS.API.{api}", payload))
        return answer

    def _connect(self) -> socket.socket:
        try:
            self._socket = socket.create_connection((self._host, self._port), self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            info = json.loads(self._first_line().removeprefix(b"INFO "))
            if self._parts.scheme == "tls" or info.get("tls_required"):
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=self._host)
            self.max_payload = int(info.get("max_payload", 1 << 20))
            hello = json.dumps(
                {
                    **self._account(),
                    "verbose": False,
                    "pedantic": False,
                    "protocol": 1,
                    "headers": True,
                    "no_responders": True,
                    "lang": "python",
                    "version": "1",
                    "name": "penstock",
                }
            )
            self._socket.sendall(f"CONNECT {hello}\r\nSUB {self._inbox}.* 1\r\nPING\r\n".encode())
            answer = self._first_line()
        except (OSError, ValueError) as error:
            raise self._broken(error) from error
        if answer.startswith(b"-ERR"):
            raise self._broken(answer.decode(errors="replace").removeprefix("-ERR ").strip("'"))
        return self._socket

    def _account(self) -> dict[str, str]:
        user, password = self._parts.username, self._parts.password
        if user is None:
            return {}
        if password is None:
            return {"auth_token": unquote(user)}
        return {"user": unquote(user), "pass": unquote(password)}

    def _first_line(self) -> bytes:
        """The next line, before any message can come; byte by byte, because TLS may begin right after it."""
        line = bytearray()
        while not line.endswith(b"\r\n"):
            letter = self._socket.recv(1)
            if not letter or len(line) > LINE_MAX:
                raise ConnectionError("the server ended the connection")
            line += letter
        return bytes(line[:-2])

    def _fill(self, deadline_s: float) -> None:
        """Read what is there, at least some, and take it apart."""
        left_s = deadline_s - self._clock.stopwatch_s()
        try:
            if left_s <= 0:
                raise TimeoutError("no answer in time")
            self._socket.settimeout(left_s)
            chunk = self._socket.recv(CHUNK)
            self._socket.settimeout(self._timeout_s)
        except OSError as error:
            raise self._broken(error) from error
        if not chunk:
            raise self._broken("the server ended the connection")
        self._buffer = self._buffer[self._place :] + chunk
        self._place = 0
        self._take_apart()

    def _take_apart(self) -> None:
        buffer, place = self._buffer, self._place
        size = len(buffer)
        while (end := buffer.find(b"\r\n", place)) >= 0:
            words = buffer[place:end].split()
            verb = words[0].upper() if words else b""
            begin = end + 2
            if verb in (b"MSG", b"HMSG"):
                stop = begin + int(words[-1])
                if stop + 2 > size:
                    break
                has_headers = verb == b"HMSG"
                cut = begin + int(words[-2]) if has_headers else begin
                reply = words[3] if len(words) == (6 if has_headers else 5) else b""
                self._arrived.append(Frame(words[1], reply, buffer[begin:cut], buffer[cut:stop]))
                place = stop + 2
                continue
            place = begin
            self._place = place
            if verb == b"PING":
                self.send(b"PONG\r\n")
            elif verb == b"-ERR":
                raise self._broken(b" ".join(words[1:]).decode(errors="replace"))
        self._place = place

    def _broken(self, error: object) -> ConnectorError:
        self.closed = True
        if hasattr(self, "_socket"):
            self._socket.close()
        return ConnectorError(
            f"the NATS server {self._host}:{self._port} is away: {error}", hint="is nats-server running there?"
        )


def publication(subject: str, reply: str, payload: bytes) -> bytes:
    """The frame that publishes one message without headers."""
    return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)


def status_of(frame: Frame) -> int | None:
    """The status in a frame without content (404: no message, 503: nobody there), None for a real message."""
    if frame.payload or not frame.headers.startswith(b"NATS/1.0 "):
        return None
    return int(frame.headers[9:12])


def headers_of(raw: bytes) -> dict[str, str]:
    """Raw headers as a mapping."""
    lines = raw.decode(errors="replace").split("\r\n")[1:]
    return {name: value.strip() for line in lines if line for name, _, value in [line.partition(":")]}
