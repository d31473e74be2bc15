"""Whether expectations can be held at all: their columns exist, and values can be compared with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from penstock.analysis.expressions import empty, try_predicate
from penstock.analysis.facts import StepFacts
from penstock.analysis.faults import POLARS_ERRORS, Here, type_text
from penstock.flow import Check, ops

__all__ = ["expect"]


def expect(here: Here[ops.Expect]) -> StepFacts:
    """The rows as they are; the checks are tried on an empty frame."""
    operation = here.operation
    if not operation.checks:
        here.fault(".expect(...) has no checks", hint='name them, e.g. .expect(ps.not_null("id"))')
    schema = here.first.schema
    checks: tuple[object, ...] = operation.checks
    for check in checks:
        if not isinstance(check, Check):
            here.fault(f"{check!r} is no check", hint='use one of ps.not_null, ps.between, ps.that("...", ...)')
            continue
        if check.kind in ("not_null", "unique") and not check.columns:
            here.fault(f"{check.name} names no column", hint=f'name them, e.g. ps.{check.kind}("id")')
        noted = len(here.faults)
        here.need(check.columns, schema, of=f" for {check.name}")
        if len(here.faults) == noted and check.kind in _RULES:
            _RULES[check.kind](here, check, schema)
    here.stop_if_faulty()
    return here.first


def _compare(here: Here[Any], check: Check, schema: pl.Schema) -> None:
    column = check.columns[0]
    for bound in check.arguments:
        try:
            empty(schema).select(pl.col(column) <= pl.lit(bound))
        except POLARS_ERRORS as error:
            here.fault(
                f"{check.name}: column {column!r} is {type_text(schema[column])} and can't be compared with {bound!r}",
                schema=schema,
                original=str(error).split("\n\n", 1)[0],
            )
            return


def _one_of(here: Here[Any], check: Check, schema: pl.Schema) -> None:
    column, values = check.columns[0], list(check.arguments[0])
    try:
        empty(schema).select(pl.col(column).is_in(values))
    except POLARS_ERRORS as error:
        here.fault(
            f"{check.name}: column {column!r} is {type_text(schema[column])} and can't be any of {values!r}",
            schema=schema,
            original=str(error).split("\n\n", 1)[0],
        )


def _matches(here: Here[Any], check: Check, schema: pl.Schema) -> None:
    column, pattern = check.columns[0], check.arguments[0]
    if schema[column] != pl.String:
        here.fault(f"{check.name}: column {column!r} is {type_text(schema[column])}, not text", schema=schema)
        return
    try:
        pl.select(pl.lit("").str.contains(pattern))
    except POLARS_ERRORS as error:
        here.fault(f"{check.name}: the regular expression is not right", original=str(error).split("\n\n", 1)[0])


def _that(here: Here[Any], check: Check, schema: pl.Schema) -> None:
    try_predicate(here, check.arguments[0], schema, what=f"the check {check.name!r}")


_RULES: dict[str, Callable[[Here[Any], Check, pl.Schema], None]] = {
    "between": _compare,
    "one_of": _one_of,
    "matches": _matches,
    "that": _that,
}
