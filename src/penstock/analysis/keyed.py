"""Rules of the operations that remember rows by key: aggregates, windows, top-n, deduplication, process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from penstock.analysis.declared import to_schema
from penstock.analysis.expressions import aggregate_schema
from penstock.analysis.facts import WINDOW_END, WINDOW_START, StepFacts
from penstock.analysis.faults import Here, type_text
from penstock.flow import SameWindow, Session, Window, ops

__all__ = [
    "aggregate",
    "deduplicate",
    "need_keys",
    "need_time",
    "process",
    "refuse_same_window",
    "refuse_session",
    "refuse_window_columns",
    "top_n",
    "window_aggregate",
    "window_columns",
    "window_top",
]

_NO_KEYS = (pl.List, pl.Array, pl.Struct, pl.Object)


def need_keys(here: Here[Any], keys: Sequence[str], schema: pl.Schema, *, of: str = "") -> None:
    """Note keys that are not there, come twice, or are of a type that can't be looked up."""
    here.need(keys, schema, of=of)
    for column in dict.fromkeys(keys):
        if keys.count(column) > 1:
            here.fault(f"the key names column {column!r} twice", hint="name it once")
        elif isinstance(schema.get(column), _NO_KEYS):
            here.fault(
                f"column {column!r} is {type_text(schema[column])} and can't be a key",
                hint="make a column of text or numbers from it with .with_columns(...) first",
                schema=schema,
            )


def need_time(here: Here[Any], facts: StepFacts, what: str, *, of: str = "") -> None:
    """Note that rows without event time meet something that is decided by time."""
    if facts.event_time is None:
        here.fault(f"{what} needs the event time of each row{of}, but {facts.time_lost}", schema=facts.schema)


def window_columns(facts: StepFacts) -> dict[str, pl.DataType]:
    """The two columns that a window adds: microseconds, in the time zone of the event time."""
    dtype = facts.schema[facts.event_time or ""]
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    return {WINDOW_START: pl.Datetime("us", zone), WINDOW_END: pl.Datetime("us", zone)}


def refuse_window_columns(here: Here[Any], columns: Sequence[str]) -> None:
    """Note columns that the window's own would silently take the place of."""
    for column in (WINDOW_START, WINDOW_END):
        if column in columns:
            here.fault(
                f"the window gives its results a column {column!r}, and there is one already",
                hint=f'rename it before, with .select(..., first_{column}=pl.col("{column}"))',
                schema=here.first.schema,
            )


def refuse_same_window(here: Here[Any], window: Window) -> None:
    """Note that two streams whose windows are their own can't be joined by them."""
    if isinstance(window, SameWindow):
        here.fault(
            "a join can't go by the same window: each of its streams has windows of its own",
            hint='add "window_start" and "window_end" to `on` and use ps.tumbling(...) of the same size',
        )


def _window_columns(here: Here[ops.WindowAggregate | ops.WindowTop], own: Sequence[str]) -> dict[str, pl.DataType]:
    """The columns of the results' window, new or as they are; notes `own` columns in their place."""
    operation, schema = here.operation, here.first.schema
    if not isinstance(operation.window, SameWindow):
        need_time(here, here.first, f"the window ({operation.window})")
        refuse_window_columns(here, own)
        return window_columns(here.first) if here.first.event_time is not None else {}
    if not here.first.windowed:
        here.fault(
            "the same window needs rows that have one, but these do not come straight from a windowed step",
            hint="begin with .window(ps.tumbling(...)).agg(...); filter, select, with_columns, expect and joins "
            "with tables keep the windows behind it",
            schema=schema,
        )
        return {}
    for column in (WINDOW_START, WINDOW_END):
        if isinstance(operation, ops.WindowAggregate) and column in (*operation.keys, *operation.aggregates):
            here.fault(f"column {column!r} is part of the key already", hint="leave it out: the results have it")
    return {column: schema[column] for column in (WINDOW_START, WINDOW_END)}


def refuse_session(here: Here[Any], window: Window, what: str) -> None:
    """Note a session window where only windows of a fixed size will do."""
    if isinstance(window, Session):
        here.fault(
            f"a {what} needs windows of a fixed size; sessions can only be aggregated",
            hint='use ps.tumbling("1m") or ps.sliding("10m", "1m")',
        )


def _aggregated(here: Here[Any], keys: Sequence[str], aggregates: Mapping[str, Any]) -> dict[str, pl.DataType]:
    """Keys and aggregates with their types."""
    schema = here.first.schema
    if not aggregates:
        here.fault(".agg(...) has no aggregates", hint="name them, e.g. .agg(orders=pl.len())")
    for name in aggregates:
        if name in keys:
            here.fault(f"the aggregate {name!r} has the name of a key", hint="give it another name")
    need_keys(here, keys, schema)
    here.stop_if_faulty()
    return {**{key: schema[key] for key in keys}, **aggregate_schema(here, keys, aggregates, schema)}


