"""Which columns of a source a flow looks at: the others need not be parsed at all (projection pushdown).

Walks from the sinks back to the reads. Where a step may look at anything (SQL, the author's functions, joins), all
columns are needed; a wrong guess would lose data, so every doubt counts as need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import polars as pl

from penstock.analysis.facts import Analysis
from penstock.flow import PROCESSING_TIME, Definition, Step, ops

__all__ = ["needed_columns"]

Need: TypeAlias = frozenset[str] | None
"""Names of columns; None: all of them."""


def needed_columns(definition: Definition, analysis: Analysis) -> dict[str, tuple[str, ...]]:
    """For each read the columns, in their order, that the flow needs of it."""
    needs: dict[str, Need] = {}
    for step in reversed(definition.steps):
        users = definition.consumers(step.name)
        below: Need = frozenset()
        for user in users:
            # The rows that a step refuses as late are shown as they came.
            shows_late = any(isinstance(later.operation, ops.Late) for later in definition.consumers(user.name))
            below = None if shows_late else _both(below, _of_input(user, needs[user.name], analysis))
        needs[step.name] = below
    return {step.name: _columns(step, needs[step.name], analysis) for step in definition.reads}


def _columns(step: Step, need: Need, analysis: Analysis) -> tuple[str, ...]:
    names = [name for name in analysis.steps[step.name].schema.names() if name != PROCESSING_TIME]
    operation = step.operation
    assert isinstance(operation, ops.Read)
    if need is None or operation.table:
        return tuple(names)
    wanted = tuple(name for name in names if name in need or name == operation.event_time)
    # Rows without any column can't be counted.
    return wanted or tuple(names[:1])


def _of_input(step: Step, need: Need, analysis: Analysis) -> Need:
    """What a step needs of its input, where `need` is needed of its results."""
    operation = step.operation
    if isinstance(operation, ops.Filter):
        return _both(need, _roots([operation.predicate]))
    if isinstance(operation, ops.WithColumns):
        return _both(need, _roots(operation.expressions))
    if isinstance(operation, ops.Select):
        return _roots(operation.expressions)
    if isinstance(operation, ops.Union):
        return need
    if isinstance(operation, ops.Expect):
        checks = operation.checks
        told = frozenset(column for check in checks for column in check.columns)
        predicates = _roots(check.arguments[0] for check in checks if check.kind == "that")
        return _both(_both(need, told), predicates)
    if isinstance(operation, (ops.Aggregate, ops.WindowAggregate)):
        time = analysis.steps[step.inputs[0]].event_time
        return _both(frozenset((*operation.keys, *((time,) if time else ()))), _roots(operation.aggregates.values()))
    return None


def _both(one: Need, other: Need) -> Need:
    return None if one is None or other is None else one | other


def _roots(expressions: Iterable[Any]) -> Need:
    """The columns that expressions name; None where one of them may mean any (a wildcard, a selector, a pattern)."""
    names: set[str] = set()
    for given in expressions:
        expression = given[1] if isinstance(given, tuple) else given
        if isinstance(expression, str) and not isinstance(given, tuple):
            if not expression.isidentifier():
                return None
            names.add(expression)
        elif isinstance(expression, pl.Expr):
            if "Selector" in expression.meta.serialize(format="json") or expression.meta.has_multiple_outputs():
                return None
            names.update(expression.meta.root_names())
        elif isinstance(expression, (list, set)):
            return None
    return frozenset(names)
