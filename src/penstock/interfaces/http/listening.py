"""The web server in a thread of its own, at a loopback address where nobody says otherwise."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

import uvicorn
from starlette.types import ASGIApp

from penstock.errors import ConfigError
from penstock.interfaces.http.address import LOOPBACK, Address
from penstock.interfaces.http.stopping import Stopping

__all__ = ["DEFAULT_PORT", "Listener"]

DEFAULT_PORT = 7654
_STOP_S = 5.0


class Listener:
    """Answers requests from `start` to `stop`. `port`: None takes the usual one, or any where that is taken. `address`:
    as `penstock.interfaces.http.address.checked_address` gives it.

    Raises ConfigError where the port can't be had.
    """

    def __init__(self, app: ASGIApp, *, port: int | None = None, address: Address = LOOPBACK) -> None:
        self._socket = _listening(address.host, port)
        self.url = address.url(self._socket.getsockname()[1])
        self._stopping = Stopping()
        config = uvicorn.Config(
            self._stopping.known_to(app),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=round(_STOP_S),
            ssl_certfile=address.cert,
            ssl_keyfile=address.key,
        )
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = Thread(target=self._run, name="penstock-http", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])

    def lag_s(self, stopwatch_s: Callable[[], float]) -> float | None:
        """How late the event loop is now: whoever asks something waits at least so long. None where it does not run."""
        loop, turn = self._loop, Event()
        if loop is None or loop.is_closed() or not self._thread.is_alive():
            return None
        began_s = stopwatch_s()
        loop.call_soon_threadsafe(turn.set)
        turn.wait(_STOP_S)
        return stopwatch_s() - began_s

    def start(self) -> None:
        """Answer from now on; requests that came before have waited."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being answered, end the streams, and listen no more."""
        self._server.should_exit = True
        if self._thread.is_alive():
            if self._loop is not None:
                with suppress(RuntimeError):  # it has ended meanwhile
                    self._loop.call_soon_threadsafe(self._stopping.begin)
            self._thread.join(2 * _STOP_S)
        self._socket.close()


def _listening(host: str, port: int | None) -> socket.socket:
    for attempt in (DEFAULT_PORT, 0) if port is None else (port,):
        found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, attempt))
            found.listen(128)
        except OSError as error:
            found.close()
            if error.errno != errno.EADDRINUSE or port is not None:
                raise ConfigError(
                    f"port {attempt} of {host} can't be had: {error.strerror}",
                    hint="choose another: penstock up --port 0",
                ) from error
            continue
        return found
    raise AssertionError("port 0 is never taken")
