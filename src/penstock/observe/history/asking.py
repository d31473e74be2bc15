"""Questions to records: a value for each step of time, by a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from penstock.observe.history.records import Records
from penstock.observe.promql.histograms import bucket_quantile

__all__ = ["FUNCTIONS", "Grid", "MetricSeries", "SeriesAnswer", "bucket_quantiles", "stepped"]

Floats: TypeAlias = npt.NDArray[np.float64]

FUNCTIONS = ("last", "avg", "max", "rate", "increase", "quantile")
"""What a value may be of the samples of a step."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of time, half open: the first begins at `start_us`."""

    start_us: int
    step_us: int
    steps: int

    @property
    def end_us(self) -> int:
        """Where the last one ends."""
        return self.start_us + self.step_us * self.steps

    @property
    def times_us(self) -> list[int]:
        """Where each begins."""
        return [self.start_us + self.step_us * place for place in range(self.steps)]


@dataclass(frozen=True, slots=True, eq=False)
class MetricSeries:
    """The values of one series, one for each step; NaN where there was no sample."""

    labels: Mapping[str, str]
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class SeriesAnswer:
    """What a question came to. A time is the beginning of its step."""

    name: str
    function: str
    step_s: float
    times_us: Sequence[int]
    series: Sequence[MetricSeries]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where there was no sample."""
        return {
            "name": self.name,
            "function": self.function,
            "step_s": self.step_s,
            "times_us": list(self.times_us),
            "series": [
                {
                    "labels": dict(one.labels),
                    "values": [value if math.isfinite(value) else None for value in one.values.tolist()],
                }
                for one in self.series
            ],
        }


def stepped(records: Records, grid: Grid, function: str, quantile: float) -> Floats:
    """The value of each step. Records before the first step say what came before, as rates need."""
    found = np.full(grid.steps, np.nan)
    inside = (records.at_us >= grid.start_us) & (records.at_us < grid.end_us)
    if not inside.any():
        return found
    slots = (records.at_us[inside] - grid.start_us) // grid.step_us
    first = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])
    found[slots[first]] = _OF_STEPS[function](_Steps(records, inside, first, quantile))
    return found


@dataclass(frozen=True, slots=True)
class _Steps:
    """Records of steps that have any: `first` says where each step's begin."""

    records: Records
    inside: npt.NDArray[np.bool_]
    first: npt.NDArray[np.intp]
    quantile: float

    def column(self, name: str) -> Floats:
        column: Floats = getattr(self.records, name)[self.inside]
        return column

    def added(self, values: Floats) -> Floats:
        total: Floats = np.add.reduceat(values, self.first)
        return total


def _last(steps: _Steps) -> Floats:
    values = steps.column("last")
    return values[np.r_[steps.first[1:] - 1, len(values) - 1]]


def _avg(steps: _Steps) -> Floats:
    return steps.added(steps.column("total")) / steps.added(steps.column("count"))


def _max(steps: _Steps) -> Floats:
    highest: Floats = np.maximum.reduceat(steps.column("high"), steps.first)
    return highest


def _increase(steps: _Steps) -> Floats:
    return steps.added(steps.column("increase"))


def _rate(steps: _Steps) -> Floats:
    """By the time between samples; over a gap it is the mean of the gap. The very first sample has no rate."""
    at_us = steps.records.at_us
    spans_s = np.r_[0.0, np.diff(at_us) / 1e6][steps.inside]
    passed_s = steps.added(spans_s)
    grew = steps.added(np.where(spans_s > 0, steps.column("increase"), 0.0))
    rates: Floats = np.divide(grew, passed_s, out=np.full(len(passed_s), np.nan), where=passed_s > 0)
    return rates


def _quantile(steps: _Steps) -> Floats:
    values = steps.column("total") / steps.column("count")
    parts = np.split(values, steps.first[1:])
    return np.array([np.quantile(part, steps.quantile) for part in parts])


_OF_STEPS: Mapping[str, Callable[[_Steps], Floats]] = {
    "last": _last,
    "avg": _avg,
    "max": _max,
    "increase": _increase,
    "rate": _rate,
    "quantile": _quantile,
}


def bucket_quantiles(bounds: Sequence[float], counts: Floats, quantile: float) -> Floats:
    """The quantile of a histogram by step, as Prometheus' `histogram_quantile` estimates it: evenly within a bucket.

    `bounds`: upper ones, growing, infinity last. `counts`: a row for each bound of how many are at most that, by step.
    """
    upper = np.array(bounds)
    known = np.where(np.isnan(counts[-1]), np.nan, np.nan_to_num(counts))  # a bucket that nobody filled has none
    return np.array([bucket_quantile(quantile, upper, known[:, place]) for place in range(counts.shape[1])])
