"""The oracle: a query's SQL run by DuckDB over whole tables, and the comparison of its rows with ours as multisets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import polars as pl

from benchmarks.nexmark.query import Query

__all__ = ["answer", "difference", "without"]

_SHOWN = 5
_RELATIVE = 1e-12


def answer(query: Query, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What DuckDB says to `query` over `tables` (by the names of topics)."""
    with duckdb.connect(":memory:", config={"threads": "2"}) as session:
        session.execute("set timezone = 'UTC'")
        for name, frame in tables.items():
            session.register(name, frame.to_arrow())
        return pl.DataFrame(session.sql(query.oracle).to_arrow_table())


def difference(ours: pl.DataFrame, theirs: pl.DataFrame, *, quotients: Sequence[str] = ()) -> str | None:
    """None where both hold the same rows, each as often; else what is missing and what is too much.

    The order of rows and of columns does not count, nor does the width of an integer. `quotients` may differ in their
    last bits.
    """
    if set(ours.columns) != set(theirs.columns):
        return f"columns {sorted(ours.columns)} instead of {sorted(theirs.columns)}"
    columns = sorted(ours.columns)
    exact = [column for column in columns if column not in quotients]
    left, right = (_plain(frame.select(columns)).sort(exact) for frame in (ours, theirs))
    if left.schema != right.schema:
        return f"types {left.schema} instead of {right.schema}"
    missing, extra = without(right, left, exact), without(left, right, exact)
    if not missing.is_empty() or not extra.is_empty():
        return (
            f"{len(ours)} rows instead of {len(theirs)}; {len(missing)} missing, {len(extra)} too many\n"
            f"missing: {missing.head(_SHOWN).rows(named=True)}\ntoo many: {extra.head(_SHOWN).rows(named=True)}"
        )
    for column in quotients:
        far = (left[column] - right[column]).abs() > _RELATIVE * right[column].abs()
        if far.any():
            return f"column {column}: {left.filter(far).head(_SHOWN)} instead of {right.filter(far).head(_SHOWN)}"
    return None


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Integers as 64 bits, times as microseconds without a zone."""
    return frame.with_columns(
        pl.selectors.integer().cast(pl.Int64),
        pl.selectors.datetime().dt.replace_time_zone(None).cast(pl.Datetime("us")),
    )


def without(frame: pl.DataFrame, other: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The rows of `frame` that are not in `other`, or more often in `frame`."""
    number = pl.int_range(pl.len()).over(columns).alias("_nth")
    left, right = frame.select(*columns, number), other.select(*columns, number)
    return left.join(right, on=[*columns, "_nth"], how="anti", nulls_equal=True).drop("_nth")
