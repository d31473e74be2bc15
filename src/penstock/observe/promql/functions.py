"""Functions of values at one time: `clamp_min(x, 0)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from penstock.observe.promql.series import Floats, Grid

__all__ = ["INSTANT", "SCALAR"]


def _rounded(values: Floats, to: Floats) -> Floats:
    return np.floor(values / to + 0.5) * to


def _one_hot(values: Floats) -> Floats:
    return np.ones_like(values)


INSTANT: Mapping[str, tuple[Callable[..., Floats], tuple[float, ...]]] = MappingProxyType(
    {
        "abs": (np.abs, ()),
        "ceil": (np.ceil, ()),
        "floor": (np.floor, ()),
        "sqrt": (np.sqrt, ()),
        "exp": (np.exp, ()),
        "ln": (np.log, ()),
        "log2": (np.log2, ()),
        "log10": (np.log10, ()),
        "sgn": (np.sign, ()),
        "round": (_rounded, (1.0,)),
        "clamp": (np.clip, ()),
        "clamp_min": (np.maximum, ()),
        "clamp_max": (np.minimum, ()),
        "group": (_one_hot, ()),
    }
)
"""By name: the function of a vector's values and of further numbers, and the numbers where they are left out."""

SCALAR: Mapping[str, Callable[[Grid], Floats]] = MappingProxyType(
    {
        "time": lambda grid: grid.times_us / 1e6,
        "pi": lambda grid: np.full(grid.count, np.pi),
    }
)
"""Functions of the time alone."""
