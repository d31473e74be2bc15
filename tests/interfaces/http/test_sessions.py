"""Who may ask what: roles, sessions of browsers, CSRF, the printed link, named tokens."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from penstock.clock import ManualClock
from penstock.control import bare_project, opened_ledger
from penstock.errors import ConfigError
from penstock.interfaces.http import Listener, LoginLink, Role, TokenBook, kept_token, make_app
from penstock.interfaces.http.access import ACCESS, OPEN, needed
from penstock.ledger import Ledger


@dataclass
class Door:
    """An application, its keys, and clients that come to it."""

    app: Any
    url: str
    token: str
    link: LoginLink
    book: TokenBook
    clock: ManualClock
    folder: Path
    ledger: Ledger
    clients: list[httpx.Client] = field(default_factory=list)

    def client(self, **headers: str) -> httpx.Client:
        """A client with a cookie jar of its own."""
        self.clients.append(httpx.Client(base_url=self.url, headers=headers, trust_env=False))
        return self.clients[-1]

    def browser(self, token: str, who: str = "ann") -> httpx.Client:
        """A client that has logged in, and sends the CSRF token."""
        client = self.client()
        answer = client.post("/v1/session", json={"token": token, "who": who})
        assert answer.status_code == 200, answer.text
        client.headers["x-csrf-token"] = answer.json()["session"]["csrf"]
        return client


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """An environment with one flow, and its server's application."""
    clock = ManualClock()
    environment = bare_project(tmp_path).environment("dev")
    token, made = kept_token(environment.folder)
    assert made is not None
    link = LoginLink(clock, who="root")
    with opened_ledger(environment, clock) as ledger:
        ledger.claim("orders", version="v1", holder="m1")
        app = make_app(environment, ledger, clock, token, link=link, project="shop")
        book = TokenBook(environment.folder, clock)
        with listening(app) as url:
            found = Door(app, url, made, link, book, clock, environment.folder, ledger)
            yield found
            for client in found.clients:
                client.close()


@contextmanager
def listening(app: Any, *, port: int = 0) -> Iterator[str]:
    """The application behind a real socket."""
    listener = Listener(app, port=port)
    listener.start()
    try:
        yield listener.url
    finally:
        listener.stop()


def test_a_session_is_a_cookie_that_no_script_reads(door: Door) -> None:
    """HttpOnly, SameSite=Strict, an end; only its hash is on the disk, in a file for its owner alone."""
    client = door.client()
    answer = client.post("/v1/session", json={"token": door.token, "who": "ann"})

    cookie = answer.headers["set-cookie"]
    assert re.search(r"HttpOnly; Max-Age=43200; Path=/; SameSite=strict", cookie)
    secret = cookie.partition("=")[2].partition(";")[0]
    file = door.folder / "server.sessions.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in file.read_text()
    session = client.get("/v1/session").json()["session"]
    assert (session["who"], session["role"], session["project"]) == ("ann", "operator", "shop")
    assert client.get("/v1/flows").status_code == 200


def test_a_deed_takes_the_csrf_token(door: Door) -> None:
    """Reading does not; a POST with the cookie alone, or with another session's token, changes nothing."""
    browser = door.browser(door.token)
    other = door.browser(door.token)
    given = browser.headers.pop("x-csrf-token")
    without = browser.post("/v1/flows/orders/stop", json={})
    wrong = browser.post("/v1/flows/orders/stop", json={}, headers={"x-csrf-token": other.headers["x-csrf-token"]})

    assert [answer.json()["error"]["code"] for answer in (without, wrong)] == ["csrf", "csrf"]
    assert door.ledger.operations.all_desired() == []
    assert browser.post("/v1/flows/orders/start", json={"version": "v1"}, headers={"x-csrf-token": given}).is_success


def test_the_printed_link_opens_once(door: Door) -> None:
    """The first who comes gets a session in the name of who started the server; the second gets nothing."""
    first = door.client().post("/v1/session", json={"token": door.link.token})
    second = door.client().post("/v1/session", json={"token": door.link.token})

    assert first.json()["session"]["who"] == "root"
    assert second.status_code == 401
    late = LoginLink(door.clock, who="root")
    door.clock.sleep(16 * 60)
    assert not late.take(late.token)


def test_a_session_ends(door: Door) -> None:
    """By logging out, and after twelve hours."""
    leaving, staying = door.browser(door.token), door.browser(door.token)
    assert leaving.delete("/v1/session").status_code == 204
    assert leaving.get("/v1/flows").status_code == 401
    assert staying.get("/v1/flows").status_code == 200
    door.clock.sleep(12 * 3600 + 1)

    assert staying.get("/v1/flows").status_code == 401
    assert staying.get("/v1/session").json() == {"session": None}


def test_sessions_outlive_the_server_and_not_their_token(door: Door, tmp_path: Path) -> None:
    """A server that starts again knows them; with a new token of the server they are over."""
    ((name, secret),) = door.browser(door.token).cookies.items()
    environment = bare_project(tmp_path).environment("dev")
    for renew, status in ((False, 200), (True, 401)):
        token, _ = kept_token(environment.folder, renew=renew)
        with listening(make_app(environment, door.ledger, door.clock, token)) as url:
            port = url.rpartition(":")[2]
            headers = {"cookie": f"{name.rpartition('_')[0]}_{port}={secret}"}
            assert httpx.get(f"{url}/v1/flows", headers=headers, trust_env=False).status_code == status


