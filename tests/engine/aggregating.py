"""Aggregates beside what they mean in plain Python, for oracles."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl

Values: TypeAlias = Sequence[int | None]
Meaning: TypeAlias = Callable[[Values], Any]

V = pl.col("v")


def known(values: Values) -> list[int]:
    """The values that are not null."""
    return [value for value in values if value is not None]


def _spread(values: Values, ddof: int) -> float | None:
    there = known(values)
    if len(there) <= ddof:
        return None
    center = sum(there) / len(there)
    return sum((value - center) ** 2 for value in there) / (len(there) - ddof)


def _root(value: float | None) -> float | None:
    return None if value is None else value**0.5


def _mean(values: Values) -> float | None:
    there = known(values)
    return sum(there) / len(there) if there else None


def _large(values: Values) -> list[int]:
    return [value for value in known(values) if value > 1]


ANY_ORDER: Mapping[str, tuple[pl.Expr, Meaning]] = {
    "total": (V.sum(), lambda values: sum(known(values))),
    "mean": (V.mean(), _mean),
    "low": (V.min(), lambda values: min(known(values), default=None)),
    "high": (V.max(), lambda values: max(known(values), default=None)),
    "kinds": (V.n_unique(), lambda values: len(set(values))),
    "std": (V.std(), lambda values: _root(_spread(values, 1))),
    "var": (V.var(ddof=0), lambda values: _spread(values, 0)),
    "there": (V.count(), lambda values: len(known(values))),
    "rows": (pl.len(), len),
    "large": (V.filter(V > 1).sum(), lambda values: sum(_large(values))),
    "large_mean": (V.filter(V > 1).mean(), lambda values: _mean(_large(values))),
    "large_share": ((V > 1).mean(), lambda values: _mean([int(value > 1) for value in known(values)])),
    "per_row": ((V * 2).sum() / pl.len() + 1, lambda values: 2 * sum(known(values)) / len(values) + 1),
    "either": (
        pl.when(V > 1).then(10).otherwise(0).sum().cast(pl.Int64),
        lambda values: 10 * len(_large(values)),
    ),
}
"""Those that do not depend on the order of rows, and are taken apart."""
ORDERED: Mapping[str, tuple[pl.Expr, Meaning]] = {
    "first": (V.first(), lambda values: values[0]),
    "last": (V.last(), lambda values: values[-1]),
    "first_large": (V.filter(V > 1).first(), lambda values: next(iter(_large(values)), None)),
    "last_large": (V.filter(V > 1).last(), lambda values: next(reversed(_large(values)), None)),
}
WHOLE: Mapping[str, tuple[pl.Expr, Meaning]] = {
    "median": (V.median(), lambda values: statistics.median(known(values)) if known(values) else None),
    "rows": (pl.len(), len),
}
"""Those that need all rows at once."""
RETRACTABLE = ("total", "mean", "there", "rows", "kinds", "large", "large_mean", "per_row", "either")


def expressions(aggregates: Mapping[str, tuple[pl.Expr, Meaning]]) -> dict[str, Any]:
    """Name -> expression."""
    return {name: expression for name, (expression, _) in aggregates.items()}


def meaning(aggregates: Mapping[str, tuple[pl.Expr, Meaning]], values: Values) -> tuple[Any, ...]:
    """What the aggregates of these values are."""
    return tuple(of(values) for _, of in aggregates.values())
