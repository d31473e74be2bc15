"""The columns of every step, found without data: each operation is tried on an empty frame of its input's columns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import polars as pl

from penstock.analysis.declared import to_schema
from penstock.analysis.facts import Analysis, StepFacts
from penstock.analysis.faults import Fault, Here, StepFaulty, report
from penstock.analysis.steps import RULES
from penstock.errors import SchemaError
from penstock.flow import PROCESSING_TIME, Definition, Step, ops

__all__ = ["analyse"]


def analyse(definition: Definition, source_schemas: Mapping[str, pl.Schema]) -> Analysis:
    """Infer and check the columns of all steps.

    `source_schemas`: step name of each read -> the columns of its rows; where one is left out, what the author
    declared on the dataset. Raises one SchemaError that tells every fault; the steps after a faulty one are not looked
    at, since what is wrong there may only follow from it.
    """
    facts: dict[str, StepFacts] = {}
    faults: list[tuple[Step, Fault]] = []
    for step in definition.steps:
        parents = _parents(definition, step)
        if not all(parent in facts for parent in parents):
            continue
        inputs = tuple(facts[parent] for parent in parents)
        here: Here[Any] = Here(step, step.operation, inputs, partial(_gone, definition, facts, step))
        try:
            if step.operation.stateful:
                _refuse_own_names(here)
            if isinstance(step.operation, ops.Read):
                found = _read(here, source_schemas)
            else:
                found = RULES[type(step.operation)](here)
            here.stop_if_faulty()
        except StepFaulty:
            faults += [(step, fault) for fault in here.faults]
        except SchemaError as error:  # a declaration that means nothing
            faults += [(step, fault) for fault in (*here.faults, Fault(error.message, error.hint))]
        else:
            facts[step.name] = found
    if faults:
        raise report(definition, faults)
    return Analysis(definition, facts)


def _refuse_own_names(here: Here[Any]) -> None:
    """Columns that begin with two underscores are for the engine's own use while it works on keyed rows."""
    for facts in here.inputs:
        for column in facts.schema:
            if column.startswith("__"):
                here.fault(
                    f"column {column!r} begins with '__', which is kept for Penstock",
                    hint=f'give it another name: .select(..., {column.strip("_") or "x"}=pl.col("{column}"))',
                )


def _parents(definition: Definition, step: Step) -> tuple[str, ...]:
    """The steps whose columns a step sees; rows refused as late look like what went into the step that refused."""
    if isinstance(step.operation, ops.Late):
        return definition.step(step.inputs[0]).inputs[:1]
    return step.inputs


def _read(here: Here[ops.Read], source_schemas: Mapping[str, pl.Schema]) -> StepFacts:
    operation = here.operation
    dataset = operation.dataset
    if here.step.name in source_schemas:
        schema = pl.Schema(source_schemas[here.step.name])
    elif dataset.schema is not None:
        schema = to_schema(dataset.schema)
    else:
        here.fail(
            f"the columns of {dataset.kind} {dataset.name!r} are not known",
            hint='declare them, e.g. schema={"id": "Int64", "at": "Datetime"}',
        )
    column = operation.event_time
    if column == PROCESSING_TIME:
        if column in schema:
            here.fail(
                f"the rows have a column {column!r} already, where the time of the epoch would go",
                hint="name another column as event_time, or rename this one where the rows come from",
                schema=schema,
            )
        return StepFacts(pl.Schema({**schema, column: pl.Datetime("us")}), column)
    if column is None:
        times = [name for name, dtype in schema.items() if isinstance(dtype, pl.Datetime)]
        example = times[0] if times else "..."
        return StepFacts(
            schema,
            time_lost=f"step {here.step.name!r} ({here.step.location}) reads without one: "
            f'add event_time="{example}" to its read(...)',
        )
    here.need((column,), schema, of=", which event_time names")
    here.stop_if_faulty()
    dtype = schema[column]
    if not isinstance(dtype, pl.Datetime):
        here.fail(
            f"the event-time column {column!r} is {dtype}, not Datetime",
            hint=f'declare it as a time in the dataset\'s schema: "{column}": "Datetime"',
            schema=schema,
        )
    return StepFacts(schema, column)


def _gone(definition: Definition, facts: Mapping[str, StepFacts], step: Step, column: str) -> str:
    """Which step before `step` let go of `column`, as a sentence; empty where it never was."""
    waiting = [step]
    seen: set[str] = set()
    while waiting:
        child = waiting.pop(0)
        for name in child.inputs:
            if name in seen:
                continue
            seen.add(name)
            if name in facts and column in facts[name].schema:
                if child is step:
                    return ""
                return f"Step {name!r} still has it; step {child.name!r} ({child.location}) does not keep it."
            waiting.append(definition.step(name))
    return ""
