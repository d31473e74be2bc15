"""Gaps between visible outputs, and what a handover adds to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["percentile", "usual_ms", "worst_ms"]


def usual_ms(commits_s: NDArray[np.float64], first_s: float, last_s: float) -> float:
    """The median gap between commits in a span."""
    inside = commits_s[(commits_s >= first_s) & (commits_s <= last_s)]
    return float(np.median(np.diff(inside)) * 1_000)


def worst_ms(commits_s: NDArray[np.float64], first_s: float, last_s: float) -> float:
    """The longest gap that ends in a span, in ms."""
    ends = commits_s[1:]
    gaps = np.diff(commits_s)[(ends >= first_s) & (ends <= last_s)]
    return float(gaps.max() * 1_000)


def percentile(values: Sequence[float], share: float) -> float:
    """A percentile as one of the values: of twenty, the 99th is the largest."""
    return round(float(np.quantile(np.array(values), share, method="higher")), 1)
