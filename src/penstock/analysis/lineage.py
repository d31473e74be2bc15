"""Column lineage: from which columns of the steps before it each column of a step is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import polars as pl

from penstock.analysis.expressions import output_roots
from penstock.analysis.facts import WINDOW_END, WINDOW_START, Analysis, StepFacts
from penstock.analysis.joins import right_names
from penstock.flow import SameWindow, Step, ops

__all__ = ["ColumnOrigin", "Place", "lineage", "sources_of"]

Place: TypeAlias = tuple[str, str]
"""A step and one of its columns."""


@dataclass(frozen=True, slots=True)
class ColumnOrigin:
    """The columns that a column is made of; none for a count of rows or a constant.

    `opaque`: SQL or the author's own function makes it, so that every column before it has to be taken for its origin.
    """

    places: tuple[Place, ...] = ()
    opaque: bool = False


def lineage(analysis: Analysis) -> dict[str, dict[str, ColumnOrigin]]:
    """For each step, for each of its columns: where it comes from, one step back."""
    return {step.name: _of_step(analysis, step) for step in analysis.definition.steps}


def sources_of(analysis: Analysis, step: str, column: str) -> ColumnOrigin:
    """The columns of the flow's reads that a column is made of in the end. Raises KeyError for what is not there."""
    origins = lineage(analysis)
    found: dict[Place, None] = {}
    opaque = False
    waiting, seen = [(step, column)], {(step, column)}
    while waiting:
        name, at = waiting.pop()
        origin = origins[name][at]
        opaque = opaque or origin.opaque
        if not analysis.definition.step(name).inputs:
            found[name, at] = None
        fresh = [place for place in origin.places if place not in seen]
        seen.update(fresh)
        waiting += fresh
    return ColumnOrigin(tuple(sorted(found)), opaque)


def _of_step(analysis: Analysis, step: Step) -> dict[str, ColumnOrigin]:
    operation, after = step.operation, analysis.steps[step.name].schema
    if isinstance(operation, ops.Read):
        return {column: ColumnOrigin() for column in after}
    parents = step.inputs
    if isinstance(operation, ops.Late):
        parents = analysis.definition.step(step.inputs[0]).inputs[:1]
    before = [(name, analysis.steps[name]) for name in parents]
    first, facts = before[0]
    if isinstance(operation, _OPAQUE):
        everything = ColumnOrigin(tuple((name, column) for name, one in before for column in one.schema), opaque=True)
        return dict.fromkeys(after, everything)
    if isinstance(operation, (ops.IntervalJoin, ops.WindowJoin, ops.Lookup)):
        return _of_join(operation, before, after)
    if isinstance(operation, ops.Union):
        return {column: ColumnOrigin(tuple((name, column) for name, _ in before)) for column in after}
    made = _made(operation, facts)
    return {column: _origin(first, made.get(column, (column,))) for column in after}


def _origin(step: str, columns: Iterable[str]) -> ColumnOrigin:
    return ColumnOrigin(tuple((step, column) for column in columns))


def _made(operation: ops.Operation, before: StepFacts) -> Mapping[str, tuple[str, ...]]:
    """The columns that a step of one input makes or changes; all others are the input's."""
    time = (before.event_time,) if before.event_time else ()
    window: Mapping[str, tuple[str, ...]] = {WINDOW_START: time, WINDOW_END: time}
    if isinstance(operation, ops.WindowAggregate | ops.WindowTop) and isinstance(operation.window, SameWindow):
        window = {}
    if isinstance(operation, (ops.WithColumns, ops.Select)):
        return output_roots(operation.expressions, before.schema)
    if isinstance(operation, (ops.Aggregate, ops.WindowAggregate)):
        made = {name: _roots(value) for name, value in operation.aggregates.items()}
        return made if isinstance(operation, ops.Aggregate) else {**window, **made}
    if isinstance(operation, ops.WindowTop):
        return window
    if isinstance(operation, ops.TopN) and operation.rank is not None:
        return {operation.rank: operation.by or time}
    return {}


def _roots(expression: pl.Expr) -> tuple[str, ...]:
    return tuple(dict.fromkeys(expression.meta.root_names()))


def _of_join(
    operation: ops.IntervalJoin | ops.WindowJoin | ops.Lookup, before: list[tuple[str, StepFacts]], after: pl.Schema
) -> dict[str, ColumnOrigin]:
    (left, mine), (right, theirs) = before
    origins = {column: ColumnOrigin(((left, column),)) for column in mine.schema}
    for column, other in operation.on:
        origins[column] = ColumnOrigin(((left, column), (right, other)))
    for column, name in right_names(mine.schema, theirs.schema, operation.on, operation.suffix).items():
        origins[name] = ColumnOrigin(((right, column),))
    if isinstance(operation, ops.WindowJoin):
        times = tuple((name, facts.event_time) for name, facts in before if facts.event_time)
        origins |= {WINDOW_START: ColumnOrigin(times), WINDOW_END: ColumnOrigin(times)}
    return {column: origins[column] for column in after}


_OPAQUE = (ops.Sql, ops.MapBatches, ops.Map, ops.FlatMap, ops.Process)
