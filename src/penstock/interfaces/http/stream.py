"""`GET /v1/stream`: what changes, as server-sent events.

One loop looks for all who listen, and none where nobody does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from penstock.clock import Clock
from penstock.errors import PenstockError
from penstock.interfaces.http.stopping import STOPPING, Stopping, stopping_of
from penstock.ledger import Ledger

__all__ = ["stream_routes"]

_LOOK_EVERY_S = 1.0
_SHARE = 8
"""A look that takes long, of many flows or on a busy machine, is taken more seldom."""
_BEAT_EVERY_S = 15.0
_EVENTS_MOST = 200
_WAITING_MOST = 100
_LISTENERS_MOST = 100
_RETRY_MS = 2_000
_DIGITS_MOST = 18


class Feed:
    """What was last seen, and who is told of changes."""

    def __init__(self, ledger: Ledger, clock: Clock, overview: Callable[[], Mapping[str, Any]]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._fresh = False
        self._overview = overview
        self._listeners: set[asyncio.Queue[str]] = set()
        self._flows: dict[str, Mapping[str, Any]] = {}
        self._last_event = 0
        self._task: asyncio.Task[None] | None = None

    async def listen(self, after: int | None, stopping: Stopping) -> AsyncIterator[str]:
        """Messages for one page: all flows, the events after `after`, then what changes, until the server stops."""
        queue: asyncio.Queue[str] = asyncio.Queue(_WAITING_MOST)
        if len(self._listeners) >= _LISTENERS_MOST:
            yield _message("full", {"listeners": _LISTENERS_MOST})
            return
        self._listeners.add(queue)
        try:
            yield f"retry: {_RETRY_MS}\n\n"
            for text in await self._beginning(after):
                yield text
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look())
            while not stopping.has_begun:
                yield await stopping.first(queue.get(), timeout_s=_BEAT_EVERY_S) or ": beat\n\n"
            yield STOPPING
        finally:
            self._listeners.discard(queue)

    async def _beginning(self, after: int | None) -> list[str]:
        if self._fresh:  # the loop looked a moment ago: a page does not wait for another look
            flows, events = list(self._flows.values()), await run_in_threadpool(self._events)
        else:
            flows, events = await run_in_threadpool(self._read)
        seen = [event for event in events if after is not None and event["id"] > after]
        self._flows = {one["flow"]: one for one in flows}
        self._last_event = max((event["id"] for event in events), default=0)
        told = [_message("event", event, event["id"]) for event in seen]
        return [*told, _message("flows", {"all": True, "flows": flows}, self._last_event)]

    async def _look(self) -> None:
        """Look each second for as long as somebody listens."""
        took_s = 0.0
        while self._listeners:
            await asyncio.sleep(max(_LOOK_EVERY_S, _SHARE * took_s))
            began_s = self._clock.stopwatch_s()
            try:
                flows, events = await run_in_threadpool(self._read)
            except PenstockError as error:
                self._tell(_message("trouble", {"message": error.message}))
                continue
            took_s = self._clock.stopwatch_s() - began_s
            self._fresh = True
            changed = [one for one in flows if _told(one) != _told(self._flows.get(one["flow"], {}))]
            gone = sorted(set(self._flows) - {one["flow"] for one in flows})
            for event in events:
                if event["id"] > self._last_event:
                    self._tell(_message("event", event, event["id"]))
            self._last_event = max((event["id"] for event in events), default=self._last_event)
            self._flows = {one["flow"]: one for one in flows}
            if changed or gone:
                self._tell(_message("flows", {"all": False, "flows": changed, "gone": gone}, self._last_event))
        self._fresh = False

    def _read(self) -> tuple[list[Mapping[str, Any]], list[dict[str, Any]]]:
        return list(self._overview()["flows"]), self._events()

    def _events(self) -> list[dict[str, Any]]:
        return [asdict(event) for event in reversed(self._ledger.operations.events(limit=_EVENTS_MOST))]

    def _tell(self, text: str) -> None:
        for queue in self._listeners:
            if queue.full():  # a page that sleeps misses nothing that the next message does not say again
                queue.get_nowait()
            queue.put_nowait(text)


def stream_routes(app: FastAPI, ledger: Ledger, clock: Clock, overview: Callable[[], Mapping[str, Any]]) -> None:
    """Add the route. `overview`: what `GET /v1/overview` gives."""
    feed = Feed(ledger, clock, overview)

    @app.get("/v1/stream", tags=["facts"], response_class=StreamingResponse)
    async def stream(request: Request) -> StreamingResponse:
        """Changes as server-sent events: `flows` (overview of those that changed, at first all), `event`, `trouble`;
        `stopping` is the last one of a server that ends.

        Who comes again with `Last-Event-ID` gets the events since then.
        """
        text = request.headers.get("last-event-id", "")
        after = int(text) if text.isdecimal() and len(text) <= _DIGITS_MOST else None
        messages = feed.listen(after, stopping_of(request))
        return StreamingResponse(messages, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def _told(flow: Mapping[str, Any]) -> dict[str, Any]:
    """A flow without what only the time changes."""
    return {name: value for name, value in flow.items() if name not in ("behind_s", "freshness_s", "spark")}


def _message(kind: str, values: Mapping[str, Any], number: int | None = None) -> str:
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(values, default=str, separators=(',', ':'))}\n\n"
