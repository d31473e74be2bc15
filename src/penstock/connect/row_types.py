"""From what a text format can carry to the declared types: which type to parse as, and what to convert afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from penstock.connect.timestamps import to_dates, to_datetimes
from penstock.errors import SchemaError

__all__ = ["Conversion", "Misfit", "json_conversion", "text_conversion"]

PARSED_WELL = (pl.Boolean, pl.Int32, pl.Int64, pl.UInt32, pl.UInt64, pl.Float32, pl.Float64, pl.String, pl.Null)
"""Types that Polars parses from JSON strictly and quickly."""
SMALL_INTEGERS = (pl.Int8, pl.Int16, pl.UInt8, pl.UInt16)
BY_TEXT = (pl.Datetime, pl.Date, pl.Time, pl.Decimal, pl.Int128, pl.Categorical, pl.Enum)
TRUTHS = {
    "true": True,
    "false": False,
    "True": True,
    "False": False,
    "TRUE": True,
    "FALSE": False,
    "1": True,
    "0": False,
}
SHOWN = 120


@dataclass(frozen=True, slots=True)
class Misfit:
    """A row (by its number in the frame) whose value is not of the column's type."""

    row: int
    error: str


class Conversion:
    """Turns a frame as it was parsed into one of the declared types, and names the rows that don't fit."""

    def __init__(self, declared: pl.Schema, parsed: Mapping[str, pl.DataType]) -> None:
        self.declared = declared
        self.parsed = pl.Schema(parsed)
        self._changed = [name for name, kind in declared.items() if self.parsed[name] != kind]

    def apply(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Misfit]]:
        """The frame with the declared types and without the misfits, and these, in the order of rows."""
        if not self._changed or frame.is_empty():
            return (frame if not self._changed else self.declared.to_frame()), []
        columns: list[pl.Series] = []
        bad: dict[int, str] = {}
        for name in self._changed:
            found = frame[name]
            converted = _convert(found, self.declared[name])
            columns.append(converted)
            if converted.null_count() != found.null_count():
                _note(bad, found, converted)
        whole = frame.with_columns(columns)
        if not bad:
            return whole, []
        keep = np.ones(frame.height, np.bool_)
        keep[list(bad)] = False
        return whole.filter(pl.Series(keep)), [Misfit(row, error) for row, error in sorted(bad.items())]


def _note(bad: dict[int, str], found: pl.Series, converted: pl.Series) -> None:
    """Add the rows that had a value before the conversion and have none after it."""
    lost: npt.NDArray[np.bool_] = (found.is_not_null() & converted.is_null()).to_numpy()
    for row in np.flatnonzero(lost).tolist():
        text = str(found[row])
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
        bad.setdefault(row, f"column {found.name!r}: {shown!r} is no {converted.dtype}")


def json_conversion(declared: pl.Schema) -> Conversion:
    """How JSON rows become `declared`. Raises SchemaError for a type that JSON can't carry."""
    return Conversion(declared, {name: _json_type(kind, name, nested=False) for name, kind in declared.items()})


def text_conversion(declared: pl.Schema) -> Conversion:
    """How a row of texts (CSV) becomes `declared`. Raises SchemaError for a type that a CSV can't carry."""
    for name, kind in declared.items():
        if not isinstance(kind, (*PARSED_WELL, *SMALL_INTEGERS, *BY_TEXT)):
            raise SchemaError(f"column {name!r}: a CSV file can't hold {kind}", hint="declare pl.String")
    return Conversion(declared, dict.fromkeys(declared, pl.String()))


def _json_type(kind: pl.DataType, column: str, *, nested: bool) -> pl.DataType:
    """What to parse a column as, so that a wrong value is an error or survives until it can be judged."""
    if isinstance(kind, PARSED_WELL):
        return kind
    if isinstance(kind, pl.List):
        return pl.List(_json_type(_inner(kind.inner), column, nested=True))
    if isinstance(kind, pl.Struct):
        return pl.Struct({one.name: _json_type(_inner(one.dtype), column, nested=True) for one in kind.fields})
    if isinstance(kind, SMALL_INTEGERS):
        # At the top Polars 2.1 panics on them, inside a list or struct it checks them.
        return kind if nested else pl.Int64()
    if isinstance(kind, (pl.Datetime, pl.Date)) and nested:
        return kind
    if isinstance(kind, BY_TEXT) and (not nested or isinstance(kind, pl.Decimal)):
        return pl.String()
    if isinstance(kind, pl.Duration) and not nested:
        return pl.Int64()
    raise SchemaError(
        f"column {column!r}: JSON can't hold {kind} here", hint="declare pl.String and convert it in a step"
    )


def _inner(kind: object) -> pl.DataType:
    if isinstance(kind, pl.DataType):
        return kind
    if isinstance(kind, type) and issubclass(kind, pl.DataType):
        return kind()
    raise SchemaError(f"{kind!r} is no Polars type")


def _convert(found: pl.Series, kind: pl.DataType) -> pl.Series:
    """The column as `kind`, null where a value does not fit; nested columns raise instead."""
    if found.dtype == pl.String:
        return _from_text(found, kind)
    # Nested values: a strict cast raises, and the caller looks for the row by halves.
    return found.cast(kind, strict=found.dtype.is_nested())


def _from_text(text: pl.Series, kind: pl.DataType) -> pl.Series:
    if isinstance(kind, pl.Datetime):
        return to_datetimes(text, kind.time_unit, kind.time_zone)
    if isinstance(kind, pl.Date):
        return to_dates(text)
    if isinstance(kind, pl.Time):
        # A missing second is none; the format is fixed, never guessed from the first rows.
        return text.str.replace(r"^(\d\d:\d\d)$", "$1:00").str.to_time("%H:%M:%S%.f", strict=False)
    if isinstance(kind, pl.Boolean):
        return text.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)
    return text.cast(kind, strict=False)
