"""Which rows of a batch can be among the first n of their group at all: a cheap look before the costly sort."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

__all__ = ["contenders"]


def contenders(rows: pl.DataFrame, groups: Sequence[str], by: str, n: int, *, descending: bool) -> pl.DataFrame:
    """The rows that are not behind the n-th best of their group in the first order column `by`, in their order.

    Rows without a value stay: they rank last, and may be needed where a group has few rows.
    """
    if rows.height <= n or _has_nan(rows[by]):
        return rows
    value = pl.col(by)
    if n == 1:
        best = (value.max() if descending else value.min()).over(groups)
    else:
        best = (value.top_k(n).min() if descending else value.bottom_k(n).max()).over(groups)
    ahead = value >= best if descending else value <= best
    return rows.filter(ahead.fill_null(value=True))


def _has_nan(values: pl.Series) -> bool:
    """NaN sorts above every number but is no maximum: leave such a batch to the sort."""
    return values.dtype.is_float() and bool(values.is_nan().any())
