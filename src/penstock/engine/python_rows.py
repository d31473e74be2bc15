"""Rows as Python dicts and back, for the author's row-wise functions: column by column, and honest about bad rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from penstock.engine.isolate import Refused

__all__ = ["dicts_of", "flat_mapped", "frame_of", "mapped"]


def dicts_of(frame: pl.DataFrame) -> Iterable[dict[str, Any]]:
    """The rows of a frame as dicts. Columns are turned into lists first: several times faster than row by row."""
    names = frame.columns
    for values in zip(*(series.to_list() for series in frame), strict=True):
        yield dict(zip(names, values, strict=True))


def mapped(
    function: Callable[[dict[str, Any]], Mapping[str, Any] | None], frame: pl.DataFrame, schema: pl.Schema
) -> tuple[pl.DataFrame, Refused]:
    """`function` on every row; None drops the row; a row that raises, or gives a row of other columns, is refused."""
    out: list[Any] = []
    places: list[int] = []
    refused: Refused = []
    for position, row in enumerate(dicts_of(frame)):
        try:
            result = function(row)
        except Exception as error:  # the epoch loop's boundary to the author's code
            refused.append((position, error))
            continue
        if result is not None:
            out.append(result)
            places.append(position)
    built, wrong = frame_of(out, schema)
    return built, refused + [(places[position], error) for position, error in wrong]


def flat_mapped(
    function: Callable[[dict[str, Any]], Iterable[Mapping[str, Any]] | None], frame: pl.DataFrame, schema: pl.Schema
) -> tuple[pl.DataFrame, Refused]:
    """`function` on every row, all rows that it gives; if one result of a row is bad, none of them stay."""
    out: list[Any] = []
    places: list[int] = []
    refused: Refused = []
    for position, row in enumerate(dicts_of(frame)):
        try:
            results = list(function(row) or ())
        except Exception as error:  # the epoch loop's boundary to the author's code
            refused.append((position, error))
            continue
        out.extend(results)
        places.extend([position] * len(results))
    built, wrong = frame_of(out, schema)
    if not wrong:
        return built, refused
    bad = {places[position]: error for position, error in wrong}
    good = [row for row, place in zip(out, places, strict=True) if place not in bad]
    built, _ = frame_of(good, schema)
    return built, refused + sorted(bad.items())


def frame_of(rows: Sequence[Any], schema: pl.Schema) -> tuple[pl.DataFrame, Refused]:
    """Rows as a frame of exactly this schema; those that do not fit are left out and named."""
    try:
        return _built(rows, schema), []
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError, pl.exceptions.PolarsError):
        pass
    good: list[Any] = []
    refused: Refused = []
    for position, row in enumerate(rows):
        try:
            _built([row], schema)
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError, pl.exceptions.PolarsError) as error:
            refused.append((position, _explained(row, schema, error)))
        else:
            good.append(row)
    return _built(good, schema), refused


def _built(rows: Sequence[Any], schema: pl.Schema) -> pl.DataFrame:
    width = len(schema)
    for row in rows:
        if len(row) != width:
            raise KeyError(row)
    columns = [pl.Series(name, [row[name] for row in rows], dtype=dtype, strict=True) for name, dtype in schema.items()]
    return pl.DataFrame(columns)


def _explained(row: Any, schema: pl.Schema, error: BaseException) -> BaseException:
    """What is wrong with a row, in words of columns."""
    if not isinstance(row, Mapping):
        return TypeError(f"the function gave a {type(row).__name__}, not a row (a dict) or None")
    missing = [name for name in schema if name not in row]
    unknown = [name for name in row if name not in schema]
    if missing or unknown:
        return KeyError(
            f"the row has the columns {list(row)}, the step's schema has {schema.names()}: "
            f"missing {missing}, unknown {unknown}"
        )
    for name, dtype in schema.items():
        try:
            pl.Series(name, [row[name]], dtype=dtype, strict=True)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            return TypeError(f"column {name!r} is {row[name]!r}, which is no {dtype}")
    return error
