"""Values of a filter as values of a type, and what no type can read as errors with their place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network

from penstock.errors import QueryError, did_you_mean
from penstock.observe.entries import SEVERITIES
from penstock.observe.filters.faults import fault
from penstock.observe.filters.times import time_of
from penstock.observe.filters.tree import Literal, Name

__all__ = ["Source", "number_of", "words_of"]

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_PHRASE = re.compile(r"`([^`]*)`")
_WORD = re.compile(r"[^\W_]+")
_BIGINT = 2.0**63


def number_of(text: str) -> int | float | None:
    """The number that a text is, None if it is none; whole numbers are integers where 64 bits hold them."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return int(text) if abs(number) < _BIGINT and not set(text) & set(".eE") else number


def words_of(text: str) -> list[tuple[str, ...]]:
    """What SEARCH looks for, each once: phrases (in backticks) and single words, as tuples of letters and digits."""
    phrases = [tuple(_WORD.findall(phrase)) for phrase in _PHRASE.findall(text)]
    words = [(word,) for word in _WORD.findall(_PHRASE.sub(" ", text))]
    return list(dict.fromkeys([phrase for phrase in phrases if phrase] + words))


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a filter, for errors that show the place in it, and the time that its relative times start from.

    `now_us` is in microseconds since 1970 UTC.
    """

    text: str
    now_us: int

    def fault(self, place: Literal | Name, message: str, hint: str | None = None) -> QueryError:
        """The error to raise for a value or a name."""
        return fault(self.text, place.start, place.end, message, hint=hint)

    def number(self, literal: Literal) -> int | float:
        """The value as a number. Raises QueryError."""
        number = number_of(literal.text)
        if number is None:
            raise self.fault(literal, f"{literal.text!r} is no number", "this field is compared with a number")
        return number

    def network(self, literal: Literal) -> IPv4Network:
        """The value as a network, an address being one of its own. Raises QueryError."""
        try:
            return IPv4Network(literal.text, strict=False)
        except ValueError:
            hint = 'ip_in_net(jsonPayload.ip, "10.0.0.0/8")'
            raise self.fault(literal, f"{literal.text!r} is no network of IPv4", hint) from None

    def time(self, literal: Literal) -> datetime:
        """The value as a time in UTC. Raises QueryError."""
        time = time_of(literal.text, self.now_us)
        if time is None:
            forms = 'timestamp>="2026-11-26T08:00:00Z", or from now: timestamp>="-24h"'
            raise self.fault(literal, f"{literal.text!r} is no time", forms)
        return time

    def severity(self, literal: Literal) -> int:
        """The value as the number of a severity; a whole number from 0 to 800 is one too. Raises QueryError."""
        name = literal.text.upper()
        if name in SEVERITIES:
            return SEVERITIES[name]
        number = number_of(literal.text)
        if isinstance(number, int) and 0 <= number <= max(SEVERITIES.values()):
            return number
        names = tuple(SEVERITIES)
        raise self.fault(
            literal, f"{literal.text!r} is no severity.{did_you_mean(name, names)}", f"one of {', '.join(names)}"
        )

    def share(self, literal: Literal) -> float:
        """The value as a share from 0 to 1. Raises QueryError."""
        share = self.number(literal)
        if not 0 <= share <= 1:
            raise self.fault(literal, f"{literal.text} is no share", "a number from 0 to 1")
        return float(share)
