"""Metrics of an author's own: named at the top of a module, counted inside steps, committed with the epoch.

What a step counts goes into a `Recorder` of the epoch that runs, and with it into the epoch's record in the ledger: an
epoch that runs again counts once, and one that is never committed (a shadow's, a trial's) counts nothing. Outside of an
epoch nothing is counted.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from penstock.errors import DefinitionError

__all__ = [
    "LABEL_SETS_MAX",
    "OTHER",
    "Metric",
    "MetricKind",
    "Recorder",
    "Tries",
    "metric",
    "recording",
    "unrecorded",
]

LABEL_SETS_MAX = 100
"""So many sets of label values of one metric are told apart; what comes beyond is counted under `OTHER`."""
OTHER = "other"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,79}")
_RESERVED = frozenset({"project", "env", "flow", "le", "quantile"})
_LABELS_MAX = 5
_VALUE_CHARS = 120
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LOG = logging.getLogger("penstock.metrics")

Series: TypeAlias = dict[tuple[str, ...], Any]
"""By label values: a number; of a histogram the counts by bucket, one more for all that is larger, then the sum."""


class MetricKind(StrEnum):
    """How the numbers of a metric come together."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of an author's. Made by `penstock.metric`; its methods are called inside steps.

    A counter is only ever raised (`inc`), a gauge is what it was `set` to last, a histogram counts what it is given
    (`observe`) by `buckets`, which are upper bounds.
    """

    name: str
    kind: MetricKind
    labels: tuple[str, ...] = ()
    help: str = ""
    buckets: tuple[float, ...] = ()

    def inc(self, amount: float = 1.0, **labels: object) -> None:
        """Raise a counter. Raises DefinitionError for a negative amount, labels that it does not have, another kind."""
        self._must_be(MetricKind.COUNTER, "inc")
        if not (amount >= 0 and math.isfinite(amount)):
            raise DefinitionError(f"the counter {self.name!r} can't be raised by {amount!r}", hint="use kind='gauge'")
        key = self._key(labels)
        recorder = _current()
        if recorder is not None:
            recorder.add(self, key, float(amount))

    def set(self, value: float, **labels: object) -> None:
        """Say what a gauge is now: the last word of the newest epoch counts. Raises DefinitionError as `inc`."""
        self._must_be(MetricKind.GAUGE, "set")
        number = self._number(value)
        key = self._key(labels)
        recorder = _current()
        if recorder is not None:
            recorder.put(self, key, number)

    def observe(self, value: float | Iterable[float | None], **labels: object) -> None:
        """Count a value, or each of a column's that is not null, in a histogram. Raises DefinitionError as `inc`."""
        self._must_be(MetricKind.HISTOGRAM, "observe")
        values = value if isinstance(value, Iterable) else (value,)
        numbers = [self._number(one) for one in values if one is not None]
        key = self._key(labels)
        recorder = _current()
        if recorder is not None:
            recorder.count(self, key, numbers)

    def _number(self, value: float) -> float:
        number = float(value)
        if not math.isfinite(number):
            raise DefinitionError(f"the {self.kind} {self.name!r} can't be told {value!r}", hint="leave it out")
        return number

    def _must_be(self, kind: MetricKind, method: str) -> None:
        if self.kind is not kind:
            ways = {MetricKind.COUNTER: "inc", MetricKind.GAUGE: "set", MetricKind.HISTOGRAM: "observe"}
            raise DefinitionError(
                f"the metric {self.name!r} is a {self.kind}; {method}() is for a {kind}",
                hint=f"use {ways[self.kind]}(), or kind={kind.value!r}",
            )

    def _key(self, labels: Mapping[str, object]) -> tuple[str, ...]:
        if len(labels) != len(self.labels) or any(name not in labels for name in self.labels):
            raise DefinitionError(
                f"the metric {self.name!r} has the labels {list(self.labels)}, not {list(labels)}",
                hint="give each of them once",
            )
        return tuple(str(labels[name])[:_VALUE_CHARS] for name in self.labels)


def metric(
    name: str,
    *,
    kind: Literal["counter", "gauge", "histogram"] = "counter",
    labels: Iterable[str] = (),
    help: str = "",  # noqa: A002 - what Prometheus calls it
    buckets: Iterable[float] | None = None,
) -> Metric:
    """A metric of your own, named at the top of your module and used inside steps; told as `penstock_user_<name>`.

        rejected = ps.metric("orders_rejected", labels=["reason"], help="Orders that we do not take.")
        ...
        rejected.inc(3, reason="no price")

    `labels`: at most 5; beyond 100 sets of their values, what comes is counted as `other`: a key of rows is no label.
    `buckets`: upper bounds of a histogram. Raises DefinitionError.
    """
    given = tuple(labels)
    bounds = tuple(float(bound) for bound in (_BUCKETS if buckets is None else buckets))
    wrong = _fault(name, kind, given, bounds)
    if wrong:
        raise DefinitionError(f"the metric {name!r:.100} {wrong}")
    known = MetricKind(kind)
    return Metric(name, known, given, " ".join(help.split()), bounds if known is MetricKind.HISTOGRAM else ())


