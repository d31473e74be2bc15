"""Who may speak to the server: somebody with a key, by a name of this machine, from no page of another site; and what
each may ask (`penstock.interfaces.http.access`).
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Mapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.interfaces.http.access import OPEN, needed
from penstock.interfaces.http.address import LOOPBACK_NAMES
from penstock.interfaces.http.keys import Caller, Keys
from penstock.interfaces.http.sessions import csrf_of

__all__ = ["BODY_BYTES_MAX", "CSRF_HEADER", "Guard", "cookie_name"]

CSRF_HEADER = "x-csrf-token"
BODY_BYTES_MAX = 1_000_000

_LINGER_S = 2.0
_READS = frozenset({"GET", "HEAD"})
_UNAUTHORIZED, _FORBIDDEN, _TOO_LARGE = 401, 403, 413
_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_CHALLENGE = (b"www-authenticate", b"Bearer")


def cookie_name(scope: Scope) -> str:
    """What the cookie of a session is called. Cookies know no ports: two servers on a machine need two names."""
    server = scope.get("server") or ("", 0)
    return f"penstock_session_{server[1]}"


class Guard:
    """An ASGI application before another. `names`: by which it may be asked, beside those of loopback.

    Host and Origin are looked at first: a browser can be made to send a request to this machine by a page of anybody's
    (DNS rebinding), but not with these two right. What a session asks for, and is no reading, takes its CSRF token too.
    """

    def __init__(self, app: ASGIApp, keys: Keys, *, names: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._keys = keys
        self._names = names | LOOPBACK_NAMES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with why not."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        guarded = _with_headers(send)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _read_away(receive)
            await _refuse(guarded, *refusal)
        else:
            await self._app(scope, _limited(receive), guarded)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, str]) -> tuple[int, str, str, str | None] | None:
        """Why not: status, code, sentence, hint. None: it may go on, and the scope says who asks."""
        if _name(headers.get(b"host", "")) not in self._names:
            hint = "a name that people use: penstock up --allowed-host NAME"
            return _FORBIDDEN, "host", "the Host of this request is no name of this machine", hint
        if b"origin" in headers and _name(headers[b"origin"].partition("//")[2]) not in self._names:
            return _FORBIDDEN, "origin", "the page that sent this request is of another site", None
        if _length(headers.get(b"content-length", "")) > BODY_BYTES_MAX:
            return _TOO_LARGE, "too-large", f"a request has {BODY_BYTES_MAX:,} bytes at most", None
        access = needed(scope["method"], scope["path"])
        caller = self._caller(scope, headers)
        if caller is not None:
            scope.setdefault("state", {})["caller"] = caller
        if access == OPEN:
            return None
        if caller is None:
            hint = "send the header Authorization: Bearer TOKEN; a new token: penstock up --new-token"
            return _UNAUTHORIZED, "token", "this takes the server's token, or a session", hint
        if access is None:
            return 404, "not-found", f"there is no {scope['method']} {scope['path']}", "see /openapi.json"
        if not caller.role.covers(access):
            hint = f"log in with a token of this role: penstock token new --role {access}"
            return _FORBIDDEN, "role", f"this is for the role {access}; you are {caller.role}", hint
        if caller.secret is not None and scope["method"] not in _READS:
            given = headers.get(CSRF_HEADER.encode(), "")
            if not hmac.compare_digest(given.encode(), csrf_of(caller.secret).encode()):
                return _FORBIDDEN, "csrf", f"the header {CSRF_HEADER} of the session is missing", "GET /v1/session"
        return None

    def _caller(self, scope: Scope, headers: Mapping[bytes, str]) -> Caller | None:
        if b"authorization" in headers:
            return self._keys.by_token(_bearer(headers[b"authorization"]))
        try:
            found = SimpleCookie(headers.get(b"cookie", "")).get(cookie_name(scope))
        except CookieError:
            return None
        return None if found is None else self._keys.by_session(found.value)


def _with_headers(send: Send) -> Send:
    """Each answer says what a browser may do with it."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name for name, _ in message.get("headers", ())}
            more = [*_HEADERS, *([] if b"cache-control" in known else [(b"cache-control", b"no-store")])]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sent


async def _read_away(receive: Receive) -> None:
    """Take what is still coming, where it is little: who is cut off while he sends never sees the answer."""
    left = 4 * BODY_BYTES_MAX
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while left > 0:
                message = await receive()
                if not message.get("more_body"):  # its end, or that of the connection
                    return
                left -= len(message.get("body") or b"")


def _limited(receive: Receive) -> Receive:
    """A body that does not say how long it is, is cut off where it is too long: then it is no JSON."""
    seen = 0

    async def received() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body") or b"")
        if seen > BODY_BYTES_MAX:
            if message.get("more_body"):
                await _read_away(receive)
            return {"type": "http.request", "body": b"", "more_body": False}
        return message

    return received


def _name(host: str) -> str:
    """The host without its port: `[::1]:80` -> `::1`."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _length(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _bearer(text: str) -> str:
    kind, _, token = text.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


async def _refuse(send: Send, status: int, code: str, message: str, hint: str | None = None) -> None:
    error: dict[str, Any] = {"code": code, "message": message, "heals": False, "hint": hint}
    headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
    if status == _UNAUTHORIZED:
        headers.append(_CHALLENGE)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})
