"""Durations: what people write, and how they are shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DefinitionError
from penstock.flow import duration_text, duration_us


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("250ms", 250_000),
        ("10s", 10_000_000),
        ("1.5s", 1_500_000),
        ("1h30m", 5_400_000_000),
        ("2d", 172_800_000_000),
        ("1w", 604_800_000_000),
        ("7us", 7),
        (" -1h ", -3_600_000_000),
        ("0s", 0),
        (timedelta(minutes=2, microseconds=3), 120_000_003),
        (timedelta(seconds=-1), -1_000_000),
    ],
)
def test_durations_are_microseconds(text: str | timedelta, expected_us: int) -> None:
    """A text with units or a timedelta is so many microseconds."""
    assert duration_us(text) == expected_us


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "1h 30m", "ten seconds", "10x", "--1s", "1h-30m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """An error names what the duration is for, and shows the form."""
    with pytest.raises(DefinitionError) as caught:
        duration_us(text, what="lateness")

    assert str(caught.value) == (
        f'lateness {text!r} is no duration\n  next:  numbers with a unit of us, ms, s, m, h, d or w, e.g. "1h30m"'
    )


@pytest.mark.parametrize("text", ["1001w1000000d", "-400000d", "9" * 90 + "us", "9" * 5_000 + "d"])
def test_a_duration_leads_to_no_time_without_a_name(text: str) -> None:
    """A thousand years is the most, back and forth: a calendar ends at year 1 and at 9999."""
    with pytest.raises(DefinitionError, match=r"is longer than 1,000 years|is no duration"):
        duration_us(text)


def test_a_bare_number_is_no_duration() -> None:
    """A number without a unit is refused: nobody knows whether it means seconds."""
    wrong: Any = 10

    with pytest.raises(DefinitionError, match=r"^lateness is 10\n"):
        duration_us(wrong, what="lateness")


@pytest.mark.parametrize(
    ("value_us", "expected"),
    [
        (0, "0s"),
        (90_000_000, "1m30s"),
        (-3_600_000_000, "-1h"),
        (1, "1us"),
        (604_800_000_000, "7d"),
        (1_500, "1ms500us"),
    ],
)
def test_durations_are_shown_as_short_as_can_be(value_us: int, expected: str) -> None:
    """The text names only the units that are needed."""
    assert duration_text(value_us) == expected


@given(st.integers(min_value=-(10**16), max_value=10**16))
def test_what_is_shown_reads_back(value_us: int) -> None:
    """Reading the text of a duration gives the same duration."""
    assert duration_us(duration_text(value_us)) == value_us
