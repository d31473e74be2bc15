"""Many series to few: `sum by (flow) (x)`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np

from penstock.observe.promql.series import NAME, Floats, Vector, label_key

__all__ = ["AGGREGATIONS", "aggregated", "kept_labels"]


def _quiet(function: Callable[..., Floats]) -> Callable[[Floats, Floats], Floats]:
    def over(stacked: Floats, _: Floats) -> Floats:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a time at which no series has a value
            return function(stacked, axis=0)

    return over


def _sum(stacked: Floats, _: Floats) -> Floats:
    return np.where(np.isnan(stacked).all(axis=0), np.nan, np.nansum(stacked, axis=0))


def _count(stacked: Floats, _: Floats) -> Floats:
    there = np.count_nonzero(~np.isnan(stacked), axis=0).astype(np.float64)
    return np.where(there == 0, np.nan, there)


def _group(stacked: Floats, _: Floats) -> Floats:
    return np.where(np.isnan(stacked).all(axis=0), np.nan, 1.0)


def _quantile(stacked: Floats, share: Floats) -> Floats:
    least, most = np.full(stacked.shape[1], -np.inf), np.full(stacked.shape[1], np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        inside = np.nanquantile(stacked, float(np.clip(share[0], 0, 1)), axis=0)
    return least if share[0] < 0 else most if share[0] > 1 else inside


def _ranked(stacked: Floats, count: Floats, *, largest: bool) -> Floats:
    """The values that are among the first; NaN in the place of others."""
    order = np.argsort(-stacked if largest else stacked, axis=0, kind="stable")  # NaN goes last either way
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(len(stacked))[:, None].repeat(stacked.shape[1], 1), axis=0)
    return np.where(place < count, stacked, np.nan)


AGGREGATIONS: Mapping[str, Callable[[Floats, Floats], Floats]] = MappingProxyType(
    {
        "sum": _sum,
        "count": _count,
        "group": _group,
        "avg": _quiet(np.nanmean),
        "min": _quiet(np.nanmin),
        "max": _quiet(np.nanmax),
        "stddev": _quiet(np.nanstd),
        "stdvar": _quiet(np.nanvar),
        "quantile": _quantile,
        "topk": lambda stacked, count: _ranked(stacked, count, largest=True),
        "bottomk": lambda stacked, count: _ranked(stacked, count, largest=False),
    }
)
"""By name: values of the series of a group, (series, times), and a parameter at the times, to values at the times; of
`topk` and `bottomk` to (series, times) again."""


def kept_labels(labels: Mapping[str, str], names: Iterable[str], *, by: bool) -> dict[str, str]:
    """The labels that `by (names)` or `without (names)` leaves."""
    chosen = set(names)
    if by:
        return {name: value for name, value in labels.items() if name in chosen and value}
    return {name: value for name, value in labels.items() if name not in chosen and name != NAME}


def aggregated(vector: Vector, kind: str, names: Iterable[str], *, by: bool, parameter: Floats) -> Vector:
    """The groups' values, groups in the order of their first series."""
    chosen = tuple(names)
    groups: dict[tuple[tuple[str, str], ...], list[tuple[Mapping[str, str], Floats]]] = {}
    for labels, values in vector.rows:
        groups.setdefault(label_key(kept_labels(labels, chosen, by=by)), []).append((labels, values))
    rows: list[tuple[Mapping[str, str], Floats]] = []
    for key, members in groups.items():
        found = AGGREGATIONS[kind](np.vstack([values for _, values in members]), parameter)
        if kind in ("topk", "bottomk"):
            rows += [(labels, found[at]) for at, (labels, _) in enumerate(members)]
        else:
            rows.append((dict(key), found))
    return Vector(tuple(rows))
