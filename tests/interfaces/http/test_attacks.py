"""What somebody without the key tries, over a real socket, byte by byte: it is refused, and nothing is learnt."""

from __future__ import annotations

import hmac
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.clock import SystemClock
from penstock.control import bare_project, opened_ledger
from penstock.interfaces.http import Listener, kept_token, make_app
from penstock.ledger import Ledger


class Target:
    """A listening server with one flow, and what a stranger can send to it."""

    def __init__(self, url: str, token: str, ledger: Ledger) -> None:
        self.port = int(url.rpartition(":")[2])
        self.token = token
        self.ledger = ledger

    def send(self, request: bytes, *, ended: bool = True) -> tuple[int, bytes]:
        """The status and all bytes of the answer; 0 where there is none. `ended`: no more comes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            try:
                connection.sendall(request)
                if ended:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has answered already, and does not read on
            found = b""
            try:
                while part := connection.recv(65_536):
                    found += part
            except ConnectionResetError:
                pass
        return (int(found.split(b" ", 2)[1]) if found else 0), found

    def ask(self, line: str, *headers: str, body: bytes = b"", key: bool = True) -> tuple[int, bytes]:
        """A request of these lines, with the key; and a host that is right where none is given."""
        given = [line, *headers]
        if not any(one.lower().startswith("host:") for one in headers):
            given.append(f"Host: 127.0.0.1:{self.port}")
        if key:
            given.append(f"Authorization: Bearer {self.token}")
        if body and not any(one.lower().startswith(("content-length", "transfer")) for one in headers):
            given.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*given, "Connection: close", "", ""]).encode("latin-1") + body, ended=False)

    def wishes(self) -> list[str]:
        """What was wished of flows."""
        return [one.flow for one in self.ledger.operations.all_desired()]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for all of them: none of the attacks may leave a trace for the next."""
    clock = SystemClock()
    environment = bare_project(tmp_path_factory.mktemp("attacked")).environment("dev")
    token, made = kept_token(environment.folder)
    assert made is not None
    with opened_ledger(environment, clock) as ledger:
        ledger.claim("orders", version="v1", holder="m1")
        listener = Listener(make_app(environment, ledger, clock, token), port=0)
        listener.start()
        try:
            yield Target(listener.url, made, ledger)
        finally:
            listener.stop()


STOP = json.dumps({"who": "mallory"}).encode()
JSON = "Content-Type: application/json"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://evil.example:7654",
        "null",
        "http://127.0.0.1.evil.example",
        "http://[::1",
        "file://",
    ],
)
def test_a_page_of_another_site_can_not_post(target: Target, origin: str) -> None:
    """Not even with the key: a browser may be made to send what it has."""
    status, _ = target.ask("POST /v1/flows/orders/stop HTTP/1.1", f"Origin: {origin}", JSON, body=STOP)
    assert status == 403
    assert target.wishes() == []


def test_a_form_of_another_site_can_not_post(target: Target) -> None:
    """A form needs no permission of the browser to send text; a deed takes JSON, and the key in a header."""
    status, _ = target.ask(
        "POST /v1/flows/orders/stop HTTP/1.1", "Content-Type: text/plain", body=b'{"who": "x"}', key=False
    )
    assert status == 401
    assert target.wishes() == []


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7654", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "", "[::1", "0x7f.1"],
)
def test_a_name_that_was_made_to_lead_here_is_refused(target: Target, host: str) -> None:
    """DNS rebinding: the browser believes that it speaks to its own site, so it sends its name as the host."""
    status, found = target.ask("GET /v1/flows HTTP/1.1", f"Host: {host}")
    assert status in (400, 403)
    assert b"orders" not in found


def test_two_hosts_do_not_hide_one(target: Target) -> None:
    """The server answers no request with two, whichever is right."""
    status, found = target.ask("GET /v1/flows HTTP/1.1", f"Host: 127.0.0.1:{target.port}", "Host: evil.example")
    assert status in (400, 403)
    assert b"orders" not in found


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/%2e%2e/access.py",
        "/assets/....//....//etc/passwd",
        "/assets/%00",
        "/assets//etc/passwd",
        "/assets/..\\..\\server.token",
        "/v1/dashboards/..%2f..%2fserver.token",
        "/v1/flows/..%2f..%2fserver.token",
        "/v1/flows/orders/epochs/..%2f..%2f",
        "//etc/passwd",
        "/./../server.token",
    ],
)
def test_no_path_leads_out(target: Target, path: str) -> None:
    """Files are known by their ids; a way up ends at the door."""
    status, found = target.ask(f"GET {path} HTTP/1.1")
    assert status in (400, 404, 422), found
    assert b"root:" not in found
    assert b"ACCESS" not in found


