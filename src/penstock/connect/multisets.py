"""Rows as a multiset: which of them are in one frame and not in another, each as often as it is there."""

from __future__ import annotations

import polars as pl

__all__ = ["only_in"]


def only_in(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """The rows of `left` that `right` does not have, in their order; of equal rows those that are there more often.

    Exact: rows are compared by all their values, lists and structs included, never by a hash alone. Null equals null,
    NaN equals NaN, and 0.0 equals -0.0. Where columns or types differ (their order does not matter), no row is equal.
    """
    if dict(left.schema) != dict(right.schema):
        return left
    if left.is_empty() or right.is_empty():
        return left
    nth = "nth"
    while nth in left.columns:
        nth += "_"
    columns = left.columns
    numbered = pl.int_range(pl.len()).over(columns).alias(nth)
    return (
        left.with_columns(numbered)
        .join(
            right.select(columns).with_columns(numbered),
            on=[*columns, nth],
            how="anti",
            nulls_equal=True,
            maintain_order="left",
        )
        .drop(nth)
    )
