"""Quantiles of histograms that were kept as counts of what is at most so much, as Prometheus estimates them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from penstock.observe.promql.series import NAME, Floats, Vector, label_key

__all__ = ["bucket_quantile", "histogram_quantile"]


def histogram_quantile(share: Floats, vector: Vector) -> Vector:
    """The quantile of each group of series that differ in `le` only; within a bucket values are taken to be even."""
    groups: dict[tuple[tuple[str, str], ...], list[tuple[float, Floats]]] = {}
    for labels, values in vector.rows:
        try:
            bound = float(labels.get("le", ""))
        except ValueError:
            continue  # no bucket
        rest: Mapping[str, str] = {name: value for name, value in labels.items() if name not in ("le", NAME)}
        groups.setdefault(label_key(rest), []).append((bound, values))
    rows = []
    for key, buckets in groups.items():
        buckets.sort(key=lambda one: one[0])
        bounds = np.array([bound for bound, _ in buckets])
        if np.isinf(bounds[-1]) and len(bounds) > 1:
            counts = np.vstack([values for _, values in buckets])
            rows.append(
                (dict(key), np.array([bucket_quantile(q, bounds, counts[:, at]) for at, q in enumerate(share)]))
            )
    return Vector(tuple(rows))


def bucket_quantile(share: float, bounds: Floats, counts: Floats) -> float:
    """The quantile of a histogram; NaN where none is known. `bounds` rise, infinity last."""
    if np.isnan(counts).any() or counts[-1] <= 0:
        return float("nan")
    if share < 0 or share > 1:
        return float("-inf") if share < 0 else float("inf")
    counts = np.maximum.accumulate(counts)
    rank = share * counts[-1]
    at = int(np.searchsorted(counts, rank, "left"))
    if at >= len(bounds) - 1:
        return float(bounds[-2])
    if at == 0 and bounds[0] <= 0:
        return float(bounds[0])
    below, before = (0.0, 0.0) if at == 0 else (float(bounds[at - 1]), float(counts[at - 1]))
    reached = (rank - before) / (float(counts[at]) - before)
    return float(below + (float(bounds[at]) - below) * reached)
