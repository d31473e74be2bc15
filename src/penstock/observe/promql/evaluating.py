"""A query worked out at the times of a grid. Each part gives values at all times at once, so that a week is as quick to
ask as a moment.

It differs from Prometheus in one thing: what is not a number (0/0) is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TypeAlias

import numpy as np
import promql_parser as promql

from penstock.errors import QueryError
from penstock.observe.promql.aggregating import aggregated
from penstock.observe.promql.functions import INSTANT, SCALAR
from penstock.observe.promql.histograms import histogram_quantile
from penstock.observe.promql.joining import ARITHMETIC, COMPARISONS, Meeting, joined, set_joined, with_scalar
from penstock.observe.promql.parsing import Query, matchers_of
from penstock.observe.promql.relabelling import relabelled
from penstock.observe.promql.series import NAME, Floats, Grid, MatchKind, Series, SeriesStore, Vector
from penstock.observe.promql.windows import KEEPS_NAME, RANGE

__all__ = ["LOOKBACK_US", "evaluate"]

LOOKBACK_US = 5 * 60 * 1_000_000
"""A series without a sample for so long is not there, as in Prometheus."""

Result: TypeAlias = Vector | Floats
_SETS = ("and", "or", "unless")
_MANY = {"VectorMatchCardinality.ManyToOne": "left", "VectorMatchCardinality.OneToMany": "right"}


def evaluate(query: Query, store: SeriesStore, grid: Grid, *, lookback_us: int = LOOKBACK_US) -> Vector:
    """The series of the query with their values at the grid's times; a plain number is one series without labels.

    Raises QueryError where series meet that may not, and what the store raises.
    """
    found = _Evaluation(store, grid, lookback_us).of(query.tree)
    if not isinstance(found, Vector):
        return Vector((({}, found),))
    return Vector(tuple((labels, values) for labels, values in found.rows if not np.isnan(values).all()))


class _Evaluation:
    """One query at one grid."""

    def __init__(self, store: SeriesStore, grid: Grid, lookback_us: int) -> None:
        self._store = store
        self._grid = grid
        self._lookback_us = lookback_us

    def of(self, tree: promql.Expr) -> Result:
        """The value of a part."""
        if isinstance(tree, promql.NumberLiteral):
            return np.full(self._grid.count, float(tree.val))
        if isinstance(tree, promql.ParenExpr):
            return self.of(tree.expr)
        if isinstance(tree, promql.UnaryExpr):
            return self._negated(self.of(tree.expr))
        if isinstance(tree, promql.VectorSelector):
            return self._instant(tree)
        if isinstance(tree, promql.AggregateExpr):
            return self._aggregate(tree)
        if isinstance(tree, promql.BinaryExpr):
            return self._binary(tree)
        if isinstance(tree, promql.Call):
            return self._call(tree)
        raise QueryError(f"{tree} has no value by itself", hint="put a window into a function: rate(x[5m])")

    def _vector(self, tree: promql.Expr) -> Vector:
        found = self.of(tree)
        assert isinstance(found, Vector)  # the parser checks the types
        return found

    def _numbers(self, tree: promql.Expr) -> Floats:
        found = self.of(tree)
        assert not isinstance(found, Vector)
        return found

    @staticmethod
    def _negated(found: Result) -> Result:
        if isinstance(found, Vector):
            return Vector(tuple((_nameless(labels), -values) for labels, values in found.rows))
        return -found

    # --- samples ------------------------------------------------------------------------------------------------------

    def _select(self, selector: promql.VectorSelector, back_us: int) -> tuple[list[Series], int]:
        """The series and by how much their times are moved."""
        offset_us = _us(selector.offset)
        first = self._grid.start_us - offset_us - back_us
        found = self._store.select(matchers_of(selector), first, self._grid.end_us - offset_us)
        return list(found), offset_us

    def _instant(self, selector: promql.VectorSelector) -> Vector:
        series, offset_us = self._select(selector, self._lookback_us)
        times_us = self._grid.times_us - offset_us
        rows = []
        for one in series:
            if not len(one.times_us):
                continue
            at = np.searchsorted(one.times_us, times_us, "right") - 1
            fresh = (at >= 0) & (times_us - one.times_us[at] < self._lookback_us)
            rows.append((one.labels, np.where(fresh, one.values[at], np.nan)))
        return Vector(tuple(rows))

    def _windows(self, name: str, selector: promql.MatrixSelector, parameter: float) -> Vector:
        range_us = _us(selector.range)
        series, offset_us = self._select(selector.vector_selector, range_us)
        ends_us = self._grid.times_us - offset_us
        keep = name in KEEPS_NAME
        return Vector(
            tuple(
                (one.labels if keep else _nameless(one.labels), RANGE[name](one, ends_us, range_us, parameter))
                for one in series
            )
        )

    # --- functions ----------------------------------------------------------------------------------------------------

    def _call(self, tree: promql.Call) -> Result:
        name, arguments = tree.func.name, tree.args
        if name in SCALAR:
            return SCALAR[name](self._grid)
        if name in RANGE:
            window = next(one for one in arguments if isinstance(one, promql.MatrixSelector))
            numbers = [self._numbers(one) for one in arguments if not isinstance(one, promql.MatrixSelector)]
            return self._windows(name, window, float(numbers[0][0]) if numbers else 0.0)
        if name in ("absent", "absent_over_time"):
            return self._absent(name, arguments[0])
        if name == "vector":
            return Vector((({}, self._numbers(arguments[0])),))
        if name == "scalar":
            rows = [values for _, values in self._vector(arguments[0]).rows if not np.isnan(values).all()]
            return rows[0] if len(rows) == 1 else np.full(self._grid.count, np.nan)
        if name == "histogram_quantile":
            return histogram_quantile(self._numbers(arguments[0]), self._vector(arguments[1]))
        if name == "label_replace":
            return self._relabelled(tree)
        function, defaults = INSTANT[name]
        given = [self._numbers(one) for one in arguments[1:]]
        further = given or [np.full(self._grid.count, number) for number in defaults]
        vector = self._vector(arguments[0])
        with np.errstate(all="ignore"):  # the logarithm of nothing is not there
            return Vector(tuple((_nameless(labels), function(values, *further)) for labels, values in vector.rows))

    def _absent(self, name: str, argument: promql.Expr) -> Vector:
        """1 at the times at which there is nothing, with the labels that the selector demands."""
        if name == "absent":
            found, selector = self._vector(argument), argument
        else:
            assert isinstance(argument, promql.MatrixSelector)
            found, selector = self._windows("present_over_time", argument, 0.0), argument.vector_selector
        there = np.zeros(self._grid.count, bool)
        for _, values in found.rows:
            there |= ~np.isnan(values)
        labels: dict[str, str] = {}
        if isinstance(selector, promql.VectorSelector):
            equal = [one for one in matchers_of(selector) if one.kind is MatchKind.EQUAL and one.label != NAME]
            labels = {one.label: one.value for one in equal}
        return Vector(((labels, np.where(there, np.nan, 1.0)),))

    def _relabelled(self, tree: promql.Call) -> Vector:
        to, replacement, source, pattern = (str(getattr(one, "val", "")) for one in tree.args[1:])
        return relabelled(self._vector(tree.args[0]), to, replacement, source, pattern)

    def _aggregate(self, tree: promql.AggregateExpr) -> Vector:
        by = tree.modifier is None or tree.modifier.type == promql.AggModifierType.By
        names = () if tree.modifier is None else tuple(tree.modifier.labels)
        parameter = np.zeros(self._grid.count) if tree.param is None else self._numbers(tree.param)
        return aggregated(self._vector(tree.expr), str(tree.op), names, by=by, parameter=parameter)

    # --- operators ----------------------------------------------------------------------------------------------------

    def _binary(self, tree: promql.BinaryExpr) -> Result:
        operator, left, right = str(tree.op), self.of(tree.lhs), self.of(tree.rhs)
        as_bool = tree.modifier is not None and tree.modifier.return_bool
        if isinstance(left, Vector) and isinstance(right, Vector):
            meeting = _meeting(tree)
            if operator in _SETS:
                return set_joined(operator, left, right, meeting)
            return joined(operator, left, right, meeting, as_bool=as_bool)
        if isinstance(left, Vector):
            assert not isinstance(right, Vector)
            return with_scalar(operator, left, right, scalar_first=False, as_bool=as_bool)
        if isinstance(right, Vector):
            return with_scalar(operator, right, left, scalar_first=True, as_bool=as_bool)
        with np.errstate(all="ignore"):  # as between series: 1/0 is infinite
            found: Floats = {**ARITHMETIC, **COMPARISONS}[operator](left, right).astype(np.float64)
        return found


def _meeting(tree: promql.BinaryExpr) -> Meeting:
    modifier = tree.modifier
    if modifier is None:
        return Meeting()
    matching = modifier.matching
    labels = () if matching is None else tuple(matching.labels)
    on = matching is not None and matching.type == promql.LabelModifierType.Include
    many = _MANY.get(str(modifier.card), "")
    return Meeting(labels, on, many, tuple(modifier.group_labels or ()))


def _nameless(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != NAME}


def _us(length: timedelta | None) -> int:
    return 0 if length is None else round(length.total_seconds() * 1e6)
