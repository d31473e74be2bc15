"""Rows as Python dicts and back, for the author's row-wise functions: column by column, and honest about bad rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import is_
from typing import Any

import polars as pl

from penstock.engine.isolate import Refused
from penstock.flow import Tries

__all__ = ["dicts_of", "flat_mapped", "frame_of", "mapped"]


_CHUNK_ROWS = 4_096
"""Rows that are Python objects at a time: few enough for the cache, and no work for the garbage collector."""


def dicts_of(frame: pl.DataFrame) -> Iterable[dict[str, Any]]:
    """The rows of a frame as dicts. Columns are turned into lists first: several times faster than row by row."""
    names = frame.columns
    for part in frame.iter_slices(_CHUNK_ROWS):
        for values in zip(*(series.to_list() for series in part), strict=True):
            yield dict(zip(names, values, strict=True))


def mapped(
    function: Callable[[dict[str, Any]], Mapping[str, Any] | None], frame: pl.DataFrame, schema: pl.Schema
) -> tuple[pl.DataFrame, Refused]:
    """`function` on every row; None drops the row; a row that raises, or gives a row of other columns, is refused."""
    frames: list[pl.DataFrame] = [schema.to_frame()]
    refused: Refused = []
    for first in range(0, frame.height, _CHUNK_ROWS):
        built, wrong = _mapped_chunk(function, frame.slice(first, _CHUNK_ROWS), schema)
        frames.append(built)
        refused.extend((first + position, error) for position, error in wrong)
    return pl.concat(frames), refused


def _mapped_chunk(
    function: Callable[[dict[str, Any]], Mapping[str, Any] | None], frame: pl.DataFrame, schema: pl.Schema
) -> tuple[pl.DataFrame, Refused]:
    names = frame.columns
    columns = {series.name: series.to_list() for series in frame}
    rows = zip(*columns.values(), strict=True)
    tries = Tries()
    try:
        # The usual case first, without a thought for what may go wrong: a chunk is done again where it does.
        tries.begin()
        out = [function(dict(zip(names, values))) for values in rows]  # noqa: B905 - strict costs a tenth here
        if any(map(_is_none, out)):
            return _rebuilt([row for row in out if row is not None], schema), []
        # A list or a struct may have been changed in place: only plain values are the same where the object is.
        given = {
            name: frame[name]
            for name in names
            if schema.get(name) == frame.schema[name] and not frame.schema[name].is_nested()
        }
        return _rebuilt(out, schema, columns, given), []
    except Exception:  # the epoch loop's boundary to the author's code
        tries.undo()
        return _mapped_carefully(function, frame, schema)


_is_none = partial(is_, None)


def _rebuilt(
    rows: Sequence[Any],
    schema: pl.Schema,
    before: Mapping[str, list[Any]] | None = None,
    given: Mapping[str, pl.Series] | None = None,
) -> pl.DataFrame:
    """Rows as a frame; a column that the function passed on untouched is the one that came in (`given`).

    Raises KeyError, TypeError, OverflowError or a PolarsError where a row does not fit.
    """
    if any(len(row) != len(schema) for row in rows):
        raise KeyError("other columns than the schema's")
    columns = []
    for name, dtype in schema.items():
        values = [row[name] for row in rows]
        if given and before and name in given and all(map(is_, values, before[name])):
            columns.append(given[name])
        else:
            columns.append(pl.Series(name, values, dtype=dtype, strict=True))
    return pl.DataFrame(columns)


def _mapped_carefully(
    function: Callable[[dict[str, Any]], Mapping[str, Any] | None], frame: pl.DataFrame, schema: pl.Schema
) -> tuple[pl.DataFrame, Refused]:
    """Row by row: rows that raise are refused, None drops a row."""
    out: list[Any] = []
    places: list[int] = []
    refused: Refused = []
    tries = Tries()
    for position, row in enumerate(dicts_of(frame)):
        try:
            tries.begin()
            result = function(row)
        except MemoryError:  # no row is to blame for the machine
            raise
        except Exception as error:  # the epoch loop's boundary to the author's code
            tries.undo()
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
    tries = Tries()
    for position, row in enumerate(dicts_of(frame)):
        try:
            tries.begin()
            results = list(function(row) or ())
        except MemoryError:  # no row is to blame for the machine
            raise
        except Exception as error:  # the epoch loop's boundary to the author's code
            tries.undo()
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
    """Rows as a frame of exactly this schema; those that do not fit are found by halving, left out and named."""
    refused: Refused = []

    def attempt(part: Sequence[Any], first: int) -> list[pl.DataFrame]:
        try:
            return [_rebuilt(part, schema)]
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError, pl.exceptions.PolarsError) as error:
            if len(part) == 1:
                refused.append((first, _explained(part[0], schema, error)))
                return []
        half = len(part) // 2
        return attempt(part[:half], first) + attempt(part[half:], first + half)

    frames = attempt(rows, 0)
    return (pl.concat(frames) if frames else schema.to_frame()), refused


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
