"""Text to timestamps, by columns: ISO 8601 and epoch numbers. What is neither is told, never a silent null.

Every row is judged by itself - no format is guessed from its neighbours - so a range that is read in other pieces
gives the same values.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

__all__ = ["to_dates", "to_datetimes"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
TimeUnit: TypeAlias = Literal["ms", "us", "ns"]

BLOCK_ROWS = 16_384
"""Rows that are worked on at once: small enough that everything stays in the processor's cache."""

PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
ZONE_LENGTHS = tuple(len(zone) for zone in ("", "Z", "+hh", "+hhmm", "+hh:mm"))
DATE_LENGTH, MINUTE_LENGTH, SECOND_LENGTH = 10, 16, 19
MAX_FRACTION = 9
MONTHS = 12
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
"""0001-01-01 and the end of 9999, in seconds since 1970."""
NANOSECOND_REACH_S = 9_223_286_400
"""Seconds around 1970 that 64 bits of nanoseconds hold, less a day: 1677 to 2262."""

EPOCH_NUMBER = r"^(-?[0-9]{9,19})(\.[0-9]{1,9})?$"
"""Fewer digits are no epoch time but a year, a count or a mistake."""
EPOCH_UNITS = (
    (0, 10**11, 1),
    (10**11, 10**14, 10**3),
    (10**14, 10**17, 10**6),
    (10**17, 2**63 - 1, 10**9),
)
"""Size of a number from, below, and how many of its unit are a second."""


def to_datetimes(text: pl.Series, unit: str = "us", zone: str | None = None) -> pl.Series:
    """`text` as `Datetime(unit, zone)`, null where it is null or no timestamp.

    Understood: `2024-01-31`, `2024-01-31T10:00`, `2024-01-31 10:00:00.123456789`, each with `Z`, `+01`, `+0100` or
    `+01:00` at the end; a time without a zone is UTC. Numbers of 9 digits or more are time since 1970: up to 11
    digits seconds, up to 14 milliseconds, up to 17 microseconds, else nanoseconds.
    """
    values, known = _parse(text, PER_SECOND[unit], SHAPES)
    if not known.all():
        rest = np.flatnonzero(~known)
        values[rest], known[rest] = _numbers(text.gather(rest), PER_SECOND[unit])
    return _with_nulls(pl.Series(text.name, values), known).cast(pl.Datetime(_unit(unit), zone))


