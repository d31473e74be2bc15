"""What a rule finds now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from penstock.errors import QueryError
from penstock.observe import Basis, Finding, Grid, Rule, SeriesStore, evaluate, parse_query

__all__ = ["LogQueries", "findings"]

_JOINED = ("project", "env", "flow")


class LogQueries(Protocol):
    """What rules ask of logs and tables."""

    def by_flow(self, text: str, start_us: int, end_us: int) -> Sequence[tuple[Mapping[str, str], int, Sequence[str]]]:
        """Of the entries that match a filter within a time: labels of each flow, how many, and the newest lines."""
        ...

    def rows(self, query: str) -> Sequence[Mapping[str, Any]]:
        """The rows of a query. Raises QueryError."""
        ...


def findings(rule: Rule, store: SeriesStore, logs: LogQueries | None, now_us: int) -> list[Finding]:
    """What a rule finds at `now_us`. Raises QueryError where it can't be asked, and what the stores raise."""
    if rule.basis is Basis.METRIC:
        return _measured(rule, store, now_us)
    if logs is None:
        return []
    if rule.basis is Basis.SQL:
        return [_row(rule, row) for row in logs.rows(rule.query)]
    found = logs.by_flow(rule.query, now_us - round(rule.over_s * 1e6), now_us)
    least = rule.above if rule.basis is Basis.LOG_RATE else 0
    target = rule.above if rule.basis is Basis.LOG_RATE else None
    return [Finding(labels, count, target, tuple(lines)) for labels, count, lines in found if count > least]


def _measured(rule: Rule, store: SeriesStore, now_us: int) -> list[Finding]:
    grid = Grid(now_us)
    targets = evaluate(parse_query(rule.target), store, grid).rows if rule.target else ()
    known = {tuple(labels.get(name, "") for name in _JOINED): float(values[0]) for labels, values in targets}
    shared = known.get(("", "", ""))
    return [
        Finding(labels, float(values[0]), known.get(tuple(labels.get(name, "") for name in _JOINED), shared))
        for labels, values in evaluate(parse_query(rule.query), store, grid).rows
        if not math.isnan(values[0])
    ]


def _row(rule: Rule, row: Mapping[str, Any]) -> Finding:
    value = row.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise QueryError(
            f"the alert rule {rule.name!r} needs a column `value` with a number, and got {value!r}",
            hint="select ... as value, and the labels as further columns",
        )
    labels = {name: str(one) for name, one in row.items() if name != "value" and one is not None}
    return Finding(labels, float(value))
