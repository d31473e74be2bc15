"""Streams end by themselves when the server stops; what has an end anyway is answered to it.

An answer that goes on for ever would hold up the end of the server until its patience is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["STOPPING", "Stopping", "stopping_of"]

STOPPING = "event: stopping\ndata: {}\n\n"
"""The last event of a stream: the server ended it, and no line broke."""
_NAME = "penstock_stopping"
_Found = TypeVar("_Found")


class Stopping:
    """Whether a server stops. All but the constructor is for its event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def known_to(self, app: ASGIApp) -> ASGIApp:
        """The same application, whose requests find this by `stopping_of`."""

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("state", {})[_NAME] = self
            await app(scope, receive, send)

        return call

    def begin(self) -> None:
        """Let all streams end."""
        self._event.set()

    @property
    def has_begun(self) -> bool:
        """Whether a stream should end now."""
        return self._event.is_set()

    async def pause(self, seconds_s: float) -> None:
        """Wait so long, or until the server stops."""
        await self.first(asyncio.sleep(seconds_s), timeout_s=seconds_s)

    async def first(self, waited: Coroutine[Any, Any, _Found], *, timeout_s: float) -> _Found | None:
        """What `waited` gives; None where the server stops before, or time is up. It is cancelled then."""
        wanted, over = asyncio.create_task(waited), asyncio.create_task(self._event.wait())
        try:
            await asyncio.wait((wanted, over), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return wanted.result() if wanted.done() else None
        finally:
            wanted.cancel()
            over.cancel()


def stopping_of(request: Request) -> Stopping:
    """Of the server that a request came to."""
    found = getattr(request.state, _NAME)
    assert isinstance(found, Stopping), "a Listener serves the application"
    return found
