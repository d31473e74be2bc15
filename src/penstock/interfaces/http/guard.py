"""Who may speak to the server: somebody with the token, by a name of this machine, from no page of another site."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.interfaces.http.tokens import TokenHash

__all__ = ["OPEN_PATHS", "Guard"]

OPEN_PATHS = frozenset({"/v1/health", "/openapi.json"})
"""What is answered without a token: it tells nothing of any flow."""

_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_UNAUTHORIZED, _FORBIDDEN = 401, 403


class Guard:
    """An ASGI application before another. Host and Origin are looked at first: a browser can be made to send a request
    to this machine by a page of anybody's (DNS rebinding), but not with these two right.
    """

    def __init__(self, app: ASGIApp, token: TokenHash) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with why not."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if _name(headers.get(b"host", "")) not in _HOSTS:
            await _refuse(send, _FORBIDDEN, "host", "the Host of this request is no name of this machine")
        elif b"origin" in headers and _name(urlsplit(headers[b"origin"]).netloc) not in _HOSTS:
            await _refuse(send, _FORBIDDEN, "origin", "the page that sent this request is of another site")
        elif scope["path"] not in OPEN_PATHS and not self._token.fits(_bearer(headers.get(b"authorization", ""))):
            hint = "send the header Authorization: Bearer TOKEN; a new token: penstock up --new-token"
            await _refuse(send, _UNAUTHORIZED, "token", "this takes the server's token", hint)
        else:
            await self._app(scope, receive, send)


def _name(host: str) -> str:
    """The host without its port: `[::1]:80` -> `::1`."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _bearer(text: str) -> str:
    kind, _, token = text.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


async def _refuse(send: Send, status: int, code: str, message: str, hint: str | None = None) -> None:
    error: dict[str, Any] = {"code": code, "message": message, "heals": False, "hint": hint}
    headers = [(b"content-type", b"application/json")]
    if status == _UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})
