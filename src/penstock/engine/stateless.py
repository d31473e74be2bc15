"""Stateless steps as transformations of a frame: Polars expressions, DuckDB SQL, the author's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from penstock.analysis import StepFacts, closed_connection
from penstock.engine.rows import ROW, Transform
from penstock.errors import StepFailed
from penstock.flow import Step, ops

__all__ = ["expressions_of", "transform_of"]


def expressions_of(given: tuple[Any, ...]) -> list[pl.Expr]:
    """What an author gave to select and with_columns, as expressions: names, expressions, or (name, expression)."""
    out: list[pl.Expr] = []
    for item in given:
        if isinstance(item, tuple):
            name, value = item
            out.append((value if isinstance(value, pl.Expr) else pl.lit(value)).alias(name))
        elif isinstance(item, str):
            out.append(pl.col(item))
        elif isinstance(item, (list, set)):
            out.extend(expressions_of(tuple(item)))
        else:
            out.append(item)
    return out


def transform_of(step: Step, facts: StepFacts) -> Transform | None:
    """The transformation of a stateless step that works on frames; None for those that work on rows."""
    operation, empty = step.operation, facts.schema.to_frame()
    if isinstance(operation, ops.Filter):
        predicate = operation.predicate
        return Transform(
            step.name,
            empty,
            eager=lambda frame: frame.filter(predicate),
            lazy=lambda query: query.filter(predicate),
            carrying=lambda frame: frame.filter(predicate),
        )
    if isinstance(operation, ops.WithColumns):
        added = expressions_of(operation.expressions)
        return Transform(
            step.name,
            empty,
            eager=lambda frame: frame.with_columns(added),
            lazy=lambda query: query.with_columns(added),
            carrying=lambda frame: frame.with_columns(added),
        )
    if isinstance(operation, ops.Select):
        selected = expressions_of(operation.expressions)
        return Transform(
            step.name,
            empty,
            eager=lambda frame: frame.select(selected),
            lazy=lambda query: query.select(selected),
            carrying=lambda frame: frame.select(*selected, ROW),
        )
    if isinstance(operation, ops.Sql):
        return Transform(step.name, empty, eager=_Sql(operation.query, facts.schema))
    if isinstance(operation, ops.MapBatches):
        return Transform(step.name, empty, eager=_fitted(step.name, operation.function, facts.schema))
    return None


class _Sql:
    """One DuckDB query over frames; keeps its connection, which reaches nothing but the frame."""

    def __init__(self, query: str, schema: pl.Schema) -> None:
        self._query = query
        self._schema = schema
        self._connection = closed_connection()

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        self._connection.register("self", frame.to_arrow())
        try:
            result: pl.DataFrame = self._connection.sql(self._query).pl()
        finally:
            self._connection.unregister("self")
        return result.select(self._schema.names()).cast(dict(self._schema.items()))


def _fitted(
    step: str, function: Callable[[pl.DataFrame], Any], schema: pl.Schema
) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """The author's function, whose result has to be what was said of it."""

    def run(frame: pl.DataFrame) -> pl.DataFrame:
        result = function(frame)
        if isinstance(result, pl.LazyFrame):
            result = result.collect()
        if not isinstance(result, pl.DataFrame):
            raise StepFailed(
                f"the function gave a {type(result).__name__}, not a DataFrame", step=step, hint="return the frame"
            )
        missing = [name for name in schema.names() if name not in result.columns]
        if missing:
            raise StepFailed(
                f"the function gave the columns {result.columns}; {missing} of the step's schema are missing",
                step=step,
                hint="return all of them, or declare schema=",
            )
        fitted: pl.DataFrame = result.select(schema.names()).cast(dict(schema.items()))
        return fitted

    return run
