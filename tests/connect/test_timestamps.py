"""Timestamps by columns mean what Python's own parser says, each row by itself."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connect.timestamps import to_dates, to_datetimes

ZONES: Any = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))])
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=ZONES)  # noqa: DTZ001 - zones are drawn
TEXTS = st.builds(lambda moment, between: moment.isoformat(between), MOMENTS, st.sampled_from(["T", " "]))
JUNK = st.one_of(
    st.text(max_size=30),
    TEXTS.map(lambda text: text[:-1] + "x"),
    st.sampled_from(
        ["2023-02-29", "2024-13-01", "2024-00-10", "2024-01-01T24:00:00", "2024-01-01T00:60", "0000-01-01"]
    ),
)


def utc(text: str) -> datetime:
    """What Python says, in UTC, without a zone."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=40))
def test_iso_texts_are_parsed_as_python_parses_them(texts: list[str]) -> None:
    """Every form that `isoformat` writes, mixed in one column, gives the same moment."""
    assert to_datetimes(pl.Series(texts)).to_list() == [utc(text) for text in texts]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(TEXTS, JUNK, st.none()), max_size=30))
def test_a_row_is_judged_by_itself(texts: list[str | None]) -> None:
    """A row means the same alone and among others, good or bad."""
    together = to_datetimes(pl.Series(texts, dtype=pl.String)).to_list()
    assert together == [to_datetimes(pl.Series([text], dtype=pl.String))[0] for text in texts]


@settings(max_examples=100, deadline=None)
@given(st.dates(date(1, 1, 1)), st.sampled_from(["ms", "us"]))
def test_every_day_of_the_calendar(day: date, unit: str) -> None:
    """Days from the year 1 to 9999 are the days that they are."""
    text = pl.Series([day.isoformat()])
    assert to_dates(text)[0] == day
    assert to_datetimes(text, unit)[0].date() == day


@settings(max_examples=100, deadline=None)
@given(st.integers(-(10**11) + 1, 10**11 - 1))
def test_epoch_numbers_are_told_by_their_size(number: int) -> None:
    """Numbers of 9 to 11 digits are seconds; shorter ones are no time."""
    found = to_datetimes(pl.Series([str(number)]))[0]
    if abs(number) < 10**8 or number < -62_135_596_800:
        assert found is None
    else:
        assert found == datetime(1970, 1, 1) + timedelta(seconds=number)  # noqa: DTZ001 - the column has no zone


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "now",
        "2024",
        "12345678",
        "2024-01-01T",
        "2024-1-1",
        "01/02/2024",
        "2024-01-01T00:00:60",
        "1e9",
        "+1700000000",
    ],
)
def test_what_is_no_timestamp_is_null(text: str) -> None:
    """Nothing is guessed from what looks a little like a time."""
    assert to_datetimes(pl.Series([text]))[0] is None


def test_nanoseconds_out_of_reach_are_null() -> None:
    """A time that 64 bits of nanoseconds can't hold is told, not wrapped around."""
    texts = pl.Series(["1600-01-01", "2024-01-01T00:00:00.123456789", "2300-01-01", "99999999999"])
    assert to_datetimes(texts, "ns").cast(pl.Int64).to_list() == [None, 1_704_067_200_123_456_789, None, None]
