"""A TCP proxy before PostgreSQL or a server: it keeps the answer to a `commit` to itself, it is slow, or it is away."""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]

HOST = "127.0.0.1"
CHUNK = 1 << 16


class Proxy:
    """Forwards connections to a port of this machine. Use as a context."""

    def __init__(self, port: int) -> None:
        self.losing = 0
        """How many answers to a commit are still to be lost."""
        self.lost = 0
        self.away = False
        """Whether nobody gets through: connections that are there break, new ones are closed."""
        self.refused = 0
        """How many connections were closed while it was away."""
        self.delay_s = 0.0
        """How long everything that a client sends is kept back."""
        self._pause = Event()
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._closed = False
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, work: object, *arguments: socket.socket) -> None:
        assert callable(work)
        thread = Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.away:
                client.close()
                self.refused += 1
                continue
            self._start(self._forward, client)

    def _forward(self, client: socket.socket) -> None:
        """Until one side ends: bytes both ways; the first answer after a commit that is to be lost ends it too."""
        with client, socket.create_connection((HOST, self._target)) as server, selectors.DefaultSelector() as waiting:
            waiting.register(client, selectors.EVENT_READ)
            waiting.register(server, selectors.EVENT_READ)
            committing = False
            while not self.away and not self._closed:
                for key, _ in waiting.select(0.05):
                    try:
                        data = key.fileobj.recv(CHUNK)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is client:
                            self._pause.wait(self.delay_s)
                            committing = self.losing > 0 and b"commit" in data.lower()
                            server.sendall(data)
                        elif committing:
                            self.losing -= 1
                            self.lost += 1
                            return
                        else:
                            client.sendall(data)
                    except OSError:
                        return
