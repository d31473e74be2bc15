"""When scheduled flows run: cron times, zones, catching up, and no two at once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.control.supervising.schedule import CatchUp, Due, Schedule, next_due, next_us, read_schedule
from penstock.errors import ConfigError

HOUR_US = 3_600_000_000


def at(text: str) -> int:
    """A UTC time as microseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


HOURLY = {way: Schedule("0 * * * *", way) for way in CatchUp}


@pytest.mark.parametrize("way", list(CatchUp))
def test_a_time_that_came_is_due_once(way: CatchUp) -> None:
    """Not before, not again after it ran, whatever the rule for missed times."""
    last, now = at("2026-03-01 10:00"), at("2026-03-01 11:00:00.200")

    assert next_due(HOURLY[way], last, at("2026-03-01 10:59:59.900")) is None
    assert next_due(HOURLY[way], last, now) == Due(at("2026-03-01 11:00"))
    assert next_due(HOURLY[way], at("2026-03-01 11:00"), now) is None


def test_missed_times() -> None:
    """After five hours away: none waits for the next time, last runs once for all, all runs each in its order."""
    last, now = at("2026-03-01 10:00"), at("2026-03-01 15:20")

    assert next_due(HOURLY[CatchUp.NONE], last, now) is None
    assert next_due(HOURLY[CatchUp.NONE], last, at("2026-03-01 16:00:01")) == Due(at("2026-03-01 16:00"), 5)
    assert next_due(HOURLY[CatchUp.LAST], last, now) == Due(at("2026-03-01 15:00"), 4)
    assert next_due(HOURLY[CatchUp.LAST], at("2026-03-01 15:00"), now) is None
    runs = []
    while (due := next_due(HOURLY[CatchUp.ALL], last, now)) is not None:
        runs.append(due.at_us)
        last = due.at_us
    assert runs == [at(f"2026-03-01 {hour}:00") for hour in range(11, 16)]


def test_years_away_cost_nothing() -> None:
    """A flow that was to run every minute, seen again after twenty years, runs once, and at once."""
    every_minute = Schedule("* * * * *")
    due = next_due(every_minute, at("2006-01-01 00:00"), at("2026-01-01 00:00:30"))

    assert due is not None
    assert (due.at_us, due.missed) == (at("2026-01-01 00:00"), 10_000)


def test_a_zone_has_its_own_hours() -> None:
    """Half past three in Prague is half past two in winter and half past one in summer; each day has one."""
    schedule = Schedule("30 3 * * *", zone="Europe/Prague")

    assert next_us(schedule, at("2026-01-10 12:00")) == at("2026-01-11 02:30")
    assert next_us(schedule, at("2026-07-10 12:00")) == at("2026-07-11 01:30")
    times, time = [], at("2026-03-26 12:00")
    for _ in range(6):
        time = next_us(schedule, time)
        times.append(datetime.fromtimestamp(time / 1e6, UTC).day)
    assert times == [27, 28, 29, 30, 31, 1]


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("61 * * * *", "UTC", "is no cron expression: bad minute"),
        ("0 0 * *", "UTC", "it takes five fields"),
        ("0 0 31 2 *", "UTC", "is no cron expression"),
        ("0 0 * * *", "Europe/Praha", "there is no time zone 'Europe/Praha'"),
    ],
)
def test_a_wrong_schedule_is_refused(cron: str, zone: str, words: str) -> None:
    """With what is wrong, before it is kept."""
    with pytest.raises(ConfigError, match=words):
        Schedule(cron, zone=zone)


def test_it_is_kept_as_options() -> None:
    """What is kept in a desired state is read again as it was."""
    schedule = Schedule("*/5 8-18 * * MON-FRI", CatchUp.ALL, "Europe/Prague")

    assert read_schedule(schedule.as_options()) == schedule
    assert read_schedule({"standby": True}) is None
