"""Freshness: one number that says how far what readers see is behind, and how fast its objective is missed."""

from __future__ import annotations

import pytest

from penstock.ledger import LAST_TIME_US
from penstock.observe import BURN_RATES, BurnRate, FreshnessLog, freshness_us, freshness_words

SECOND_US = 1_000_000


def fresh_s(now_s: float, *, waits: bool, watermark_s: float | None = None, caught_up_s: float | None = 100) -> float:
    """Of a flow whose newest commit was at 100 s."""
    found = freshness_us(
        now_us=round(now_s * SECOND_US),
        committed_us=100 * SECOND_US,
        watermark_us=None if watermark_s is None else round(watermark_s * SECOND_US),
        caught_up_us=None if caught_up_s is None else round(caught_up_s * SECOND_US),
        waits=waits,
    )
    assert found is not None
    return found / SECOND_US


def test_a_quiet_flow_does_not_grow_old() -> None:
    """An hour without input is no hour of delay."""
    assert fresh_s(100, waits=False) == fresh_s(3_700, waits=False) == 0
    assert fresh_s(3_700, waits=False, watermark_s=96) == 4


def test_a_flow_that_stands_still_grows_second_by_second() -> None:
    """From the moment when it had last worked off all of its input; from the commit where nobody knows that."""
    assert [fresh_s(now, waits=True, caught_up_s=99) for now in (100, 101, 160)] == [1, 2, 61]
    assert fresh_s(160, waits=True, caught_up_s=None) == 60


@pytest.mark.parametrize("delay_s", [0.0, 1.5, 42.0])
def test_a_delay_of_event_time_shows_as_itself(delay_s: float) -> None:
    """Data that comes late is seen late, whether the flow keeps up or not."""
    assert fresh_s(100, waits=False, watermark_s=100 - delay_s) == delay_s
    assert fresh_s(110, waits=True, watermark_s=100 - delay_s) == delay_s + 10


def test_times_that_are_none() -> None:
    """At the end of the input there is no watermark to be late; a clock that was set back makes nothing fresher."""
    assert fresh_s(100, waits=False, watermark_s=LAST_TIME_US / SECOND_US) == 0
    assert fresh_s(50, waits=True) == 0
    assert fresh_s(100, waits=False, watermark_s=200) == 0
    assert freshness_us(now_us=1, committed_us=None, watermark_us=None, caught_up_us=1, waits=True) is None


def test_words() -> None:
    """What a person is told."""
    assert freshness_words(4, 30) == "fresh: 4 s of 30 s"
    assert freshness_words(0.25, 30) == "fresh: 0.2 s of 30 s"
    assert freshness_words(41.4, 30) == "late: 41 s of 30 s"
    assert freshness_words(86_400 * 4_153.2, None) == "4,153 d behind"
    assert freshness_words(None, 30) == ""


def test_the_windows_are_those_of_the_book() -> None:
    """2 % of 30 days' budget in an hour is 14.4 times too fast, and so on."""
    for rate in BURN_RATES:
        assert rate.share * 30 * 86_400 / rate.long_s == pytest.approx(rate.factor)
        assert rate.short_s * 12 == rate.long_s


def test_burn_rates_by_window() -> None:
    """An outage of five minutes burns 100 times too fast over five minutes, and less over longer windows."""
    log = FreshnessLog()
    for second in range(0, 7_200, 10):
        late = second >= 6_900
        log.add(second * SECOND_US, met=int(not late), missed=int(late))
    rates = log.burn_rates(7_199 * SECOND_US)

    assert rates[300.0] == pytest.approx(100, rel=0.05)
    assert rates[1_800.0] == pytest.approx(100 / 6, rel=0.05)
    assert rates[3_600.0] == pytest.approx(100 / 12, rel=0.05)
    # What was before the first sample burnt nothing.
    assert rates[259_200.0] == pytest.approx(300 / 259_200 * 100, rel=0.05)


def test_what_is_older_than_the_longest_window_is_forgotten() -> None:
    """The log of a flow does not grow for ever, and a window without samples has no rate."""
    log = FreshnessLog(rates=[BurnRate(60.0, 5.0, 14.4, 0.02, urgent=True)])
    for second in range(600):
        log.add(second * SECOND_US, met=1, missed=0)

    assert len(log._slots) <= 61
    assert log.burn_rates(600 * SECOND_US) == {5.0: 0.0, 60.0: 0.0}
    assert log.burn_rates(10_000 * SECOND_US) == {}
