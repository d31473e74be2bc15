"""Where the server listens, by which names it may be asked, and with which certificate."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import ConfigError

__all__ = ["LOOPBACK", "LOOPBACK_NAMES", "Address", "checked_address"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """An address of this machine. `cert` and `key`: files in PEM, both or none. `names`: those of Host and Origin that
    are right, beside the names of loopback.
    """

    host: str = "127.0.0.1"
    cert: Path | None = None
    key: Path | None = None
    names: frozenset[str] = frozenset()

    @property
    def scheme(self) -> str:
        """`https` where there is a certificate."""
        return "http" if self.cert is None else "https"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.host).is_loopback

    def url(self, port: int) -> str:
        """How it is asked: by a name that was given where it listens at all addresses."""
        is_every = ipaddress.ip_address(self.host).is_unspecified
        name = min(self.names) if is_every and self.names else self.host
        return f"{self.scheme}://{f'[{name}]' if ':' in name else name}:{port}"


LOOPBACK = Address()


def checked_address(host: str, *, cert: Path | None, key: Path | None, names: Sequence[str], tokens: int) -> Address:
    """The address of these settings; `tokens`: how many people have a token of their own.

    Raises ConfigError where other machines would reach a server that speaks in the clear, or that knows nobody by name.
    """
    number = "127.0.0.1" if host == "localhost" else host
    try:
        parsed = ipaddress.ip_address(number)
    except ValueError as error:
        raise ConfigError(
            f"{host!r:.60} is no address to listen at",
            hint="give a number, such as 0.0.0.0 for all of this machine; names go to --allowed-host",
        ) from error
    if (cert is None) is not (key is None):
        raise ConfigError("TLS takes two files, a certificate and its key", hint="give --tls-cert and --tls-key")
    given = frozenset(_name(name) for name in names)
    if not parsed.is_loopback:
        _open_to_others(host, has_tls=cert is not None, tokens=tokens)
        if parsed.is_unspecified and not given:
            raise ConfigError(
                f"{host} is every address of this machine, and none is said to be asked for",
                state_left="nothing listens",
                hint="say by which names people reach it: --allowed-host flows.example.org",
            )
    if cert is not None and key is not None:
        _readable(cert, key)
    return Address(str(parsed), cert, key, given if parsed.is_unspecified else given | {str(parsed)})


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ConfigError(
            f"{text!r:.60} is no name of a machine", hint="without port and scheme: --allowed-host flows.example.org"
        )
    return text.lower()


def _open_to_others(host: str, *, has_tls: bool, tokens: int) -> None:
    if not has_tls:
        raise ConfigError(
            f"other machines reach {host}, and without TLS anybody between reads the tokens",
            state_left="nothing listens",
            hint="give --tls-cert FILE and --tls-key FILE, or listen at 127.0.0.1 behind a tunnel",
        )
    if not tokens:
        raise ConfigError(
            f"other machines reach {host}, and nobody has a token of their own yet",
            state_left="nothing listens",
            hint="make one for each person first: penstock token new NAME --role operator",
        )


def _readable(cert: Path, key: Path) -> None:
    try:
        # A key that wants a password would be asked for at a terminal, which a service has none of.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: b"")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"{cert} and {key} are no certificate and its key: {error}",
            state_left="nothing listens",
            hint="both are PEM; the certificate comes first in its file, the key has no password",
        ) from error