def aggregate(here: Here[ops.Aggregate]) -> StepFacts:
    """Keys and aggregates: one row a key, which is replaced as rows come."""
    operation = here.operation
    if not operation.keys:
        here.fault(
            "running aggregates need a key",
            hint='for one row over all, make a constant one: .with_columns(all=pl.lit("all")).group_by("all")',
        )
    schema = pl.Schema(_aggregated(here, operation.keys, operation.aggregates))
    lost = f"step {here.step.name!r} ({here.step.location}) gives running results, which belong to no one moment"
    return StepFacts(schema, None, operation.keys, updating=True, time_lost=lost)


def window_aggregate(here: Here[ops.WindowAggregate]) -> StepFacts:
    """Keys, the window, aggregates: one row a key and window, given once."""
    operation = here.operation
    window = _window_columns(here, (*operation.keys, *operation.aggregates))
    found = _aggregated(here, operation.keys, operation.aggregates)
    keys = {key: found.pop(key) for key in operation.keys}
    schema = pl.Schema({**keys, **window, **found})
    return StepFacts(schema, WINDOW_END, windowed=True)


def _need_order(here: Here[Any], by: Sequence[str]) -> None:
    here.need(by, here.first.schema)
    for column in by:
        if isinstance(here.first.schema.get(column), _NO_KEYS):
            here.fault(
                f"column {column!r} is {type_text(here.first.schema[column])}, which has no order",
                hint="order by a column of numbers, text or times",
            )


def _need_count(here: Here[Any], count: int) -> None:
    if count < 1:
        here.fault(f"the first {count} rows of each key are none", hint="ask for at least 1")


def window_top(here: Here[ops.WindowTop]) -> StepFacts:
    """The columns of the rows and the window."""
    operation = here.operation
    schema = here.first.schema
    window = _window_columns(here, schema.names())
    refuse_session(here, operation.window, "top-n")
    _need_count(here, operation.n)
    need_keys(here, operation.keys, schema)
    _need_order(here, operation.by)
    here.stop_if_faulty()
    return StepFacts(pl.Schema({**schema, **window}), WINDOW_END, windowed=True)


def top_n(here: Here[ops.TopN]) -> StepFacts:
    """The columns of the rows and the rank; rows are named by key and rank."""
    operation = here.operation
    rows = here.first
    schema = dict(rows.schema)
    _need_count(here, operation.n)
    need_keys(here, operation.keys, rows.schema)
    _need_order(here, operation.by)
    if not operation.keys:
        here.fault(
            "the first rows as they stand need a key",
            hint='for one list over all, make a constant one: .with_columns(all=pl.lit("all")).group_by("all")',
        )
    if operation.rank is None:
        if operation.n > 1:
            here.fault(
                f"the first {operation.n} rows of a key can't be told apart without a rank",
                hint='give the rank a column: rank="rank"',
            )
        key = operation.keys
    else:
        if operation.rank in schema:
            here.fault(
                f"the rank would take the place of column {operation.rank!r}",
                hint='give the rank another name, e.g. rank="place"',
                schema=rows.schema,
            )
        schema[operation.rank] = pl.Int64()
        key = (*operation.keys, operation.rank)
    here.stop_if_faulty()
    return StepFacts(
        pl.Schema(schema), rows.event_time, key, updating=True, windowed=rows.windowed, time_lost=rows.time_lost
    )


def deduplicate(here: Here[ops.Deduplicate]) -> StepFacts:
    """The rows as they are."""
    operation = here.operation
    if not operation.keys:
        here.fault("deduplicate needs a key", hint='name the columns that make a row the same: .deduplicate("id")')
    need_keys(here, operation.keys, here.first.schema)
    if operation.within_us is not None:
        need_time(here, here.first, "deduplicate(within=...)")
    here.stop_if_faulty()
    return here.first


def process(here: Here[ops.Process]) -> StepFacts:
    """The columns that the author declared; event time stays where they hold its column as a time."""
    operation = here.operation
    rows = here.first
    if not operation.keys:
        here.fault("process needs a key", hint='name it: .group_by("...").process(...)')
    if not callable(operation.handler):
        here.fault(f"the handler of process is {operation.handler!r}, which can't be called", hint="give a function")
    need_keys(here, operation.keys, rows.schema)
    if operation.state:
        to_schema(operation.state)
    schema = to_schema(operation.schema)
    here.stop_if_faulty()
    if rows.event_time is not None and isinstance(schema.get(rows.event_time), pl.Datetime):
        return StepFacts(schema, rows.event_time)
    if rows.event_time is None:
        return StepFacts(schema, time_lost=rows.time_lost)
    place = f"step {here.step.name!r} (process, {here.step.location})"
    lost = f"{place} does not declare the event-time column {rows.event_time!r} in its schema"
    return StepFacts(schema, time_lost=lost)
