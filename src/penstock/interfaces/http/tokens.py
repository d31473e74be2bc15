"""The token of a server: made at its first start, shown once; only its hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from penstock.clock import new_id
from penstock.errors import ConfigError

__all__ = ["TOKEN_FILE", "TokenHash", "digest_of", "kept_token", "write_private"]

TOKEN_FILE = "server.token"  # noqa: S105 - the name of a file, which holds a hash
_MODE = 0o600
_SHORTEST = 16


class TokenHash:
    """Knows whether a token is the right one, and not which one that is."""

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def fits(self, token: str) -> bool:
        """Whether this is the token; takes as long for a wrong one."""
        return hmac.compare_digest(digest_of(token), self.digest)


def kept_token(folder: Path, *, given: str | None = None, renew: bool = False) -> tuple[TokenHash, str | None]:
    """What an environment's server checks tokens against, and the token itself where it was made now.

    `given`: the token that a person chose (`PENSTOCK_TOKEN`). Raises ConfigError where it is too short to be one, or
    the file can't be written.
    """
    path = folder / TOKEN_FILE
    if given is not None:
        if len(given) < _SHORTEST:
            raise ConfigError(
                f"PENSTOCK_TOKEN has {len(given)} characters, it takes {_SHORTEST} at least",
                hint="unset it: then the server makes one",
            )
        return TokenHash(digest_of(given)), None
    known = _read(path)
    if known is not None and not renew:
        return TokenHash(known), None
    token = f"pt_{new_id()}{new_id()}"
    write_private(path, digest_of(token) + "\n")
    return TokenHash(digest_of(token)), token


def digest_of(token: str) -> str:
    """What is kept of a token."""
    # A random token of 244 bits: nothing is won by a slow hash.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def write_private(path: Path, text: str) -> None:
    """Put a file in its place that its owner alone may read. Raises ConfigError where that can't be done."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        staged.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}", hint="free space there") from error
