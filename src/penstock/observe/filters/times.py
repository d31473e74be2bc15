"""Times in a filter: RFC 3339, or relative to now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from penstock.errors import DefinitionError
from penstock.flow import duration_us

__all__ = ["time_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = 60  # no time is written longer; it keeps numbers of absurd length away from the parser
_RFC3339 = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<minute>\d\d:\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)
_RELATIVE = re.compile(r"(?:now)?(?P<shift>[+-].+)|now", re.IGNORECASE)


def time_of(text: str, now_us: int) -> datetime | None:
    """The time that a text says, in UTC; None if it is none, or lies outside the years 1 to 9999.

    `"2026-11-26T08:00:00.5+01:00"`, less precise down to the day, in UTC without a zone; digits after the sixth are
    cut. `"-1h30m"`, `"now-1h"`, `"now"`, from `now_us`, microseconds since 1970 UTC.
    """
    if len(text) > _LONGEST:
        return None
    try:
        relative = _RELATIVE.fullmatch(text)
        if relative:
            return _shifted(now_us, relative.group("shift") or "-0s")
        absolute = _RFC3339.fullmatch(text)
        return None if absolute is None else _absolute(absolute)
    except (ValueError, OverflowError, DefinitionError):
        return None


def _shifted(now_us: int, shift: str) -> datetime:
    return _EPOCH + timedelta(microseconds=now_us + duration_us(shift.removeprefix("+")))


def _absolute(found: re.Match[str]) -> datetime:
    clock = f"{found.group('minute') or '00:00'}:{found.group('second') or '00'}"
    fraction = (found.group("fraction") or "").ljust(6, "0")[:6]
    zone = (found.group("zone") or "Z").upper().replace("Z", "+00:00")
    return datetime.fromisoformat(f"{found.group('date')}T{clock}.{fraction}{zone}").astimezone(UTC)
