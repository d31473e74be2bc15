"""Functions over the samples of a window: `rate(x[5m])`. As Prometheus 2 has them, extrapolation included
(https://github.com/prometheus/prometheus, promql/functions.go, `extrapolatedRate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from penstock.observe.promql.series import Floats, Series, Times

__all__ = ["KEEPS_NAME", "RANGE", "RangeFunction", "quantile"]

RangeFunction: TypeAlias = Callable[[Series, Times, int, float], Floats]
"""Values at the ends of windows: the series, the ends, the length of a window in microseconds, a parameter."""

_EXTRAPOLATE_UP_TO = 1.1
"""A window's edge farther from the next sample than this many average distances is not reached by extrapolation."""


def _bounds(series: Series, ends_us: Times, range_us: int) -> tuple[Times, Times]:
    """The samples of each window, as places: from the first, to before the second."""
    times = series.times_us
    return np.searchsorted(times, ends_us - range_us, "left"), np.searchsorted(times, ends_us, "right")


def _extrapolated(series: Series, ends_us: Times, range_us: int, _: float, *, counter: bool, per_s: bool) -> Floats:
    low, high = _bounds(series, ends_us, range_us)
    found = np.full(len(ends_us), np.nan)
    enough = high - low >= 2  # noqa: PLR2004 - a change takes two samples
    if not enough.any():
        return found
    first, last = low[enough], high[enough] - 1
    times, values = series.times_us, series.values
    gained = values[last] - values[first]
    if counter:
        began = np.flatnonzero(np.diff(values) < 0)  # a sample that a lower one follows: the counter began anew
        from_, to = np.searchsorted(began, first, "left"), np.searchsorted(began, last, "left")
        for at in np.flatnonzero(to > from_):  # few; running sums over all would leave a crumb where nothing was gained
            gained[at] += values[began[from_[at] : to[at]]].sum()
    sampled_s = (times[last] - times[first]) / 1e6
    between_s = sampled_s / (last - first)
    before_s = (times[first] - (ends_us[enough] - range_us)) / 1e6
    after_s = (ends_us[enough] - times[last]) / 1e6
    reach_s = between_s * _EXTRAPOLATE_UP_TO
    if counter:  # a counter was never below zero: no further back than there
        with np.errstate(divide="ignore", invalid="ignore"):
            to_zero_s = np.where((gained > 0) & (values[first] >= 0), sampled_s * values[first] / gained, np.inf)
        before_s = np.minimum(before_s, to_zero_s)
    before_s = np.where(before_s < reach_s, before_s, between_s / 2)
    after_s = np.where(after_s < reach_s, after_s, between_s / 2)
    grown = gained * (sampled_s + before_s + after_s) / sampled_s
    found[enough] = grown / (range_us / 1e6) if per_s else grown
    return found


def _each(
    series: Series, ends_us: Times, range_us: int, parameter: float, *, of: Callable[[Times, Floats, int, float], float]
) -> Floats:
    """The function of each window's samples; NaN for a window without one."""
    found = np.full(len(ends_us), np.nan)
    low, high = _bounds(series, ends_us, range_us)
    for at in np.flatnonzero(high > low):
        window = slice(low[at], high[at])
        found[at] = of(series.times_us[window], series.values[window], int(ends_us[at]), parameter)
    return found


def quantile(values: Floats, share: float) -> float:
    """The quantile of values, between two of them in proportion; beyond 0 and 1 infinite, as in Prometheus."""
    if share < 0 or share > 1:
        return float("-inf") if share < 0 else float("inf")
    return float(np.quantile(values, share))


def _slope(times_us: Times, values: Floats) -> tuple[float, float]:
    """Slope per second and value at the last sample's time of the least squares line."""
    seconds = (times_us - times_us[-1]) / 1e6
    centre = seconds.mean()
    spread = float(((seconds - centre) ** 2).sum())
    slope = float(((seconds - centre) * (values - values.mean())).sum()) / spread
    return slope, float(values.mean() - slope * centre)


def _deriv(times_us: Times, values: Floats, _end_us: int, _: float) -> float:
    return _slope(times_us, values)[0] if len(values) > 1 else float("nan")


def _predicted(times_us: Times, values: Floats, end_us: int, ahead_s: float) -> float:
    if len(values) < 2:  # noqa: PLR2004 - a line takes two points
        return float("nan")
    slope, last = _slope(times_us, values)
    return last + slope * (ahead_s + (end_us - int(times_us[-1])) / 1e6)


def _instant(times_us: Times, values: Floats, *, rate: bool) -> float:
    if len(values) < 2:  # noqa: PLR2004 - a change takes two samples
        return float("nan")
    gained = values[-1] - values[-2]
    if not rate:
        return float(gained)
    gained = values[-1] if gained < 0 else gained
    return float(gained / ((times_us[-1] - times_us[-2]) / 1e6))


def _one(of: Callable[[Times, Floats, int, float], float]) -> RangeFunction:
    return partial(_each, of=of)


RANGE: Mapping[str, RangeFunction] = MappingProxyType(
    {
        "rate": partial(_extrapolated, counter=True, per_s=True),
        "increase": partial(_extrapolated, counter=True, per_s=False),
        "delta": partial(_extrapolated, counter=False, per_s=False),
        "irate": _one(lambda times, values, _end, _p: _instant(times, values, rate=True)),
        "idelta": _one(lambda times, values, _end, _p: _instant(times, values, rate=False)),
        "deriv": _one(_deriv),
        "predict_linear": _one(_predicted),
        "avg_over_time": _one(lambda _t, values, _end, _p: float(values.mean())),
        "min_over_time": _one(lambda _t, values, _end, _p: float(values.min())),
        "max_over_time": _one(lambda _t, values, _end, _p: float(values.max())),
        "sum_over_time": _one(lambda _t, values, _end, _p: float(values.sum())),
        "count_over_time": _one(lambda _t, values, _end, _p: float(len(values))),
        "last_over_time": _one(lambda _t, values, _end, _p: float(values[-1])),
        "present_over_time": _one(lambda _t, _v, _end, _p: 1.0),
        "stddev_over_time": _one(lambda _t, values, _end, _p: float(values.std())),
        "changes": _one(lambda _t, values, _end, _p: float(np.count_nonzero(np.diff(values)))),
        "resets": _one(lambda _t, values, _end, _p: float(np.count_nonzero(np.diff(values) < 0))),
        "quantile_over_time": _one(lambda _t, values, _end, share: quantile(values, share)),
    }
)
"""By name. `quantile_over_time` takes its parameter before the window, `predict_linear` after it."""

KEEPS_NAME = frozenset({"last_over_time"})
"""What gives values of the same metric; all others give something new, without its name."""
