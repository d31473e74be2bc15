"""From what an author declares - a mapping, a `pl.Schema`, a class with annotated fields - to a Polars schema."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import polars as pl

from penstock.errors import SchemaError, did_you_mean

__all__ = ["to_schema"]

PYTHON_TYPES: dict[object, pl.DataType] = {
    int: pl.Int64(),
    float: pl.Float64(),
    str: pl.String(),
    bool: pl.Boolean(),
    bytes: pl.Binary(),
    datetime: pl.Datetime("us"),
    date: pl.Date(),
    time: pl.Time(),
    timedelta: pl.Duration("us"),
    Decimal: pl.Decimal(38, 9),
}

POLARS_NAMES: dict[str, object] = {
    name: found
    for name, found in vars(pl).items()
    if isinstance(found, type) and issubclass(found, pl.DataType) and not name.startswith("_")
}


def to_schema(declared: Any) -> pl.Schema:
    """The columns and types that `declared` means.

    `declared`: a `pl.Schema`, a mapping of column to type, a frame, or a class with annotated fields (plain,
    dataclass, TypedDict, NamedTuple, pydantic). A type is a Polars one, its name (`"Int64"`), or int, float, str, bool,
    bytes, datetime (`Datetime("us")`), date, time, timedelta, Decimal (38 digits, 9 of them decimals), `list[T]`, a
    class of fields (a struct), any of them `| None`: every column may be null.
    Raises SchemaError that names the column and the type that has no meaning.
    """
    if isinstance(declared, pl.Schema):
        items: list[tuple[Any, object]] = list(declared.items())
    elif isinstance(declared, (pl.DataFrame, pl.LazyFrame)):
        items = list(declared.collect_schema().items())
    elif isinstance(declared, Mapping):
        items = list(declared.items())
    elif isinstance(declared, type) and not issubclass(declared, pl.DataType):
        items = list(_fields(declared).items())
    else:
        raise SchemaError(
            f"a schema is a mapping, a pl.Schema or a class with annotated fields, not {_shown(declared)}",
            hint='write for example {"id": pl.Int64, "at": pl.Datetime("us")}',
        )
    if not items:
        raise SchemaError(f"the schema {_shown(declared)} has no columns")
    for name, _ in items:
        if not isinstance(name, str) or not name:
            raise SchemaError(f"a column's name is a string that is not empty, not {name!r}")
    return pl.Schema({name: _data_type(found, name) for name, found in items})


def _fields(declared: type) -> dict[str, object]:
    """The annotated fields of a class and of those that it inherits from, resolved from their text."""
    if dataclasses.is_dataclass(declared):
        named: set[str] | None = {found.name for found in dataclasses.fields(declared)}
    elif isinstance(pydantic := getattr(declared, "model_fields", None), Mapping):
        named = set(pydantic)
    else:
        named = None
    try:
        hints = typing.get_type_hints(declared, include_extras=True)
    except NameError as error:
        hints = _hints_one_by_one(declared, error)
    return {
        name: found
        for name, found in hints.items()
        if (named is None or name in named) and typing.ClassVar not in (found, typing.get_origin(found))
    }


def _hints_one_by_one(declared: type, unresolved: NameError) -> dict[str, object]:
    """Annotations that are text and name Polars types by `pl`, where the class's own module did not import it."""
    module = inspect.getmodule(declared)
    names = {**POLARS_NAMES, **vars(typing), "pl": pl, "datetime": datetime, "date": date, "Decimal": Decimal}
    if module is not None:
        names.update(vars(module))
    try:
        return typing.get_type_hints(declared, localns=names, include_extras=True)
    except NameError:
        raise SchemaError(
            f"class {declared.__name__} has an annotation that can't be resolved: {unresolved}",
            hint="import the type at the top of the module, not inside a function or under TYPE_CHECKING",
        ) from unresolved


