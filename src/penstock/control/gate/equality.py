"""When two values are equal: null and null, NaN and NaN are; floats may differ by a tolerance where one is given.

With a tolerance t, floats a and b are equal where `|a - b| <= t * max(1, |a|, |b|)`: absolute for small numbers,
relative for large ones. It holds for columns of floats, not for floats inside lists and structs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

__all__ = [
    "Hashes",
    "buckets",
    "column_hashes",
    "differs",
    "mixed",
    "row_hashes",
    "total",
]

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]


def buckets(types: Mapping[str, pl.DataType], tolerance: float, *, shift: float = 0.0) -> list[pl.Expr]:
    """Expressions, one a column under its name: rows that agree in all of them are equal.

    Floats become the number of their bucket on a scale whose step is the tolerance at that size. Values in one bucket
    are within the tolerance; of those that are, most are in one bucket, and close ones that are not are so after
    another `shift`.
    """
    return [
        _bucket(pl.col(name), tolerance, shift).alias(name) if tolerance and dtype.is_float() else pl.col(name)
        for name, dtype in types.items()
    ]


def _bucket(value: pl.Expr, tolerance: float, shift: float) -> pl.Expr:
    wide = value.cast(pl.Float64)
    size = wide.abs()
    # The scale's slope is 1 / (t * max(1, |x|)): a step of one is a difference of at most the tolerance.
    place = pl.when(size <= 1).then(wide).otherwise(wide.sign() * (1 + size.log()))
    return (place / tolerance + shift).floor()


def differs(old: pl.Expr, new: pl.Expr, dtype: pl.DataType, tolerance: float) -> pl.Expr:
    """Whether two values are not equal; never null."""
    unequal = old.ne_missing(new)
    if not tolerance or not dtype.is_float():
        return unequal
    size = pl.max_horizontal(pl.lit(1.0), old.abs(), new.abs())
    close = ((old - new).abs() <= tolerance * size) & old.is_finite() & new.is_finite()
    return unequal & ~close.fill_null(value=False)


def column_hashes(frame: pl.DataFrame, types: Mapping[str, pl.DataType], tolerance: float) -> dict[str, Hashes]:
    """64 bits for each value of each column. Their sum over columns stands for a row, less some for a part of it."""
    hashed = frame.select(buckets(types, tolerance)).select(
        pl.col(name).hash(seed=position) for position, name in enumerate(types)
    )
    return {name: mixed(hashed[name].to_numpy()) for name in types}


def row_hashes(frame: pl.DataFrame, types: Mapping[str, pl.DataType], tolerance: float) -> Hashes:
    """64 bits for each row."""
    return total(list(column_hashes(frame, types, tolerance).values()), frame.height)


def total(hashes: Sequence[Hashes], height: int) -> Hashes:
    """The sum of hashes, modulo 2 ** 64."""
    found = np.zeros(height, dtype=np.uint64)
    for part in hashes:
        found += part
    return found


def mixed(values: Hashes) -> Hashes:
    """Spread over all bits (the last step of SplitMix64), so that sums of them do not collide by their pattern."""
    out = values ^ (values >> np.uint64(30))
    out *= np.uint64(0xBF58476D1CE4E5B9)
    out ^= out >> np.uint64(27)
    out *= np.uint64(0x94D049BB133111EB)
    out ^= out >> np.uint64(31)
    return out
