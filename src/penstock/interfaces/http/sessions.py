"""Sessions of browsers: a cookie that scripts can't read, of which only the hash is kept, and an end."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from penstock.clock import Clock, new_id
from penstock.interfaces.http.access import Role
from penstock.interfaces.http.tokens import digest_of, write_private

__all__ = ["SESSION_TTL_S", "LoginLink", "Session", "Sessions", "csrf_of"]

SESSION_FILE = "server.sessions.json"
SESSION_TTL_S = 12 * 3600
LINK_TTL_S = 15 * 60
_MOST = 500


@dataclass(frozen=True, slots=True)
class Session:
    """Who it is that a browser speaks for. `token`: the hash of what opened it; it ends where that does."""

    role: Role
    who: str
    token: str
    until_us: int


class Sessions:
    """The sessions of one environment's server; a server that starts again still knows them."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / SESSION_FILE
        self._clock = clock
        self._lock = Lock()
        self._kept = self._read()

    def open(self, role: Role, who: str, token: str) -> tuple[str, Session]:
        """A new session: what the cookie says, and what is known of it. Raises ConfigError."""
        secret = f"{new_id()}{new_id()}"
        session = Session(role, who, token, self._clock.now_us() + SESSION_TTL_S * 1_000_000)
        with self._lock:
            live = {digest: one for digest, one in self._kept.items() if one.until_us > self._clock.now_us()}
            self._kept = dict([*live.items()][1 - _MOST :])
            self._kept[digest_of(secret)] = session
            self._write()
        return secret, session

    def find(self, secret: str) -> Session | None:
        """The session of a cookie, where it has not ended."""
        found = self._kept.get(digest_of(secret))
        return found if found is not None and found.until_us > self._clock.now_us() else None

    def close(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            if self._kept.pop(digest_of(secret), None) is not None:
                self._write()

    def _read(self) -> dict[str, Session]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))["sessions"]
            return {digest: Session(**{**one, "role": Role(one["role"])}) for digest, one in kept.items()}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # nobody is logged in then, and can log in again

    def _write(self) -> None:
        values = {"format": 1, "sessions": {digest: asdict(one) for digest, one in self._kept.items()}}
        write_private(self._path, json.dumps(values) + "\n")


class LoginLink:
    """A link that opens one session: printed by `penstock up`, good once and for a quarter of an hour."""

    def __init__(self, clock: Clock, *, who: str) -> None:
        self.who = who
        self.token = f"pl_{new_id()}{new_id()}"
        self._clock = clock
        self._until_us = clock.now_us() + LINK_TTL_S * 1_000_000
        self._lock = Lock()
        self._digest: str | None = digest_of(self.token)

    def take(self, token: str) -> bool:
        """Whether it is this link's, and nobody took it before."""
        with self._lock:
            if self._digest is None or not hmac.compare_digest(digest_of(token), self._digest):
                return False
            self._digest = None
            return self._clock.now_us() < self._until_us


def csrf_of(secret: str) -> str:
    """What a page sends with each deed: it follows from the cookie, which another site's page can't read."""
    return hmac.new(secret.encode("utf-8", "surrogatepass"), b"penstock csrf", hashlib.sha256).hexdigest()