def _data_type(found: object, column: str) -> pl.DataType:
    """The Polars type of one annotation."""
    if isinstance(found, pl.DataType):
        return found
    if isinstance(found, type) and issubclass(found, pl.DataType):
        return _from_polars_class(found, column)
    if isinstance(found, str):
        return _from_name(found, column)
    if isinstance(found, type) and found in PYTHON_TYPES:
        return PYTHON_TYPES[found]
    origin, arguments = typing.get_origin(found), typing.get_args(found)
    if origin is not None:
        return _from_generic(found, origin, arguments, column)
    if isinstance(found, type):
        if issubclass(found, Enum):
            return _from_enum(found, column)
        fields = _fields(found)
        if fields:
            return pl.Struct({name: _data_type(inner, f"{column}.{name}") for name, inner in fields.items()})
    raise _unknown(found, column)


def _from_polars_class(found: type[pl.DataType], column: str) -> pl.DataType:
    """A Polars type given as a class; those that mean nothing without parameters are refused."""
    if found is pl.Datetime:
        return pl.Datetime("us")
    if found is pl.Duration:
        return pl.Duration("us")
    if found is pl.Decimal:
        return PYTHON_TYPES[Decimal]
    try:
        return found()
    except TypeError:
        raise SchemaError(
            f"column {column!r}: {found.__name__} needs to say of what",
            hint=f"write for example {column!r}: pl.List(pl.Int64)",
        ) from None


def _from_name(name: str, column: str) -> pl.DataType:
    """A type by its name, as configuration files have it: `"Int64"`, `"datetime"`, `"str"`."""
    python = {getattr(found, "__name__", ""): data_type for found, data_type in PYTHON_TYPES.items()}
    if name in python:
        return python[name]
    found = POLARS_NAMES.get(name)
    if isinstance(found, type) and issubclass(found, pl.DataType):
        return _from_polars_class(found, column)
    raise SchemaError(
        f"column {column!r}: there is no type {name!r}.{did_you_mean(name, [*POLARS_NAMES, *python])}",
        hint='use a Polars type by its name, as "Int64" or "String"',
    )


def _from_generic(found: object, origin: object, arguments: Sequence[Any], column: str) -> pl.DataType:
    """`Optional`, `Annotated`, `list[T]`, `Literal` and what TypedDict puts around a field."""
    if origin in (typing.Union, types.UnionType):
        meant = [one for one in arguments if one is not type(None)]
        if len(meant) != 1:
            raise SchemaError(
                f"column {column!r}: a column has one type, not {_shown(found)}",
                hint="declare pl.String and convert it in a step",
            )
        return _data_type(meant[0], column)
    if origin is typing.Annotated:
        named = [one for one in arguments[1:] if isinstance(one, pl.DataType)]
        return named[0] if named else _data_type(arguments[0], column)
    if origin in (typing.Required, typing.NotRequired):
        return _data_type(arguments[0], column)
    if origin in (list, tuple, set, frozenset, Sequence) and arguments:
        return pl.List(_data_type(arguments[0], column))
    if origin is typing.Literal:
        kinds = {type(one) for one in arguments}
        if len(kinds) == 1:
            return _data_type(kinds.pop(), column)
    raise _unknown(found, column)


def _from_enum(found: type[Enum], column: str) -> pl.DataType:
    """The type of the values of an `enum.Enum`, which must be one."""
    kinds = {type(member.value) for member in found}
    if len(kinds) != 1:
        raise _unknown(found, column)
    return _data_type(kinds.pop(), column)


def _unknown(found: object, column: str) -> SchemaError:
    return SchemaError(
        f"column {column!r}: {_shown(found)} is no type that a column can have",
        hint="use int, float, str, bool, bytes, datetime, date, Decimal, list[...] or a Polars type",
    )


def _shown(found: object) -> str:
    text = found.__name__ if isinstance(found, type) and not typing.get_args(found) else repr(found)
    return text if len(text) <= 80 else f"{text[:80]}..."  # noqa: PLR2004 - an error stays on one line