def _fault(name: str, kind: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> str | None:
    if not _NAME.fullmatch(name):
        return "can't be called so: small letters, digits and '_', starting with a letter, at most 80"
    if kind not in [one.value for one in MetricKind]:
        return f"has the kind {kind!r}: use one of {', '.join(MetricKind)}"
    if name.endswith(("_total", "_bucket", "_count", "_sum")):
        return f"ends with {name.rpartition('_')[2]!r}, which is put behind the name where it belongs: leave it out"
    bad = [label for label in labels if not _NAME.fullmatch(label) or label in _RESERVED]
    if bad:
        return f"can't have the label {bad[0]!r}: small letters, digits and '_', and none of {sorted(_RESERVED)}"
    if len(set(labels)) != len(labels) or len(labels) > _LABELS_MAX:
        return f"has the labels {list(labels)}: at most {_LABELS_MAX}, each once"
    if not buckets or list(buckets) != sorted(set(buckets)) or not all(map(math.isfinite, buckets)):
        return f"has the buckets {list(buckets)}: they must be numbers that grow"
    return None


class Recorder:
    """What the metrics of one epoch came to. Safe to use from several threads, as Polars runs functions in its own."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[Metric, Series]] = {}
        self._lock = threading.Lock()
        self.changes = 0
        """Grows with whatever is counted."""
        self._marked: tuple[int, dict[str, tuple[Metric, Series]]] = (0, {})

    def add(self, of: Metric, key: tuple[str, ...], amount: float) -> None:
        """Raise a counter."""
        with self._lock:
            series, key = self._series(of, key)
            series[key] = series.get(key, 0.0) + amount

    def put(self, of: Metric, key: tuple[str, ...], value: float) -> None:
        """Set a gauge."""
        with self._lock:
            series, key = self._series(of, key)
            series[key] = value

    def count(self, of: Metric, key: tuple[str, ...], values: Iterable[float]) -> None:
        """Count values in a histogram."""
        with self._lock:
            series, key = self._series(of, key)
            counts = list(series.get(key) or [0] * (len(of.buckets) + 1) + [0.0])
            for value in values:
                counts[bisect_left(of.buckets, value)] += 1
                counts[-1] += value
            series[key] = counts

    def _series(self, of: Metric, key: tuple[str, ...]) -> tuple[Series, tuple[str, ...]]:
        self.changes += 1
        _, series = self._values.setdefault(of.name, (of, {}))
        if key not in series and len(series) >= LABEL_SETS_MAX:
            _warn_once(of.name)
            key = (OTHER,) * len(key)
        return series, key

    def mark(self) -> dict[str, tuple[Metric, Series]]:
        """Where the numbers stand, for `back_to`; cheap where nothing was counted since the last mark."""
        with self._lock:
            if self._marked[0] != self.changes:
                self._marked = (self.changes, {name: (of, dict(series)) for name, (of, series) in self._values.items()})
            return self._marked[1]

    def back_to(self, mark: Mapping[str, tuple[Metric, Series]]) -> None:
        """Forget what was counted since `mark`: it was of a try that failed."""
        with self._lock:
            self.changes += 1
            self._values = {name: (of, dict(series)) for name, (of, series) in mark.items()}

    def as_json(self) -> dict[str, Any]:
        """By name of metric: `kind`, `labels`, `help`, `buckets`, and `values` as pairs of label values and number."""
        with self._lock:
            return {
                name: {
                    "kind": of.kind.value,
                    "labels": list(of.labels),
                    "help": of.help,
                    **({"buckets": list(of.buckets)} if of.buckets else {}),
                    "values": [[list(key), value] for key, value in sorted(series.items())],
                }
                for name, (of, series) in self._values.items()
            }


_WARNED: set[str] = set()


def _warn_once(name: str) -> None:
    if name not in _WARNED:
        _WARNED.add(name)
        _LOG.warning(
            "the metric %r has more than %d sets of label values; the others are counted under %r",
            name,
            LABEL_SETS_MAX,
            OTHER,
        )


_RECORDER: ContextVar[Recorder | None] = ContextVar("penstock_recorder", default=None)
_SILENT: ContextVar[bool] = ContextVar("penstock_unrecorded", default=False)
_AT_WORK: list[Recorder] = []
"""Those of the epochs that run: a thread of Polars has no context, and finds the only one of its process here."""


def _current() -> Recorder | None:
    if _SILENT.get():
        return None
    found = _RECORDER.get()
    if found is not None:
        return found
    return _AT_WORK[0] if len(_AT_WORK) == 1 and threading.current_thread() is not threading.main_thread() else None


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Inside, what steps count goes to `recorder`."""
    token = _RECORDER.set(recorder)
    _AT_WORK.append(recorder)
    try:
        yield
    finally:
        _AT_WORK.remove(recorder)
        _RECORDER.reset(token)


@contextmanager
def unrecorded() -> Iterator[None]:
    """Inside, nothing is counted: what runs is asked a second time."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


class Tries:
    """For who tries the author's code row after row: what a try counted is forgotten where it fails."""

    __slots__ = ("_changes", "_mark", "_recorder")

    def __init__(self) -> None:
        self._recorder = _current()
        self._changes = -1
        self._mark: Mapping[str, tuple[Metric, Series]] = {}

    def begin(self) -> None:
        """Remember where the numbers stand. Costs next to nothing where nothing was counted since the last time."""
        recorder = self._recorder
        if recorder is not None and recorder.changes != self._changes:
            self._mark, self._changes = recorder.mark(), recorder.changes

    def undo(self) -> None:
        """Forget what was counted since `begin`."""
        recorder = self._recorder
        if recorder is not None and recorder.changes != self._changes:
            recorder.back_to(self._mark)
