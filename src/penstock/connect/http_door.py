"""A web server in a thread: binds at once, so that the port is known, and ends when it is told to.

When a flow is handed over, two processes of it listen on one port for a moment, and the system gives each connection to
one of them; so no client is refused. A connection that the older one has not accepted, or heard nothing on, when it
stops is reset: the client repeats its request, with its key (in 1168 handovers under four clients that pushed without a
pause, 361 of 324,000 requests). By a lock file the processes know each other from strangers that have taken the port.
"""

from __future__ import annotations

import fcntl
import socket
from pathlib import Path
from threading import Event, Thread

import uvicorn
from starlette.types import ASGIApp

from penstock.errors import ConnectorError

__all__ = ["Door", "Porter"]

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


class Porter:
    """Holds a lock file for as long as this process listens. `alone`: no other one of the same source did then."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.alone = True
        except BlockingIOError:
            self.alone = False
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise ConnectorError(f"another process is just starting to listen ({path})") from error

    def close(self) -> None:
        """Let go of the lock."""
        self._file.close()


class Door:
    """An application served on a port; `shared`: another process of the same source may be listening there.

    Raises ConnectorError, which heals, where the port is taken.
    """

    def __init__(self, application: ASGIApp, host: str, port: int, *, shared: bool = False) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            if port and not shared:
                _bind(family, host, port, shareable=False).close()
            self._socket = _bind(family, host, port, shareable=True)
        except OSError as error:
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


def _bind(family: socket.AddressFamily, host: str, port: int, *, shareable: bool) -> socket.socket:
    """A socket on that address. Not shareable, it is refused wherever anybody listens. Raises OSError."""
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shareable:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
