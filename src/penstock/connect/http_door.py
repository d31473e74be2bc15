"""A web server in a thread: binds at once, so that the port is known, and ends when it is told to."""

from __future__ import annotations

import socket
from threading import Event, Thread

import uvicorn
from starlette.types import ASGIApp

from penstock.errors import ConnectorError

__all__ = ["Door"]

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10
CONNECTIONS = 2048


class _Server(uvicorn.Server):
    """uvicorn that says when it listens or has given up, instead of being asked all the time."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.begun.set()


class Door:
    """An application served on a port. Raises ConnectorError where the port is taken."""

    def __init__(self, application: ASGIApp, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise ConnectorError(
                f"can't listen on {host}:{port}: {error.strerror}", hint="use port 0 for a free one"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://[{host}]:{self.port}" if family == socket.AF_INET6 else f"http://{host}:{self.port}"
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            backlog=CONNECTIONS,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
        self._server = _Server(config)
        self._thread = Thread(target=self._server.run, args=([self._socket],), name=f"http {self.port}", daemon=True)
        self._thread.start()
        if not self._server.begun.wait(START_TIMEOUT_S):
            raise ConnectorError(f"the web server on {host}:{port} did not start")

    def close(self) -> None:
        """Answer the requests that have begun, take no more, and free the port."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