def to_dates(text: pl.Series) -> pl.Series:
    """`text` (`2024-01-31`) as `Date`, null where it is null or no date."""
    seconds, known = _parse(text, 1, {DATE_LENGTH: [(0, 0)]})
    return _with_nulls(pl.Series(text.name, (seconds // 86_400).astype(np.int32)), known).cast(pl.Date)


def _unit(unit: str) -> TimeUnit:
    return "ms" if unit == "ms" else "ns" if unit == "ns" else "us"


def _with_nulls(values: pl.Series, known: Mask) -> pl.Series:
    if known.all():
        return values
    return values.zip_with(pl.Series(known), pl.Series(values.name, [None], dtype=values.dtype))


def _shapes() -> dict[int, list[tuple[int, int]]]:
    """Length of a text -> what it may be: (digits of the fraction, or -1 without seconds; length of the zone)."""
    shapes: dict[int, list[tuple[int, int]]] = {DATE_LENGTH: [(0, 0)]}
    for zone in ZONE_LENGTHS:
        shapes.setdefault(MINUTE_LENGTH + zone, []).append((-1, zone))
        for digits in range(MAX_FRACTION + 1):
            length = SECOND_LENGTH + (digits + 1 if digits else 0) + zone
            shapes.setdefault(length, []).append((digits, zone))
    return shapes


SHAPES = _shapes()
MAX_LENGTH = max(SHAPES)


@cache
def _calendar() -> tuple[npt.NDArray[np.int32], Bytes]:
    """For each month of the years 0 to 9999 (year 0: 366 days too many, never asked): first day since 1970; length."""
    months = np.arange("0000-01", "10000-02", dtype="datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int32)
    return days[:-1], np.diff(days).astype(np.uint8)


def _parse(text: pl.Series, per_second: int, shapes: dict[int, list[tuple[int, int]]]) -> tuple[Ints, Mask]:
    """Ticks since 1970 of every row, and which rows were a timestamp."""
    strings = text.to_arrow(compat_level=pl.CompatLevel.oldest())
    if not isinstance(strings, pa.LargeStringArray):
        raise TypeError(f"timestamps are parsed from strings, not {text.dtype}")
    _, offsets_buffer, data_buffer = strings.buffers()
    count = len(strings)
    values = np.zeros(count, np.int64)
    known = np.zeros(count, np.bool_)
    if not count or data_buffer is None or offsets_buffer is None:
        return values, known
    offsets = np.frombuffer(memoryview(offsets_buffer), np.int64)[strings.offset : strings.offset + count + 1]
    data = np.frombuffer(memoryview(data_buffer), np.uint8)
    lengths = np.diff(offsets)
    if lengths.min() == lengths.max() and len(shapes.get(int(lengths[0]), ())) > 0:
        length = int(lengths[0])
        for begin in range(0, count, BLOCK_ROWS):
            here = slice(begin, min(begin + BLOCK_ROWS, count))
            square = data[offsets[begin] : offsets[here.stop]].reshape(-1, length)
            values[here], known[here] = _block(np.ascontiguousarray(square.T), shapes[length][0], per_second)
        if known.all():
            return values, known
    for length in np.flatnonzero(np.bincount(np.minimum(lengths, MAX_LENGTH + 1))).tolist():
        for shape in shapes.get(length, ()):
            rows = np.flatnonzero((lengths == length) & ~known)
            for begin in range(0, len(rows), BLOCK_ROWS):
                block = rows[begin : begin + BLOCK_ROWS]
                letters = data[offsets[block][None, :] + np.arange(length)[:, None]]
                values[block], known[block] = _block(letters, shape, per_second)
    return values, known


def _block(letters: Bytes, shape: tuple[int, int], per_second: int) -> tuple[Ints, Mask]:
    """One block of texts of one length, as a matrix: a row of `letters` holds the letter at that place of each text."""
    fraction, zone = shape
    good = (letters[4] == ord("-")) & (letters[7] == ord("-"))
    years = _pair(letters, 0, good).astype(np.int32) * 100 + _pair(letters, 2, good)
    month, day = _pair(letters, 5, good), _pair(letters, 8, good)
    good &= (years > 0) & (month > 0) & (month <= MONTHS)
    firsts, sizes = _calendar()
    index = np.where(good, years * MONTHS + month - 1, 0)
    good &= (day > 0) & (day <= sizes[index])
    seconds = (firsts[index] + day - 1).astype(np.int64) * 86_400
    if len(letters) == DATE_LENGTH:
        good &= _within(seconds, per_second)
        return seconds * per_second, good
    between = letters[10]
    good &= (between == ord("T")) | (between == ord(" ")) | (between == ord("t"))
    good &= letters[13] == ord(":")
    hour, minute = _pair(letters, 11, good), _pair(letters, 14, good)
    good &= (hour < 24) & (minute < 60)  # noqa: PLR2004 - a day has 24 hours
    in_day = hour.astype(np.int32) * 3600 + minute.astype(np.int32) * 60
    if fraction >= 0:
        good &= letters[16] == ord(":")
        second = _pair(letters, 17, good)
        good &= second < 60  # noqa: PLR2004 - leap seconds do not exist in Unix time
        in_day += second
    if zone:
        in_day -= _zone(letters[len(letters) - zone :], good)
    seconds += in_day
    good &= _within(seconds, per_second)
    ticks = seconds * per_second
    if fraction > 0:
        ticks += _fraction(letters[SECOND_LENGTH : SECOND_LENGTH + 1 + fraction], per_second, good)
    return ticks, good


def _within(seconds: Ints, per_second: int) -> Mask:
    """Whether times are in the years 1 to 9999, and the unit can hold them."""
    if per_second == PER_SECOND["ns"]:
        return np.abs(seconds) < NANOSECOND_REACH_S
    return (seconds >= FIRST_SECOND) & (seconds <= LAST_SECOND)


def _pair(letters: Bytes, place: int, good: Mask) -> Bytes:
    """The number of the two digits at `place`; takes the mark of `good` from rows that have none there."""
    tens, ones = letters[place] - ord("0"), letters[place + 1] - ord("0")
    good &= (tens <= 9) & (ones <= 9)  # noqa: PLR2004 - unsigned: what is below "0" is far above 9
    number: Bytes = tens * 10 + ones
    return number


def _zone(letters: Bytes, good: Mask) -> Ints:
    """Seconds east of Greenwich."""
    if len(letters) == 1:
        good &= (letters[0] == ord("Z")) | (letters[0] == ord("z"))
        return np.zeros(letters.shape[1], np.int64)
    west = letters[0] == ord("-")
    good &= west | (letters[0] == ord("+"))
    hour = _pair(letters, 1, good)
    minute = np.zeros_like(hour)
    if len(letters) > 3:  # noqa: PLR2004 - "+hh" and no minutes
        minute = _pair(letters, len(letters) - 2, good)
    if len(letters) == len("+hh:mm"):
        good &= letters[3] == ord(":")
    good &= (hour < 24) & (minute < 60)  # noqa: PLR2004 - a day has 24 hours
    east = hour.astype(np.int64) * 3600 + minute.astype(np.int64) * 60
    return np.where(west, -east, east)


def _fraction(letters: Bytes, per_second: int, good: Mask) -> Ints:
    """The ticks of `.123`: digits beyond the unit are cut off."""
    good &= (letters[0] == ord(".")) | (letters[0] == ord(","))
    ticks = np.zeros(letters.shape[1], np.int64)
    weight = per_second
    for row in letters[1:]:
        digit = row - ord("0")
        good &= digit <= 9  # noqa: PLR2004 - unsigned: what is below "0" is far above 9
        weight //= 10
        if weight:
            ticks += digit.astype(np.int64) * weight
    return ticks


def _numbers(text: pl.Series, per_second: int) -> tuple[Ints, Mask]:
    """Epoch numbers: the count of digits tells the unit."""
    found = pl.DataFrame({"text": text}).select(
        pl.col("text").str.extract(EPOCH_NUMBER, 1).cast(pl.Int64, strict=False).alias("whole"),
        pl.col("text").str.extract(EPOCH_NUMBER, 2).str.pad_end(10, "0").str.slice(1).cast(pl.Int64).alias("nanos"),
    )
    known = found["whole"].is_not_null().to_numpy()
    whole = found["whole"].fill_null(0).to_numpy()
    nanos = np.where(whole < 0, -1, 1) * found["nanos"].fill_null(0).to_numpy()
    size = np.abs(whole)
    values = np.zeros(len(whole), np.int64)
    for least, below, unit_per_second in EPOCH_UNITS:
        mine = known & (size >= least) & (size < below)
        if unit_per_second >= per_second:
            values[mine] = whole[mine] // (unit_per_second // per_second)
        else:
            factor = per_second // unit_per_second
            known &= ~mine | (size < (2**63 - 1) // factor)
            mine &= known
            values[mine] = whole[mine] * factor
        if unit_per_second == 1:
            values[mine] += nanos[mine] // (PER_SECOND["ns"] // per_second)
    return values, known & (values >= FIRST_SECOND * per_second if per_second < PER_SECOND["ns"] else known)
