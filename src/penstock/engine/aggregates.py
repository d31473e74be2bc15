"""Polars aggregations, taken apart so that they can be kept up to date: partial, merge, finish.

`(pl.col("a") * 2).sum() / pl.len()` becomes two partials of a batch (a sum and a count), a way to merge partials of the
same key, and an expression over the merged columns that gives the author's result. This is the algebraic / distributive
classification of aggregates of Gray et al., "Data Cube" (1997). What can't be taken apart (a median, a rank) is
`None`: a window then keeps its rows, a running aggregation is refused.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import polars as pl

__all__ = ["Aggregation", "Partial", "PartialKind", "decompose"]

PartialKind: TypeAlias = Literal["sum", "min", "max", "first", "last", "set", "mean", "m2"]


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """One column that is kept: computed from a batch by `batch`, merged by its `kind`.

    `presence`: for first/last, the partial that counts the rows behind it; for mean and m2, the one that counts the
    values, and for m2 also `mean` (the merge of moments is that of Chan, Golub and LeVeque, 1979). `when`: for
    first/last by an order, the partial with the order of that row; without it, by the order of the partials.
    """

    column: str
    kind: PartialKind
    batch: pl.Expr
    presence: str = ""
    mean: str = ""
    when: str = ""
    members: pl.Expr | None = None
    """For a set: its members before repeated ones are dropped."""

    def merged(self) -> pl.Expr:
        """The merge of a group's partials, oldest first, as an aggregation."""
        column = pl.col(self.column)
        if self.kind == "sum":
            return column.sum()
        if self.kind == "min":
            return column.min()
        if self.kind == "max":
            return column.max()
        if self.kind in ("first", "last"):
            present = pl.col(self.presence) > 0
            there = column.filter(present)
            if self.when:
                there = there.sort_by(pl.col(self.when).filter(present), maintain_order=True)
            return (there.first() if self.kind == "first" else there.last()).alias(self.column)
        if self.kind == "set":
            return (
                column.list.explode(keep_nulls=False, empty_as_null=False)
                .unique(maintain_order=True)
                .alias(self.column)
            )
        count = pl.col(self.presence)
        mean = pl.col(self.mean or self.column)
        center = pl.when(count.sum() > 0).then((count * mean).sum() / count.sum())
        if self.kind == "mean":
            return center.alias(self.column)
        # Partials without values have no mean, and count for nothing; NaN among the values stays NaN.
        return (column.sum() + (count * (mean - center) ** 2).sum()).alias(self.column)

    def combined(self, sign: int = 1) -> pl.Expr:
        """The merge of an old partial (columns prefixed `old:`) with a new one, row by row; `sign` -1 takes it away."""
        old, new = pl.col(f"old:{self.column}"), pl.col(self.column)
        if self.kind == "sum":
            # No fill_null(0): a sum of durations has no 0 of that kind.
            return pl.coalesce(old + new if sign > 0 else old - new, old, new).alias(self.column)
        if self.kind == "min":
            return pl.min_horizontal(old, new).alias(self.column)
        if self.kind == "max":
            return pl.max_horizontal(old, new).alias(self.column)
        if self.kind in ("first", "last"):
            present = pl.col(f"old:{self.presence}" if self.kind == "first" else self.presence).fill_null(0) > 0
            earlier, later = (old, new) if self.kind == "first" else (new, old)
            return pl.when(present).then(earlier).otherwise(later).alias(self.column)
        if self.kind == "set":
            raise AssertionError("sets of a running aggregation are kept in a table of their own")
        return self._combined_moment(old, new)

    def _combined_moment(self, old: pl.Expr, new: pl.Expr) -> pl.Expr:
        n_old, n_new = pl.col(f"old:{self.presence}").fill_null(0), pl.col(self.presence)
        name = self.mean or self.column
        mean_old, mean_new = pl.col(f"old:{name}").fill_null(0.0), pl.col(name).fill_null(0.0)
        total = n_old + n_new
        if self.kind == "mean":
            return pl.when(total > 0).then((n_old * mean_old + n_new * mean_new) / total).alias(self.column)
        between = pl.when((n_old > 0) & (n_new > 0)).then((mean_old - mean_new) ** 2 * n_old * n_new / total)
        return (old.fill_null(0.0) + new.fill_null(0.0) + between.fill_null(0.0)).alias(self.column)


