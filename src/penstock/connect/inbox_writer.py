"""Group commit: requests that come while a commit runs share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Thread

from penstock.connect.inbox import Entry, Inbox, Outcome
from penstock.errors import ConnectorError, PenstockError

__all__ = ["InboxWriter"]

GROUP_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An entry and the request that waits for it."""

    entry: Entry
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Outcome]


class InboxWriter:
    """One thread that stores what requests bring, as many at once as have come; calls `stored` after each commit."""

    def __init__(self, inbox: Inbox, stored: Callable[[], None]) -> None:
        self._inbox = inbox
        self._stored = stored
        self._queue: list[_Waiting] = []
        self._queued_bytes = 0
        self._changed = Condition()
        self._closed = False
        self._thread = Thread(target=self._run, name="inbox", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """What waits to be stored, and what is stored and not yet forgotten."""
        return self._queued_bytes + self._inbox.size_bytes()

    async def store(self, entry: Entry) -> Outcome:
        """Store an entry; durable on return. Raises ConnectorError."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(entry, loop, loop.create_future())
        with self._changed:
            if self._closed:
                raise ConnectorError("the inbox is closing")
            self._queue.append(waiting)
            self._queued_bytes += len(entry.body)
            self._changed.notify()
        return await waiting.done

    def close(self) -> None:
        """Store what waits and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                group = self._take()
            try:
                outcomes = self._inbox.append([waiting.entry for waiting in group])
            except PenstockError as error:
                for waiting in group:
                    waiting.loop.call_soon_threadsafe(_fail, waiting.done, error)
                continue
            for waiting, outcome in zip(group, outcomes, strict=True):
                waiting.loop.call_soon_threadsafe(_succeed, waiting.done, outcome)
            self._stored()

    def _take(self) -> list[_Waiting]:
        """The first entries of the queue, as many as go into one commit. Call it with the lock."""
        size_bytes = count = 0
        while count < len(self._queue) and (count == 0 or size_bytes < GROUP_BYTES):
            size_bytes += len(self._queue[count].entry.body)
            count += 1
        group, self._queue = self._queue[:count], self._queue[count:]
        self._queued_bytes -= size_bytes
        return group


def _succeed(done: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not done.done():
        done.set_result(outcome)


def _fail(done: asyncio.Future[Outcome], error: PenstockError) -> None:
    if not done.done():
        done.set_exception(error)
