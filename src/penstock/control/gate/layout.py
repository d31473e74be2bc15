"""The columns in which rows of two versions are compared, and the types as which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
from polars.exceptions import PolarsError

from penstock.control.gate.row_diff import ColumnDiff

__all__ = ["Layout", "layout_of", "merged"]

_UNITS = ("ms", "us", "ns")


@dataclass(frozen=True, slots=True)
class Layout:
    """The compared columns with one type for both sides, and what differs between them."""

    types: Mapping[str, pl.DataType] = field(default_factory=dict)
    diff: ColumnDiff = field(default_factory=ColumnDiff)

    @property
    def columns(self) -> tuple[str, ...]:
        """The compared columns, in the old version's order."""
        return tuple(self.types)

    def fit(self, frame: pl.DataFrame, *also: str) -> pl.DataFrame:
        """The compared columns of a frame with the common types, null where it lacks one; and `also` as they are."""
        return frame.with_columns(
            (pl.col(name) if name in frame.columns else pl.lit(None).alias(name)).cast(dtype)
            for name, dtype in self.types.items()
        ).select(*self.types, *also)


def layout_of(old: pl.Schema | None, new: pl.Schema | None) -> Layout:
    """How rows of these schemas compare; a side that is not known yet (None) is taken to be like the other.

    A column that both have is compared as the type that holds both, or as text where there is none; nested types that
    no type holds are left out (`ColumnDiff.uncompared`).
    """
    first, second = old if old is not None else new, new if new is not None else old
    if first is None or second is None:
        return Layout()
    both = [name for name in first if name in second]
    found = {name: _common_type(first[name], second[name]) for name in both}
    retyped = {name: (str(first[name]), str(second[name])) for name in both if first[name] != second[name]}
    return Layout(
        types={name: dtype for name, dtype in found.items() if dtype is not None},
        diff=ColumnDiff(
            added={name: str(dtype) for name, dtype in second.items() if name not in first},
            removed={name: str(dtype) for name, dtype in first.items() if name not in second},
            retyped=retyped,
            uncompared=tuple(name for name, dtype in found.items() if dtype is None),
        ),
    )


def merged(known: pl.Schema | None, seen: pl.Schema) -> pl.Schema:
    """The schema of one side after another frame of it: a column keeps its place, types widen."""
    if known is None or known == seen:
        return seen
    types = dict(known)
    for name, dtype in seen.items():
        types[name] = dtype if name not in types else _common_type(types[name], dtype) or pl.String()
    return pl.Schema(types)


def _common_type(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """The type as which values of two types compare; None where there is none."""
    named = (pl.Categorical, pl.Enum)
    if isinstance(one, named) or isinstance(other, named):
        # Categories are compared by their names: their numbers differ from process to process.
        return pl.String() if not (one.is_nested() or other.is_nested()) else None
    if one == other:
        return one
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime):
        unit = max(one.time_unit, other.time_unit, key=_UNITS.index)
        # A time with a zone is an instant, kept in UTC; a time without one is taken for UTC.
        return pl.Datetime(unit, one.time_zone if one.time_zone == other.time_zone else None)
    try:
        frames = [pl.DataFrame(schema={"x": dtype}) for dtype in (one, other)]
        found = pl.concat(frames, how="vertical_relaxed").schema["x"]
    except PolarsError:
        found = pl.String()
    nested = one.is_nested() or other.is_nested()
    return None if nested and not found.is_nested() else found
