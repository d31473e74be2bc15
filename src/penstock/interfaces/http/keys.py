"""What opens the server: its token, named tokens, sessions; and for whom."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from penstock.clock import Clock
from penstock.interfaces.http.access import Role
from penstock.interfaces.http.sessions import LoginLink, Session, Sessions
from penstock.interfaces.http.token_book import TokenBook
from penstock.interfaces.http.tokens import TokenHash, digest_of

__all__ = ["Caller", "Keys"]

_FAILURES_MOST = 20
_FAILURES_S = 60


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `secret`: the cookie of the session, where it is one."""

    role: Role
    who: str = ""
    secret: str | None = None


class Keys:
    """Says who somebody is by what they bring."""

    def __init__(self, token: TokenHash, folder: Path, clock: Clock, *, link: LoginLink | None = None) -> None:
        self._token = token
        self._link = link
        self._clock = clock
        self._failures: deque[int] = deque(maxlen=_FAILURES_MOST)
        self.book = TokenBook(folder, clock)
        self.sessions = Sessions(folder, clock)
        self._own = f"own:{token.digest}"

    def by_token(self, token: str) -> Caller | None:
        """Who has this token."""
        if self._token.fits(token):
            return Caller(Role.OPERATOR)
        named = self.book.find(digest_of(token))
        return None if named is None else Caller(named.role, named.name)

    def by_session(self, secret: str) -> Caller | None:
        """Whose session this cookie is; nobody's where the token that opened it was taken back."""
        found = self.sessions.find(secret)
        if found is None or not self._still_good(found.token):
            return None
        return Caller(found.role, found.who, secret)

    def log_in(self, token: str, who: str) -> tuple[str, Session] | None:
        """Open a session with a token or the link; gives what the cookie says. Raises ConfigError."""
        if self._link is not None and self._link.take(token):
            return self.sessions.open(Role.OPERATOR, who or self._link.who, self._own)
        caller = self.by_token(token)
        if caller is None:
            self._failures.append(self._clock.now_us())
            return None
        # A name of the token's is no claim of the person who holds it.
        kept = digest_of(token) if caller.who else self._own
        return self.sessions.open(caller.role, caller.who or who, kept)

    @property
    def is_tired(self) -> bool:
        """Whether too many wrong tokens came in the last minute."""
        full = len(self._failures) == _FAILURES_MOST
        return full and self._clock.now_us() - self._failures[0] < _FAILURES_S * 1_000_000

    def _still_good(self, token: str) -> bool:
        return token == self._own or self.book.find(token) is not None
