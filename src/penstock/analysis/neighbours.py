"""Expressions that look at other rows: over a stream they would see one epoch, and epochs are cut by time and size."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from penstock.analysis.faults import Here

__all__ = ["refuse_other_rows"]

_NODES = frozenset({"Agg", "Gather", "Len", "Over", "Rolling", "Slice", "Sort", "SortBy"})
_FUNCTIONS = frozenset(
    {
        *("ApproxNUnique", "ArgMax", "ArgMin", "ArgSort", "ArgUnique", "ArgWhere", "BottomK", "BottomKBy"),
        *("Correlation", "CumCount", "CumMax", "CumMin", "CumProd", "CumSum", "CumulativeEval", "Diff"),
        *("Entropy", "EwmMean", "EwmMeanBy", "EwmStd", "EwmVar", "Hist", "Interpolate", "InterpolateBy"),
        *("Kurtosis", "Mode", "NullCount", "PctChange", "PeakMax", "PeakMin", "Quantile", "RLE", "RLEID", "Random"),
        *("Rank", "Reverse", "RollingExpr", "RollingExprBy", "Shift", "ShiftAndFill", "Skew", "TopK", "TopKBy"),
        *("Unique", "UniqueCounts", "ValueCounts"),
        *("All", "Any", "IsDuplicated", "IsFirstDistinct", "IsLastDistinct", "IsUnique"),
    }
)
"""Functions of Polars whose value for a row depends on the rows around it."""
_LEAVES = frozenset({"Column", "Literal", "Selector"})
_FILLS_FROM_ROWS = frozenset({"Backward", "Forward", "Max", "Mean", "Min"})


def refuse_other_rows(here: Here[Any], expressions: list[tuple[str, pl.Expr]]) -> None:
    """Note expressions (by label) whose value for a row depends on which other rows are in the same epoch."""
    for label, expression in expressions:
        word = next(_other_rows(expression), None)
        if word is not None:
            here.fault(
                f"{label} looks at other rows ({word}), but would see only those that came in the same epoch, "
                "and where an epoch ends depends on speed",
                hint="aggregate with .window(...).agg(...) or .group_by(...).agg(...); "
                "to work on one batch as it comes, use .map_batches(...)",
            )


def _other_rows(expression: pl.Expr) -> Iterator[str]:
    if "python_udf()" in str(expression):
        return  # Polars can't show what is inside
    yield from _walk(json.loads(expression.meta.serialize(format="json")))


def _walk(node: Any) -> Iterator[str]:
    """The operations in an expression's tree that look at other rows."""
    if node == "Len":
        yield "len"
    elif isinstance(node, list):
        for item in node:
            yield from _walk(item)
    elif isinstance(node, dict):
        for name, inside in node.items():
            if name in _LEAVES:
                continue
            if name == "Function":
                yield from _function(inside["function"])
                yield from _walk(inside["input"])
            elif name == "Eval":  # a list inside one row
                yield from _walk(inside["expr"])
            elif name == "Alias":  # an expression and the name it is given
                yield from _walk(inside[0])
            else:
                if name in _NODES:
                    yield _spelled(next(iter(inside)) if name == "Agg" else name)
                yield from _walk(inside)


def _function(function: Any) -> Iterator[str]:
    name, options = (function, None) if isinstance(function, str) else next(iter(function.items()))
    if name == "Boolean":
        yield from _function(options)
    elif name == "FillNullWithStrategy":
        strategy = options if isinstance(options, str) else next(iter(options or ()))
        if strategy in _FILLS_FROM_ROWS:
            yield f"fill_null {strategy.lower()}"
    elif name in _FUNCTIONS:
        yield _spelled(name)


def _spelled(name: str) -> str:
    """As an author writes it: `CumSum` is `cum_sum`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