@dataclass(frozen=True, slots=True, eq=False)
class Aggregation:
    """All aggregates of one step, taken apart. `finish` and then `results` turn merged partials into the results."""

    partials: tuple[Partial, ...]
    finish: tuple[pl.Expr, ...]
    results: tuple[pl.Expr, ...]

    @property
    def retractable(self) -> bool:
        """Whether rows can be taken back out of the merged partials."""
        return all(partial.kind in ("sum", "set") for partial in self.partials)

    def finished(
        self, merged: pl.DataFrame, keep: Sequence[str], schema: Mapping[str, pl.DataType], *, counted: bool = False
    ) -> pl.DataFrame:
        """The author's results beside the columns `keep`, with the types of `schema`.

        `counted`: the partials of sets are numbers of members, not lists (a running aggregation keeps them apart).
        """
        finish = self.finish
        if counted:
            sets = {partial.column for partial in self.partials if partial.kind == "set"}
            finish = tuple(
                pl.col(names[0]).alias(expression.meta.output_name())
                if (names := expression.meta.root_names()) and names[0] in sets
                else expression
                for expression in finish
            )
        frame = merged.with_columns(finish) if finish else merged
        return frame.select(
            *keep, *(expression.cast(schema[expression.meta.output_name()]) for expression in self.results)
        )


def decompose(aggregates: Mapping[str, pl.Expr], schema: pl.Schema, *, order: str = "") -> Aggregation | None:
    """Take a step's aggregates apart over rows of `schema`; None where one of them can't be.

    `order`: a column by which first and last go, where partials are not merged in the order of their rows; within a
    batch the rows have to be in that order.
    """
    work = _Work(schema, order)
    try:
        results = [work.outer(expression).alias(name) for name, expression in aggregates.items()]
    except _NotDecomposableError:
        return None
    return Aggregation(tuple(work.partials.values()), tuple(work.finish), tuple(results))


class _NotDecomposableError(Exception):
    """Some part of an expression needs all rows at once."""


_ROWWISE_NODES = {"Column", "Literal", "BinaryExpr", "Cast", "Ternary", "Alias", "Function"}
_ROWWISE_FUNCTIONS = {
    "Abs", "Negate", "Round", "RoundSF", "Floor", "Ceil", "Clip", "FillNull", "Coalesce", "Pow", "Log", "Log1p", "Exp",
    "Sign", "StringExpr", "TemporalExpr", "Boolean", "ListExpr", "StructExpr", "Hash", "MinHorizontal",
    "MaxHorizontal", "SumHorizontal", "MeanHorizontal", "Trigonometry", "AsStruct", "Replace", "ReplaceStrict",
    "Bitwise", "Format",
}  # fmt: skip
_WHOLE_COLUMN = {
    "Boolean": {"Any", "All", "HasNulls", "IsFirstDistinct", "IsLastDistinct", "IsUnique", "IsDuplicated", "IsSorted"},
    "StringExpr": {"ConcatVertical"},
    "Bitwise": {"And", "Or", "Xor"},
}
"""Members of the families above that look at more than one row."""


