"""Tokens beside the server's own: each has a name and a role, and can be taken back. Only their hashes are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from penstock.clock import Clock, new_id
from penstock.errors import ConfigError
from penstock.interfaces.http.access import Role
from penstock.interfaces.http.tokens import digest_of, write_private

__all__ = ["BOOK_FILE", "NamedToken", "TokenBook"]

BOOK_FILE = "server.tokens.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class NamedToken:
    """What is known of a token. `until_us`: when it ends, None for never."""

    id: str
    name: str
    role: Role
    digest: str
    made_us: int
    until_us: int | None = None


class TokenBook:
    """The tokens of an environment, in a file that servers read again when it changed."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / BOOK_FILE
        self._clock = clock
        self._seen: tuple[int, int] | None = None
        self._tokens: Sequence[NamedToken] = ()

    def tokens(self) -> Sequence[NamedToken]:
        """All of them, oldest first. Raises ConfigError where the file is damaged."""
        try:
            found = self._path.stat()
        except OSError:
            return ()
        seen = (found.st_mtime_ns, found.st_ino)
        if seen != self._seen:
            self._tokens, self._seen = self._read(), seen
        return self._tokens

    def find(self, digest: str) -> NamedToken | None:
        """The token with this hash, where it has not ended."""
        return next((one for one in self.live() if one.digest == digest), None)

    def live(self) -> Sequence[NamedToken]:
        """Those that have not ended. Raises ConfigError where the file is damaged."""
        now_us = self._clock.now_us()
        return [one for one in self.tokens() if one.until_us is None or one.until_us > now_us]

    def make(self, name: str, role: Role, *, ttl_us: int | None = None) -> tuple[NamedToken, str]:
        """A new token: what is kept, and the token itself, which is shown once. Raises ConfigError."""
        if not name.strip() or any(one.name == name for one in self.tokens()):
            raise ConfigError(
                f"there is a token {name!r} already" if name.strip() else "a token wants a name",
                hint="penstock token list shows them; penstock token revoke NAME ends one",
            )
        token, now_us = f"pt_{new_id()}{new_id()}", self._clock.now_us()
        made = NamedToken(
            new_id()[:8], name, role, digest_of(token), now_us, None if ttl_us is None else now_us + ttl_us
        )
        self._write([*self.tokens(), made])
        return made, token

    def revoke(self, name: str) -> NamedToken:
        """End a token, by its name or id, and the sessions that were opened with it. Raises ConfigError."""
        found = next((one for one in self.tokens() if name in (one.name, one.id)), None)
        if found is None:
            raise ConfigError(f"there is no token {name!r}", hint="penstock token list shows them")
        self._write([one for one in self.tokens() if one is not found])
        return found

    def _read(self) -> list[NamedToken]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return [NamedToken(**{**one, "role": Role(one["role"])}) for one in kept["tokens"]]
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise ConfigError(
                f"{self._path} can't be read: {problem}",
                state_left="the server's own token still opens it",
                hint="remove the file and make new tokens: penstock token new",
            ) from problem

    def _write(self, tokens: Sequence[NamedToken]) -> None:
        values = {"format": _FORMAT, "tokens": [asdict(one) for one in tokens]}
        write_private(self._path, json.dumps(values, indent=1) + "\n")
        self._seen = None
