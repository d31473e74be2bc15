"""Rules of the three joins: of two streams by time, of two streams by window, of a stream with a table."""

from __future__ import annotations

from typing import Any

import polars as pl

from penstock.analysis.facts import WINDOW_END, StepFacts
from penstock.analysis.faults import Here, type_text
from penstock.analysis.keyed import (
    need_keys,
    need_time,
    refuse_same_window,
    refuse_session,
    refuse_window_columns,
    window_columns,
)
from penstock.flow import duration_text, ops

__all__ = ["interval_join", "lookup", "right_names", "window_join"]


def interval_join(here: Here[ops.IntervalJoin]) -> StepFacts:
    """Both sides' columns; the event time is that of the left row."""
    operation = here.operation
    lower_us, upper_us = operation.lower_us, operation.upper_us
    if lower_us is not None or upper_us is not None:
        for name, facts in zip(here.step.inputs, here.inputs, strict=True):
            need_time(here, facts, "a join with within=(...)", of=f" of {name!r}")
    if lower_us is not None and upper_us is not None and lower_us > upper_us:
        here.fault(
            f"within=({duration_text(lower_us)!r}, {duration_text(upper_us)!r}) ends before it begins",
            hint="give the earlier bound first; now nothing would match",
        )
    if operation.how not in ("inner", "left"):
        here.fault(
            f'a join of two streams by time distance can\'t be "{operation.how}"',
            hint='use "inner" or "left", or join by window: .join(..., window=ps.tumbling("1m"))',
        )
    elif operation.how == "left" and upper_us is None:
        here.fault(
            "a left join without an end never knows that a row has no partner",
            hint='give the bounds: within=("-1h", "1h")',
        )
    schema = _joined(here, operation.on, operation.suffix, operation.how)
    here.stop_if_faulty()
    return StepFacts(schema, here.first.event_time, time_lost=here.first.time_lost)


def window_join(here: Here[ops.WindowJoin]) -> StepFacts:
    """Both sides' columns and the window."""
    operation = here.operation
    refuse_session(here, operation.window, "join")
    refuse_same_window(here, operation.window)
    for name, facts in zip(here.step.inputs, here.inputs, strict=True):
        need_time(here, facts, f"the join's window ({operation.window})", of=f" of {name!r}")
    schema = _joined(here, operation.on, operation.suffix, operation.how)
    refuse_window_columns(here, schema.names())
    here.stop_if_faulty()
    return StepFacts(pl.Schema({**schema, **window_columns(here.first)}), WINDOW_END, windowed=True)


def lookup(here: Here[ops.Lookup]) -> StepFacts:
    """The stream's columns and the table's others; time and window are those of the stream's row."""
    operation = here.operation
    if operation.how == "full":
        here.fault("a join with a table can't be full: the table's rows have no time of their own", hint='how="left"')
    schema = _joined(here, operation.on, operation.suffix, operation.how)
    here.stop_if_faulty()
    rows = here.first
    return StepFacts(schema, rows.event_time, windowed=rows.windowed, time_lost=rows.time_lost)


def _joined(here: Here[Any], on: tuple[tuple[str, str], ...], suffix: str, how: ops.JoinHow) -> pl.Schema:
    """The left columns, then the right ones that are no keys, with the suffix where the left has the name too."""
    (left, right), (left_name, right_name) = (facts.schema for facts in here.inputs), here.step.inputs
    before = len(here.faults)
    if not on:
        here.fault("the join has no key", hint='name the columns that must be equal: on="id"')
    need_keys(here, [column for column, _ in on], left, of=f" in {left_name!r}")
    need_keys(here, [column for _, column in on], right, of=f" in {right_name!r}")
    if len(here.faults) > before:
        return left
    for mine, other in on:
        if left[mine] != right[other]:
            here.fault(
                f"the join compares {mine!r} of {left_name!r}, which is {type_text(left[mine])}, "
                f"with {other!r} of {right_name!r}, which is {type_text(right[other])}",
                hint=f'make them the same: .with_columns(pl.col("{other}").cast(pl.{left[mine].base_type()}))',
            )
    if how in ("semi", "anti"):
        return left
    columns = dict(left)
    for column, name in right_names(left, right, on, suffix).items():
        if name in columns:
            here.fault(
                f"column {column!r} of {right_name!r} would be {name!r} after the join, which is there already",
                hint='give another suffix="..."',
            )
        columns[name] = right[column]
    return pl.Schema(columns)


def right_names(left: pl.Schema, right: pl.Schema, on: tuple[tuple[str, str], ...], suffix: str) -> dict[str, str]:
    """What the right columns that are no keys are called after a join."""
    keys = {column for _, column in on}
    return {name: f"{name}{suffix}" if name in left else name for name in right if name not in keys}
