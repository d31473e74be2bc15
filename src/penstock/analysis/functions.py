"""The columns that an author's own functions give: as declared, as annotated, or as tried on an empty frame."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from penstock.analysis.declared import to_schema
from penstock.analysis.expressions import empty
from penstock.analysis.faults import Here, shortened
from penstock.flow import ops

__all__ = ["map_batches_schema", "map_schema"]

_ROWS = (
    collections.abc.Iterable,
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.Sequence,
    collections.abc.Collection,
    list,
    tuple,
)


def name_of(function: Callable[..., Any]) -> str:
    """What the author calls a function."""
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def map_batches_schema(here: Here[ops.MapBatches]) -> pl.Schema:
    """As declared; else what the function gives for an empty frame."""
    operation = here.operation
    if operation.schema is not None:
        return to_schema(operation.schema)
    name = name_of(operation.function)
    try:
        result = operation.function(empty(here.first.schema))
        if isinstance(result, pl.LazyFrame):
            result = result.collect()
    except Exception as error:  # the author's function may raise anything
        here.fail(
            f"{name} could not be tried on a frame without rows: {type(error).__name__}: {_first_line(error)}",
            hint=f"mend it, or tell what it gives: .map_batches({name}, schema={{...}})",
            schema=here.first.schema,
            original=shortened(str(error)),
        )
    if not isinstance(result, pl.DataFrame):
        here.fail(f"{name} gives a {type(result).__name__}, not a Polars DataFrame", hint="return the frame at its end")
    return result.schema


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0].split("; valid columns:", 1)[0]


def map_schema(here: Here[ops.Map | ops.FlatMap]) -> pl.Schema:
    """As declared; else the return annotation where it says more than `dict`; else the same as the input."""
    operation = here.operation
    if operation.schema is not None:
        return to_schema(operation.schema)
    found = _returned(here, operation.function)
    if isinstance(operation, ops.FlatMap) and typing.get_origin(found) in _ROWS:
        found = typing.get_args(found)[0]
    found = _without_none(found)
    return here.first.schema if _says_nothing(found) else to_schema(found)


def _returned(here: Here[Any], function: Callable[..., Any]) -> Any:
    annotated = function if hasattr(function, "__annotations__") else type(function).__call__
    if "return" not in getattr(annotated, "__annotations__", {}):
        return None
    try:
        return typing.get_type_hints(annotated).get("return")
    except (NameError, TypeError) as error:
        here.fail(
            f"what {name_of(function)} returns can't be read from its annotation: {error}",
            hint=f"import the type at the top of its module, or give .{here.operation.kind}(..., schema={{...}})",
        )


def _without_none(found: Any) -> Any:
    """`Row | None` means that some rows are dropped."""
    if typing.get_origin(found) in (typing.Union, types.UnionType):
        meant = [one for one in typing.get_args(found) if one is not type(None)]
        return meant[0] if len(meant) == 1 else found
    return found


def _says_nothing(found: Any) -> bool:
    """Whether an annotation tells no columns: none at all, `Any`, or a plain mapping."""
    plain = typing.get_origin(found) or found
    if plain in (None, type(None), Any, object, *_ROWS):
        return True
    return isinstance(plain, type) and issubclass(plain, Mapping) and not typing.is_typeddict(plain)