def test_a_viewer_sees_what_flows_do_and_changes_nothing(door: Door) -> None:
    """Neither rows nor deeds, by token or by session; and the name of the token is theirs, whatever they say."""
    _, token = door.book.make("bob", Role.VIEWER)
    browser = door.browser(token, who="somebody else")

    assert browser.get("/v1/session").json()["session"]["who"] == "bob"
    for client in (browser, door.client(authorization=f"Bearer {token}")):
        assert client.get("/v1/overview").status_code == 200
        assert client.get("/v1/flows/orders/dead-letters/groups").status_code == 200
        for answer in (
            client.get("/v1/flows/orders/dead-letters"),
            client.get("/v1/sql", params={"query": "select 1"}),
            client.post("/v1/flows/orders/stop", json={}),
            client.put("/v1/dashboards/mine", json={"title": "Mine"}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role")
    assert door.ledger.operations.all_desired() == []


def test_a_token_that_is_taken_back_ends_at_once(door: Door) -> None:
    """It and the sessions that it opened, in a server that runs; so does one whose time is over."""
    _, token = door.book.make("bob", Role.OPERATOR)
    _, short = door.book.make("eve", Role.OPERATOR, ttl_us=60_000_000)
    bob, eve = door.browser(token), door.browser(short)
    assert bob.get("/v1/flows").is_success
    assert eve.get("/v1/flows").is_success
    door.book.revoke("bob")
    door.clock.sleep(61)

    assert bob.get("/v1/flows").status_code == 401
    assert eve.get("/v1/flows").status_code == 401
    assert door.client(authorization=f"Bearer {token}").get("/v1/flows").status_code == 401
    with pytest.raises(ConfigError, match="there is no token 'bob'"):
        door.book.revoke("bob")


def test_guessing_is_slowed_down(door: Door) -> None:
    """After twenty wrong tokens in a minute nobody logs in for a while; who is in, stays in."""
    inside = door.browser(door.token)
    outside = door.client()
    codes = [outside.post("/v1/session", json={"token": f"guess {n}"}).status_code for n in range(21)]

    assert codes == [401] * 20 + [429]
    assert outside.post("/v1/session", json={"token": door.token}).status_code == 429
    assert inside.get("/v1/flows").is_success
    door.clock.sleep(61)
    assert outside.post("/v1/session", json={"token": door.token}).is_success


def test_every_route_has_a_row(door: Door) -> None:
    """Each route of the application is in the table of access; what has no row is refused, even to an operator."""
    guarded = door.app._app
    assert isinstance(guarded, FastAPI)
    routes = [route for route in guarded.routes if isinstance(route, Route)]
    asked = [(verb, route.path) for route in routes for verb in route.methods or ()]
    known = {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path, _ in ACCESS}

    assert [
        one for one in asked if (one[0].replace("HEAD", "GET"), re.sub(r"\{\w+\}", "{}", one[1])) not in known
    ] == []
    operator = door.client(authorization=f"Bearer {door.token}")
    assert operator.get("/v1/secrets").status_code == 404
    assert operator.request("PATCH", "/v1/flows").status_code == 404
    assert needed("GET", "/v1/flows/../../etc") is None
    assert needed("HEAD", "/v1/health") == OPEN


def test_nothing_of_a_flow_is_open(door: Door) -> None:
    """Without a key only pages, health, the description and the door itself answer."""
    stranger = door.client()
    answers = {
        (method, path): stranger.request(method, path.replace("{", "").replace("}", ""), json={}).status_code
        for method, path, access in ACCESS
        if access != OPEN
    }

    assert set(answers.values()) == {401}


def test_a_large_body_is_refused(door: Door) -> None:
    """With its length said, and without."""
    operator = door.client(authorization=f"Bearer {door.token}")
    said = operator.post("/v1/why", content=b"x" * 1_000_001)
    unsaid = operator.post("/v1/why", content=(b"x" * 100_000 for _ in range(20)))

    assert (said.status_code, said.json()["error"]["code"]) == (413, "too-large")
    assert unsaid.status_code == 422


@pytest.mark.parametrize("path", ["/", "/flows/orders", "/logs", "/assets/nothing.js", "/v1/health", "/v1/flows"])
def test_every_answer_has_the_headers(door: Door, path: str) -> None:
    """A strict policy, no sniffing, no referrer, no frame."""
    answer: httpx.Response = door.client().get(path)
    policy = answer.headers["content-security-policy"]

    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", ["../secret", "%2e%2e%2fsecret", "A", "a" * 65, "a.json", "-a"])
def test_ids_of_dashboards_are_no_paths(door: Door, name: str) -> None:
    """Whatever is asked for, nothing is kept."""
    operator = door.client(authorization=f"Bearer {door.token}")
    answer = operator.put(f"/v1/dashboards/{name}", json={"title": "Mine"})

    assert answer.status_code in (404, 422)
    assert door.ledger.operations.documents.documents("dashboard") == []


def test_dashboards_are_kept(door: Door) -> None:
    """What was put is what is read, listed and removed; the ledger says who did it."""
    operator = door.client(authorization=f"Bearer {door.token}")
    panel = {"title": "Rows", "kind": "sql", "query": "select 1", "view": "number"}
    board = {"title": "Mine", "scope": "flow", "about": "orders", "panels": [panel], "who": "ann"}
    assert operator.put("/v1/dashboards/mine", json=board).is_success
    kept = operator.get("/v1/dashboards/mine").json()["dashboard"]

    assert (kept["id"], kept["title"], kept["panels"][0]["query"]) == ("mine", "Mine", "select 1")
    assert [one["id"] for one in operator.get("/v1/dashboards").json()["dashboards"]] == ["mine"]
    assert door.ledger.operations.events(kind="dashboard-kept")[0].who == "ann"
    assert operator.delete("/v1/dashboards/mine").status_code == 204
    assert operator.get("/v1/dashboards/mine").status_code == 404
