"""Durations as people write them (`"10s"`, `"1h30m"`, a `timedelta`), as integers of microseconds."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from typing import TypeAlias

from penstock.errors import DefinitionError

__all__ = ["Duration", "duration_text", "duration_us"]

Duration: TypeAlias = str | timedelta
"""`"250ms"`, `"10s"`, `"1m"`, `"1h30m"`, `"2d"`, `"1w"`, with a leading `-` for the past; or a `timedelta`."""

_UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_LONGEST_YEARS = 1_000
_LONGEST_US = _LONGEST_YEARS * 366 * _UNITS_US["d"]
"""So that a time and a duration together are a time that everybody can name."""
_LETTERS_MOST = 100
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)")


def duration_us(text: Duration, *, what: str = "duration") -> int:
    """Microseconds of a duration. Raises DefinitionError that names `what` and shows the form."""
    if isinstance(text, timedelta):
        return round(text / timedelta(microseconds=1))
    if not isinstance(text, str):
        raise DefinitionError(f"{what} is {text!r}", hint='write it as text with a unit, e.g. "10s" or "1h30m"')
    body = text.strip().removeprefix("-")
    parts = _PART.findall(body) if len(body) <= _LETTERS_MOST else []
    if not parts or "".join(number + unit for number, unit in parts) != body:
        raise DefinitionError(
            f"{what} {text!r:.60} is no duration", hint='numbers with a unit of us, ms, s, m, h, d or w, e.g. "1h30m"'
        )
    total = sum(Fraction(number) * _UNITS_US[unit] for number, unit in parts)
    if total > _LONGEST_US:
        raise DefinitionError(f"{what} {text!r} is longer than {_LONGEST_YEARS:,} years", hint="write a shorter one")
    return round(-total if text.strip().startswith("-") else total)


def duration_text(value_us: int) -> str:
    """The shortest way to write so many microseconds, e.g. `90_000_000` -> `"1m30s"`."""
    if value_us == 0:
        return "0s"
    sign, rest, out = ("-" if value_us < 0 else ""), abs(value_us), ""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, _UNITS_US[unit])
        out += f"{count}{unit}" if count else ""
    return sign + out
