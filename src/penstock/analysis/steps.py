"""What each operation does to the columns, one rule an operation; here those that look at one epoch's rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from penstock.analysis.declared import to_schema
from penstock.analysis.expectations import expect
from penstock.analysis.expressions import column_sources, output_names, try_predicate, try_projection
from penstock.analysis.facts import WINDOW_END, WINDOW_START, StepFacts
from penstock.analysis.faults import Here, columns_text, type_text
from penstock.analysis.functions import map_batches_schema, map_schema
from penstock.analysis.joins import interval_join, lookup, window_join
from penstock.analysis.keyed import aggregate, deduplicate, process, top_n, window_aggregate, window_top
from penstock.analysis.neighbours import refuse_other_rows
from penstock.analysis.queries import sql_schema
from penstock.flow import ops

__all__ = ["RULES"]

Rule = Callable[[Here[Any]], StepFacts]


def _filter(here: Here[ops.Filter]) -> StepFacts:
    predicate = here.operation.predicate
    try_predicate(here, predicate, here.first.schema)
    here.stop_if_faulty()
    refuse_other_rows(here, [("the condition", predicate)])
    return here.first


def _with_columns(here: Here[ops.WithColumns]) -> StepFacts:
    operation = here.operation
    before = here.first.schema
    schema = try_projection(here, operation.expressions, before, keep=True)
    if here.first.updating:
        sources = column_sources(operation.expressions)
        for column in output_names(operation.expressions, before):
            if column in here.first.key and sources.get(column) != column:
                here.fault(
                    f"column {column!r} names the rows of updating results and can't be changed",
                    hint="give the changed value a name of its own",
                )
    made = output_names(operation.expressions, before)
    return _after(here, schema, windowed=_keeps_windows(here, schema, made))


def _select(here: Here[ops.Select]) -> StepFacts:
    operation = here.operation
    schema = try_projection(here, operation.expressions, here.first.schema, keep=False)
    renamed: dict[str, str] = {}
    for column, source in column_sources(operation.expressions).items():
        if renamed.get(source) != source:
            renamed[source] = column
    return _after(here, schema, renamed, windowed=_keeps_windows(here, schema, schema))


def _sql(here: Here[ops.Sql]) -> StepFacts:
    return _after(here, sql_schema(here, here.operation.query, here.first.schema))


def _map_batches(here: Here[ops.MapBatches]) -> StepFacts:
    return _after(here, map_batches_schema(here))


def _map(here: Here[ops.Map | ops.FlatMap]) -> StepFacts:
    return _after(here, map_schema(here))


def _keeps_windows(here: Here[ops.WithColumns | ops.Select], schema: pl.Schema, made: Iterable[str]) -> bool:
    """Whether both columns of the window are there still and none of them is `made` anew."""
    sources = column_sources(here.operation.expressions)
    changed = {column for column in made if sources.get(column) != column}
    columns = {WINDOW_START, WINDOW_END}
    return here.first.windowed and columns <= set(schema) and not columns & changed


def _after(
    here: Here[Any], schema: pl.Schema, renamed: dict[str, str] | None = None, *, windowed: bool = False
) -> StepFacts:
    """The facts after a step that makes new columns. `renamed`: old -> new name of columns that keep their values."""
    before = here.first
    follow = renamed or {}
    place = f"step {here.step.name!r} ({here.operation.kind}, {here.step.location})"
    event_time, time_lost = None, before.time_lost
    if before.event_time is not None:
        column = follow.get(before.event_time, before.event_time)
        if column not in schema:
            time_lost = f"{place} dropped the event-time column {before.event_time!r}: keep it there"
        elif not isinstance(schema[column], pl.Datetime):
            time_lost = f"{place} made the event-time column {column!r} a {type_text(schema[column])}"
        else:
            event_time, time_lost = column, ""
    key = tuple(follow.get(column, column) for column in before.key)
    for old, new in zip(before.key, key, strict=True):
        if new not in schema:
            here.fault(
                f"column {old!r} names the rows of the updating results before and has to stay",
                hint=f"keep {list(before.key)} in this step",
                schema=schema,
            )
    return StepFacts(schema, event_time, key, before.updating, windowed, time_lost)


def _union(here: Here[ops.Union]) -> StepFacts:
    names, first = here.step.inputs, here.first
    for name, facts in zip(names[1:], here.inputs[1:], strict=True):
        for column, dtype in first.schema.items():
            if column not in facts.schema:
                here.fault(
                    f"column {column!r} of {names[0]!r} is not in {name!r}, which has: {columns_text(facts.schema)}",
                    hint="give all streams of a union the same columns with .select(...)",
                )
            elif facts.schema[column] != dtype:
                here.fault(
                    f"column {column!r} is {type_text(dtype)} in {names[0]!r} but "
                    f"{type_text(facts.schema[column])} in {name!r}",
                    hint=f'cast one of them: .with_columns(pl.col("{column}").cast(pl.{dtype.base_type()}))',
                )
        for column in facts.schema:
            if column not in first.schema:
                here.fault(
                    f"column {column!r} of {name!r} is not in {names[0]!r}, which has: {columns_text(first.schema)}",
                    hint="give all streams of a union the same columns with .select(...)",
                )
    times = {facts.event_time for facts in here.inputs}
    if len(times) == 1:
        return StepFacts(first.schema, first.event_time, time_lost=first.time_lost)
    told = ", ".join(f"{name!r} has {facts.event_time!r}" for name, facts in zip(names, here.inputs, strict=True))
    lost = f"the streams of step {here.step.name!r} ({here.step.location}) have different event-time columns: {told}"
    return StepFacts(first.schema, time_lost=lost)


def _late(here: Here[ops.Late]) -> StepFacts:
    return here.first


def _write(here: Here[ops.Write]) -> StepFacts:
    operation = here.operation
    dataset, rows = operation.dataset, here.first
    target = f"{dataset.kind} {dataset.name!r}"
    here.need(dataset.key, rows.schema, of=f", which is a key of {target}")
    here.stop_if_faulty()
    is_shown = dataset.kind == "console" and not dataset.key  # it replaces nothing
    if rows.updating and not is_shown and set(dataset.key) != set(rows.key):
        here.fault(
            f"{target} has the key {list(dataset.key)}, but its rows are named by {list(rows.key)}: "
            "one row would take the place of another",
            hint=f"write it with key={list(rows.key)}",
        )
    if dataset.schema is not None:
        _matches_declared(here, target, to_schema(dataset.schema), rows.schema)
    return rows


def _matches_declared(here: Here[Any], target: str, declared: pl.Schema, found: pl.Schema) -> None:
    for column, dtype in declared.items():
        if column not in found:
            here.missing(column, found, of=f", which {target} declares")
        elif found[column] != dtype:
            here.fault(
                f"column {column!r} is {type_text(found[column])}, but {target} declares {type_text(dtype)}",
                hint=f'change the declaration, or cast it before: .with_columns(pl.col("{column}").cast(...))',
            )
    for column in found:
        if column not in declared:
            here.fault(
                f"column {column!r} is not in the declared columns of {target}: {columns_text(declared)}",
                hint="leave it out with .select(...), or declare it",
            )


RULES: dict[type[ops.Operation], Rule] = {
    ops.Filter: _filter,
    ops.WithColumns: _with_columns,
    ops.Select: _select,
    ops.Sql: _sql,
    ops.MapBatches: _map_batches,
    ops.Map: _map,
    ops.FlatMap: _map,
    ops.Union: _union,
    ops.Late: _late,
    ops.Expect: expect,
    ops.Write: _write,
    ops.Aggregate: aggregate,
    ops.WindowAggregate: window_aggregate,
    ops.WindowTop: window_top,
    ops.TopN: top_n,
    ops.Deduplicate: deduplicate,
    ops.Process: process,
    ops.IntervalJoin: interval_join,
    ops.WindowJoin: window_join,
    ops.Lookup: lookup,
}
"""One rule an operation; a new operation needs a line here, and `tests/analysis` holds the table complete."""
