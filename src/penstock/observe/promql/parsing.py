"""The text of a query to its tree. The grammar is Prometheus's, read by promql-parser; what cannot be worked out here
is refused when it is read, not when an alert is due.
"""

from __future__ import annotations

from dataclasses import dataclass

import promql_parser as promql

from penstock.errors import QueryError, did_you_mean
from penstock.observe.promql.aggregating import AGGREGATIONS
from penstock.observe.promql.functions import INSTANT, SCALAR
from penstock.observe.promql.series import NAME, Matcher, MatchKind
from penstock.observe.promql.windows import RANGE

__all__ = ["Query", "matchers_of", "parse_query"]

_TEXT_MAX = 20_000
_KINDS = {
    "MatchOp.Equal": MatchKind.EQUAL,
    "MatchOp.NotEqual": MatchKind.NOT_EQUAL,
    "MatchOp.Re": MatchKind.REGEX,
    "MatchOp.NotRe": MatchKind.NOT_REGEX,
}
FUNCTIONS = (
    *INSTANT,
    *RANGE,
    *SCALAR,
    "absent",
    "absent_over_time",
    "vector",
    "scalar",
    "label_replace",
    "histogram_quantile",
)


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A query that can be worked out. `metrics`: the names that it asks for."""

    text: str
    tree: promql.Expr
    metrics: frozenset[str]


def parse_query(text: str) -> Query:
    """The query of a text. Raises QueryError where it is none, or uses what is not known here."""
    if len(text) > _TEXT_MAX:
        raise QueryError(f"a query of {len(text)} characters is too long", hint=f"use at most {_TEXT_MAX}")
    try:
        tree = promql.parse(text)
    except ValueError as error:
        raise QueryError(f"{text!r} is no PromQL query: {error}", hint="see docs/alerts.md") from None
    names: set[str] = set()
    _check(tree, text, names)
    return Query(text, tree, frozenset(names))


def matchers_of(selector: promql.VectorSelector) -> list[Matcher]:
    """The conditions of a selector, its name among them."""
    found = [Matcher(one.name, _KINDS[str(one.op)], one.value) for one in selector.matchers.matchers]
    return [Matcher(NAME, MatchKind.EQUAL, selector.name), *found] if selector.name else found


def _check(tree: promql.Expr, text: str, names: set[str]) -> None:
    """Refuse what cannot be worked out. Raises QueryError."""
    if isinstance(tree, promql.SubqueryExpr):
        raise _refused(text, "subqueries ([5m:1m]) are not known here")
    if isinstance(tree, promql.MatrixSelector):
        _check(tree.vector_selector, text, names)
    elif isinstance(tree, promql.VectorSelector):
        _check_selector(tree, text, names)
    elif isinstance(tree, promql.Call):
        name = tree.func.name
        if name not in FUNCTIONS:
            raise _refused(text, f"the function {name} is not known here.{did_you_mean(name, FUNCTIONS)}")
        for argument in tree.args:
            _check(argument, text, names)
    elif isinstance(tree, promql.AggregateExpr):
        if str(tree.op) not in AGGREGATIONS:
            raise _refused(
                text, f"the aggregation {tree.op} is not known here.{did_you_mean(str(tree.op), tuple(AGGREGATIONS))}"
            )
        _check(tree.expr, text, names)
    elif isinstance(tree, promql.BinaryExpr):
        fill = None if tree.modifier is None else tree.modifier.fill_values
        if fill is not None and (fill.lhs, fill.rhs) != (None, None):
            raise _refused(text, "fill is not known here")
        _check(tree.lhs, text, names)
        _check(tree.rhs, text, names)
    elif isinstance(tree, promql.UnaryExpr | promql.ParenExpr):
        _check(tree.expr, text, names)


def _check_selector(tree: promql.VectorSelector, text: str, names: set[str]) -> None:
    if tree.at is not None:
        raise _refused(text, "the modifier @ is not known here")
    if tree.matchers.or_matchers:
        raise _refused(text, "`or` between labels is not known here")
    for matcher in matchers_of(tree):
        try:
            matcher.fits("")
        except (ValueError, OSError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise _refused(text, f"{matcher.value!r} is no regular expression: {error}") from None
        if matcher.label == NAME and matcher.kind is MatchKind.EQUAL:
            names.add(matcher.value)


def _refused(text: str, why: str) -> QueryError:
    return QueryError(f"the query {text!r} can't be worked out: {why}", hint="see docs/alerts.md for what can")
