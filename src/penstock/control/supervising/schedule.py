"""When a bounded flow runs by the clock: cron times, one run at a time, and what becomes of times that were missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from penstock.clock import to_datetime
from penstock.errors import ConfigError

__all__ = ["CatchUp", "Due", "Schedule", "next_due", "next_us", "read_schedule"]

GRACE_US = 60_000_000
"""A time that is not older than this was not missed: the server looks a few times a second."""
_MOST = 10_000
"""Missed times are counted so far."""


class CatchUp(StrEnum):
    """What becomes of times that passed while no server was there, or while the run before was not over."""

    NONE = "none"
    """They are over: the next run is at the next time."""
    LAST = "last"
    """One run makes up for all of them."""
    ALL = "all"
    """A run for each, one after the other."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`cron`: five fields, as in crontab. `zone`: the name of the time zone that they are meant in."""

    cron: str
    catch_up: CatchUp = CatchUp.LAST
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self.cron.split()) != 5:  # noqa: PLR2004 - minute, hour, day, month, weekday
            raise ConfigError(
                f"{self.cron!r} is no cron expression: it takes five fields",
                hint='minute hour day month weekday, for example "30 3 * * *": every day at half past three',
            )
        try:
            next(CronSim(self.cron, datetime(2000, 1, 1, tzinfo=_zone(self.zone))))
        except (CronSimError, StopIteration) as error:
            raise ConfigError(
                f"{self.cron!r} is no cron expression: {str(error).lower() or 'there is no such time'}",
                hint='minute hour day month weekday, for example "*/15 8-18 * * MON-FRI"',
            ) from None

    def as_options(self) -> dict[str, Any]:
        """As it is kept in `Desired.options`."""
        return {"schedule": self.cron, "catch_up": self.catch_up.value, "zone": self.zone}


@dataclass(frozen=True, slots=True)
class Due:
    """A run that is due: `at_us` is its time, `missed` counts the times since the last run that it stands for."""

    at_us: int
    missed: int = 0


def read_schedule(options: Mapping[str, Any]) -> Schedule | None:
    """The schedule in the options of a desired state; None where there is none. Raises ConfigError."""
    cron = options.get("schedule")
    if not cron:
        return None
    given = str(options.get("catch_up", CatchUp.LAST.value))
    if given not in [one.value for one in CatchUp]:
        raise ConfigError(f"{given!r} is no way to catch up", hint=f"use one of {', '.join(CatchUp)}")
    return Schedule(str(cron), CatchUp(given), str(options.get("zone", "UTC")))


def next_us(schedule: Schedule, after_us: int) -> int:
    """The first time after this one."""
    return next(_times(schedule, after_us))


def next_due(schedule: Schedule, last_us: int, now_us: int) -> Due | None:
    """The run that is due now, where the last one was for the time `last_us`; None where none is.

    Ask again after that run, with its time as the last: times that passed meanwhile are treated as missed ones.
    """
    if schedule.catch_up is CatchUp.ALL:
        first_us = next_us(schedule, last_us)
        return Due(first_us) if first_us <= now_us else None
    newest_us = _newest(schedule, now_us)
    if newest_us <= last_us or (schedule.catch_up is CatchUp.NONE and newest_us < now_us - GRACE_US):
        return None
    missed = takewhile(lambda time_us: time_us < newest_us, _times(schedule, last_us))
    return Due(newest_us, sum(1 for _ in islice(missed, _MOST)))


def _newest(schedule: Schedule, now_us: int) -> int:
    """The last time that is not after now."""
    # Backwards, a moment with microseconds is its whole second first.
    moment = to_datetime(now_us).replace(microsecond=1).astimezone(_zone(schedule.zone))
    return _as_us(next(CronSim(schedule.cron, moment, reverse=True)))


def _times(schedule: Schedule, after_us: int) -> Iterator[int]:
    start = to_datetime(after_us).astimezone(_zone(schedule.zone))
    for time in CronSim(schedule.cron, start):
        yield _as_us(time)


def _as_us(time: datetime) -> int:
    return round(time.astimezone(UTC).timestamp() * 1e6)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"there is no time zone {name!r}", hint="for example Europe/Prague, or UTC") from None