@pytest.mark.parametrize("told", [True, False], ids=["by length", "in chunks"])
def test_an_oversized_body_is_refused(target: Target, *, told: bool) -> None:
    """Whether it says how large it is or not; the server is there afterwards."""
    body = b'{"who": "' + b"x" * 3_000_000 + b'"}'
    if told:
        status, _ = target.ask("POST /v1/flows/orders/stop HTTP/1.1", JSON, body=body)
    else:
        chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1_500_000], body[1_500_000:]))
        line = "POST /v1/flows/orders/stop HTTP/1.1"
        status, _ = target.ask(line, JSON, "Transfer-Encoding: chunked", body=chunked + b"0\r\n\r\n")
    assert status in (0, 400, 413, 422)
    assert target.wishes() == []
    assert target.ask("GET /v1/health HTTP/1.1")[0] == 200


def test_two_lengths_smuggle_nothing(target: Target) -> None:
    """A request that a proxy and the server would end at different places asks nothing that is hidden in it."""
    hidden = b"POST /v1/flows/orders/stop HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    body = b"0\r\n\r\n" + hidden
    headers = ("Transfer-Encoding: chunked", f"Content-Length: {len(body)}")
    target.ask("POST /v1/flows/orders/pause HTTP/1.1", *headers, body=body, key=False)
    assert target.wishes() == []


@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/flows/orders%0d%0aX-Injected:%20yes HTTP/1.1",
        "GET /v1/dashboards/a%0d%0aSet-Cookie:%20x=y HTTP/1.1",
        "GET /flows/%0d%0aX-Injected:%20yes HTTP/1.1",
    ],
)
def test_a_line_break_in_a_path_is_no_header(target: Target, line: str) -> None:
    """Nothing that was asked for comes back as a header."""
    _, found = target.ask(line)
    head = found.partition(b"\r\n\r\n")[0].lower()
    assert b"x-injected" not in head
    assert b"x=y" not in head


def test_a_line_break_in_a_value_is_no_header(target: Target) -> None:
    """A body's text may hold one; it comes back in JSON only."""
    body = json.dumps({"token": "x\r\nX-Injected: yes", "who": "a\r\nSet-Cookie: x=y"}).encode()
    status, found = target.ask("POST /v1/session HTTP/1.1", JSON, body=body, key=False)
    assert status in (401, 403, 422)
    head = found.partition(b"\r\n\r\n")[0].lower()
    assert b"x-injected" not in head
    assert b"x=y" not in head


def test_every_wrong_token_is_compared_as_a_whole(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hashes, in a time that does not depend on how much of it is right: of whatever length it is."""
    compared: list[tuple[int, int]] = []
    plain = hmac.compare_digest

    def noted(one: Any, other: Any) -> bool:
        compared.append((len(one), len(other)))
        return plain(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    guesses = ["", "x", target.token[:-1], target.token + "x", target.token[:-1] + "!", "é" * 40]
    for guess in guesses:
        header = f"Authorization: Bearer {guess}"
        assert target.ask("GET /v1/flows HTTP/1.1", header, key=False)[0] in (401, 429)
    assert len(compared) >= len(guesses) - 1
    assert set(compared) == {(64, 64)}


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /v1/flows HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /v1/flows HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
        b"\xff\xfe\x00GET /\r\n\r\n",
    ],
    ids=["tls", "version", "empty", "long path", "many headers", "space in a name", "bytes"],
)
def test_what_is_no_request_ends_its_connection_only(target: Target, request_: bytes) -> None:
    """Nothing is told, and the next who asks is answered."""
    status, found = target.send(request_)
    assert status in (0, 400, 401, 403, 404, 414, 431), found[:200]
    assert b"orders" not in found
    assert target.ask("GET /v1/health HTTP/1.1")[0] == 200
