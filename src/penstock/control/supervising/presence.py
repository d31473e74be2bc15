"""Which server an environment has: one that leads, by a lease in the ledger; where it is, in `server.json`.

The lease decides, wherever the servers run; one whose process is seen to be gone is not waited for to its end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from penstock.clock import Clock
from penstock.control.supervising.processes import process_started, this_host
from penstock.errors import ConfigError, FlowBusy
from penstock.ledger import Operations

__all__ = ["SERVER_FILE", "Presence", "ServerFacts", "read_server"]

SERVER_FILE = "server.json"
_LOCK_FILE = "server.lock"
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server, as `server.json` tells it. `url` is None until it listens."""

    env: str
    pid: int
    started: str
    host: str
    since_us: int
    url: str | None = None

    @property
    def holder(self) -> str:
        """Its name in the lease."""
        return f"{self.host} process {self.pid} ({self.started})"

    @property
    def is_alive(self) -> bool | None:
        """Whether its process is there; None where it is on another machine, and nobody here can say."""
        return process_started(self.pid) == self.started if self.host == this_host() else None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f", {self.url}" if self.url else "")


def read_server(folder: Path) -> ServerFacts | None:
    """The server that an environment's folder names, living or not; None where it names none."""
    try:
        return ServerFacts(**json.loads((folder / SERVER_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


class Presence:
    """One server's claim to lead an environment.

    With `alone`, another server is a reason to end: the ledger is files of this machine, and a lock file tells at once.
    Else it is one to wait for.
    """

    def __init__(
        self, operations: Operations, clock: Clock, *, folder: Path, env: str, ttl_s: float, alone: bool
    ) -> None:
        self._operations = operations
        self._clock = clock
        self._folder = folder
        self._ttl_s = ttl_s
        self._alone = alone
        self._lease = f"server:{env}"
        self._renewed_s: float | None = None
        self._next_try_s = 0.0
        self._lock: int | None = None
        pid = os.getpid()
        self.me = ServerFacts(env, pid, process_started(pid) or "", this_host(), clock.now_us())

    @property
    def leads(self) -> bool:
        """Whether the lease is ours for certain; it is renewed long before it ends."""
        return self._renewed_s is not None and self._clock.stopwatch_s() - self._renewed_s < 0.8 * self._ttl_s

    def keep(self) -> bool:
        """Take or renew the lease where it is time to; gives whether this server leads. Raises LedgerError, FlowBusy.

        FlowBusy names the first server, where there may be only one.
        """
        now_s = self._clock.stopwatch_s()
        if self.leads and self._renewed_s is not None and now_s - self._renewed_s < self._ttl_s / 3:
            return True
        was = self._renewed_s is not None
        if not was and now_s < self._next_try_s:
            return False
        self._next_try_s = now_s + self._ttl_s / 10
        if self._alone and not self._take_lock():
            return self._refused(read_server(self._folder))
        lease = self._operations.lease(self._lease, self.me.holder, ttl_s=self._ttl_s)
        if lease is None and not was:
            other = read_server(self._folder)
            if other is not None and other.is_alive is False:
                # It can't renew it any more: no need to wait for the end of its lease.
                self._operations.release(self._lease, other.holder)
                lease = self._operations.lease(self._lease, self.me.holder, ttl_s=self._ttl_s)
        if lease is None:
            # With the lock in hand nobody leads here: what is left of a lease only has to end.
            self._renewed_s = None
            return False
        self._renewed_s = now_s
        if not was:
            self.tell()
        return True

    def tell(self, url: str | None = None) -> None:
        """Write `server.json`, readable by its owner, where this server leads. Raises ConfigError for a full disk."""
        if url is not None:
            self.me = replace(self.me, url=url)
        if self._renewed_s is None:
            return
        path = self._folder / SERVER_FILE
        staged = path.with_name(f".{SERVER_FILE}.{self.me.pid}")
        try:
            descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(self.me.as_dict(), file)
            staged.replace(path)
        except OSError as error:
            raise ConfigError(f"{path} can't be written: {error.strerror}", hint="free space there") from error

    def leave(self) -> None:
        """Give the lease back, so that another server need not wait for its end."""
        if self._renewed_s is not None:
            self._operations.release(self._lease, self.me.holder)
            found = read_server(self._folder)
            if found is not None and found.holder == self.me.holder:
                (self._folder / SERVER_FILE).unlink(missing_ok=True)
        self._renewed_s = None
        self._drop_lock()

    def _refused(self, other: ServerFacts | None) -> bool:
        named = "" if other is None or other.holder == self.me.holder else f": {other}"
        raise FlowBusy(
            f"a server runs this environment{named}",
            state_left="it goes on; this one changed nothing",
            hint=f"end it first: penstock down --env {self.me.env}",
        )

    def _take_lock(self) -> bool:
        """The lock that other servers of this folder on this machine respect."""
        if self._lock is not None:
            return True
        path = self._folder / _LOCK_FILE
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        except OSError as error:
            raise ConfigError(
                f"the folder of the environment can't be written: {error.filename}: {error.strerror}",
                hint="free space, correct the permissions, or set another folder in penstock.toml",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def _drop_lock(self) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = None