@dataclass
class _Work:
    """The partials that were found so far; the same aggregate twice is kept once."""

    schema: pl.Schema
    order: str = ""
    partials: dict[str, Partial] = field(default_factory=dict)
    finish: list[pl.Expr] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)

    def outer(self, expression: pl.Expr) -> pl.Expr:
        """The expression with every aggregate in it replaced by the column that will hold its result."""
        tree = json.loads(expression.meta.serialize(format="json"))
        return _expression(self._replace(tree))

    def _replace(self, node: Any) -> Any:
        if node == "Len":
            return {"Column": self._aggregate("Len", None, None)}
        if not isinstance(node, dict) or len(node) != 1:
            raise _NotDecomposableError
        (kind, body), *_ = node.items()
        if kind == "Agg":
            (name, argument), *_ = body.items()
            return {"Column": self._aggregate(name, argument, node)}
        if kind == "Literal":
            return node
        if kind == "Alias":
            return {kind: [self._replace(body[0]), *body[1:]]}
        if kind == "BinaryExpr":
            return {kind: {**body, "left": self._replace(body["left"]), "right": self._replace(body["right"])}}
        if kind == "Cast":
            return {kind: {**body, "expr": self._replace(body["expr"])}}
        if kind == "Ternary":
            return {kind: {part: self._replace(inner) for part, inner in body.items()}}
        if kind == "Function" and _is_rowwise_function(body["function"]):
            return {kind: {**body, "input": [self._replace(inner) for inner in body["input"]]}}
        raise _NotDecomposableError

    def _aggregate(self, name: str, argument: Any, node: Any) -> str:
        """The column with the result of one aggregate."""
        identity = json.dumps(node or name, sort_keys=True)
        if identity not in self.known:
            self.known[identity] = self._take_apart(name, argument)
        return self.known[identity]

    def _take_apart(self, name: str, argument: Any) -> str:
        if name == "Len":
            return self._keep("sum", pl.len().cast(pl.Int64))
        tree = argument["input"] if isinstance(argument, dict) and "input" in argument else argument
        options = argument if isinstance(argument, dict) and "input" in argument else {}
        if name in ("Std", "Var"):
            tree, ddof = argument
            return self._spread(_rowwise(tree), name, ddof)
        inner = _rowwise(tree)
        if name == "Count":
            counted = inner.len() if options.get("include_nulls") else inner.count()
            return self._keep("sum", counted.cast(pl.Int64))
        if name == "Sum":
            return self._keep("sum", _wide(inner.sum(), self._type(inner)))
        if name in ("Min", "Max") and not options.get("propagate_nans"):
            return self._keep("min" if name == "Min" else "max", inner.min() if name == "Min" else inner.max())
        if name == "Mean" and (self._type(inner).is_numeric() or self._type(inner) == pl.Boolean):
            return self._mean(inner)
        if name in ("First", "Last"):
            presence = self._keep("sum", inner.len().cast(pl.Int64))
            value = inner.first() if name == "First" else inner.last()
            when = self._when(tree, name) if self.order else ""
            return self._keep("first" if name == "First" else "last", value, presence=presence, when=when)
        if name == "NUnique":
            column = self._keep("set", inner.unique(), members=inner)
            return self._finish(pl.col(column).list.len().cast(pl.Int64))
        raise _NotDecomposableError

    def _when(self, tree: Any, name: str) -> str:
        """The partial with the order of the row that is first or last (of those that a filter in `tree` lets pass)."""
        order: Any = {"Column": self.order}
        if "Filter" in tree:
            order = {"Filter": {**tree["Filter"], "input": order}}
        times = _expression(order)
        return self._keep("min", times.min()) if name == "First" else self._keep("max", times.max())

    def _mean(self, inner: pl.Expr) -> str:
        total = self._keep("sum", _wide(inner.sum(), self._type(inner)))
        count = self._keep("sum", inner.count().cast(pl.Int64))
        return self._finish(pl.when(pl.col(count) > 0).then(pl.col(total).cast(pl.Float64) / pl.col(count)))

    def _spread(self, inner: pl.Expr, name: str, ddof: int) -> str:
        """Standard deviation and variance from count, mean and the sum of squared deviations."""
        values = inner.cast(pl.Float64)
        count = self._keep("sum", values.count().cast(pl.Int64))
        mean = self._keep("mean", values.mean(), presence=count)
        squares = ((values - values.mean()) ** 2).sum()
        m2 = self._keep("m2", squares, presence=count, mean=mean)
        variance = pl.when(pl.col(count) > ddof).then(pl.col(m2) / (pl.col(count) - ddof))
        return self._finish(variance.sqrt() if name == "Std" else variance)

    def _keep(
        self,
        kind: PartialKind,
        batch: pl.Expr,
        *,
        presence: str = "",
        mean: str = "",
        when: str = "",
        members: pl.Expr | None = None,
    ) -> str:
        identity = f"{kind}:{presence}:{when}:{batch.meta.serialize(format='json')}"
        if identity not in self.known:
            column = f"__p{len(self.partials)}"
            self.known[identity] = column
            self.partials[column] = Partial(column, kind, batch.alias(column), presence, mean, when, members)
        return self.known[identity]

    def _finish(self, expression: pl.Expr) -> str:
        column = f"__f{len(self.finish)}"
        self.finish.append(expression.alias(column))
        return column

    def _type(self, inner: pl.Expr) -> pl.DataType:
        return pl.LazyFrame(schema=self.schema).select(inner.alias("x")).collect_schema()["x"]


def _wide(total: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Sums in the widest type of their kind: a running sum has no end."""
    if dtype == pl.Boolean or dtype.is_integer():
        return total.cast(pl.Int64)
    return total.cast(pl.Float64) if dtype.is_float() else total


def _rowwise(tree: Any) -> pl.Expr:
    """The argument of an aggregate, which must look at one row at a time (a filter around it is fine)."""
    if isinstance(tree, dict) and "Filter" in tree:
        body = tree["Filter"]
        _assert_rowwise(body["input"])
        _assert_rowwise(body["by"])
    else:
        _assert_rowwise(tree)
    expression = _expression(tree)
    if not expression.meta.root_names():
        # A literal is one value, however many rows there are: aggregated by batch it would be one value a batch.
        raise _NotDecomposableError
    return expression


def _assert_rowwise(node: Any) -> None:
    if not isinstance(node, dict) or len(node) != 1:
        raise _NotDecomposableError
    (kind, body), *_ = node.items()
    if kind not in _ROWWISE_NODES:
        raise _NotDecomposableError
    if kind == "BinaryExpr":
        inner = [body["left"], body["right"]]
    elif kind == "Cast":
        inner = [body["expr"]]
    elif kind == "Ternary":
        inner = list(body.values())
    elif kind == "Alias":
        inner = [body[0]]
    elif kind == "Function":
        if not _is_rowwise_function(body["function"]):
            raise _NotDecomposableError
        inner = body["input"]
    else:
        inner = []
    for part in inner:
        _assert_rowwise(part)


def _is_rowwise_function(function: Any) -> bool:
    name = function if isinstance(function, str) else next(iter(function))
    if name in _WHOLE_COLUMN and not isinstance(function, str):
        which = function[name]
        return (which if isinstance(which, str) else next(iter(which))) not in _WHOLE_COLUMN[name]
    return name in _ROWWISE_FUNCTIONS


def _expression(tree: Any) -> pl.Expr:
    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")
