"""Polars expressions tried on an empty frame: what they give, where each output comes from, what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from penstock.analysis.faults import POLARS_ERRORS, Here, StepFaulty, type_text
from penstock.analysis.neighbours import refuse_other_rows

__all__ = [
    "aggregate_schema",
    "column_sources",
    "empty",
    "output_names",
    "output_roots",
    "try_predicate",
    "try_projection",
]

Named = tuple[str | None, Any]


def empty(schema: pl.Schema) -> pl.DataFrame:
    """A frame of these columns without rows."""
    return pl.DataFrame(schema=schema)


def parts(expressions: Sequence[Any]) -> list[Named]:
    """The expressions of a step, one by one, with the name that a keyword gave or None.

    Strings alone are columns; under a keyword, what is no expression is a value.
    """
    return list(_flat(expressions))


def _flat(expressions: Iterable[Any]) -> Iterator[Named]:
    for item in expressions:
        if isinstance(item, tuple):
            name, value = item
            yield name, value if isinstance(value, pl.Expr) else pl.lit(value)
        elif isinstance(item, (list, set)):
            yield from _flat(item)
        else:
            yield None, item


def _project(frame: pl.DataFrame, found: Sequence[Named], *, keep: bool) -> pl.Schema:
    positional = [value for name, value in found if name is None]
    named = {name: value for name, value in found if name is not None}
    lazy = frame.lazy()
    return (lazy.with_columns(*positional, **named) if keep else lazy.select(*positional, **named)).collect().schema


def try_projection(here: Here[Any], expressions: Sequence[Any], schema: pl.Schema, *, keep: bool) -> pl.Schema:
    """The columns after `with_columns` (`keep`) or `select`; every faulty expression is noted by itself."""
    _refuse_quoted_columns(here, expressions, schema)
    found, frame = parts(expressions), empty(schema)
    try:
        after = _project(frame, found, keep=keep)
    except POLARS_ERRORS as error:
        whole = error
    else:
        refuse_other_rows(here, [(_label(name, value), value) for name, value in found if isinstance(value, pl.Expr)])
        return after
    outputs = {name for name, _ in found if name is not None}
    for name, value in found:
        try:
            _project(frame, [(name, value)], keep=keep)
        except POLARS_ERRORS as error:
            here.polars(error, schema, expression=_label(name, value))
            _tell_of_siblings(here, outputs - {name or ""})
    if not here.faults:  # each is right alone: they clash
        here.polars(whole, schema, expression="the step")
    raise StepFaulty


def _refuse_quoted_columns(here: Here[Any], expressions: Sequence[Any], schema: pl.Schema) -> None:
    """`start="window_start"` is the text, in Polars' own methods it is the column: nobody should have to guess."""
    for item in expressions:
        if isinstance(item, tuple) and isinstance(item[1], str) and item[1] in schema:
            name, value = item
            here.fault(
                f"{name}={value!r} could mean the column or the text",
                hint=f'write {name}=pl.col("{value}") for the column, {name}=pl.lit("{value}") for the text',
            )


def _tell_of_siblings(here: Here[Any], outputs: set[str]) -> None:
    """A column that the same step makes is not there yet for the expressions beside it."""
    fault = here.faults[-1]
    for output in outputs:
        if fault.message.startswith(f"there is no column {output!r} "):
            here.faults.pop()
            here.fault(
                f"column {output!r} is made in this same step, where the other expressions can't see it yet",
                hint="use it in a second .with_columns(...)",
                schema=fault.schema,
                original=fault.original,
            )


def _label(name: str | None, value: Any) -> str:
    if name is not None:
        return repr(name)
    if isinstance(value, str):
        return repr(value)
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - an error stays readable


def try_predicate(here: Here[Any], predicate: Any, schema: pl.Schema, *, what: str = "") -> None:
    """Note what is wrong with an expression that has to be true or false for each row."""
    subject = what or "the condition"
    if not isinstance(predicate, pl.Expr):
        here.fault(
            f"{subject} is {predicate!r}, not a Polars expression",
            hint='write it with pl.col, e.g. pl.col("amount") > 0',
        )
        return
    try:
        found = empty(schema).lazy().select(predicate).collect().schema
    except POLARS_ERRORS as error:
        here.polars(error, schema, expression=what)
        return
    for dtype in found.dtypes():
        if dtype not in (pl.Boolean, pl.Null):
            here.fault(
                f"{subject} is {type_text(dtype)}, not true or false",
                hint='compare it with something, e.g. pl.col("amount") > 0',
                schema=schema,
            )


def output_names(expressions: Sequence[Any], schema: pl.Schema) -> list[str]:
    """The names of the columns that the expressions give, as Polars resolves them."""
    return _project(empty(schema), parts(expressions), keep=False).names()


def output_roots(expressions: Sequence[Any], schema: pl.Schema) -> dict[str, tuple[str, ...]]:
    """Output column -> the input columns that its expression reads; all of them where Polars can't tell."""
    roots: dict[str, tuple[str, ...]] = {}
    for name, value in parts(expressions):
        outputs = _project(empty(schema), [(name, value)], keep=False).names()
        if isinstance(value, str):
            roots[value] = (value,)
        elif value.meta.has_multiple_outputs():
            roots |= {output: (output,) if output in schema else tuple(schema) for output in outputs}
        else:
            roots[outputs[0]] = tuple(dict.fromkeys(value.meta.root_names()))
    return roots


def column_sources(expressions: Sequence[Any]) -> dict[str, str]:
    """Output column -> input column, for the outputs that are one input column, perhaps under a new name."""
    sources: dict[str, str] = {}
    for name, value in parts(expressions):
        if isinstance(value, str):
            sources[value] = value
        elif isinstance(value, pl.Expr):
            bare = value.meta.undo_aliases()
            if bare.meta.is_column():
                source = bare.meta.output_name()
                sources[name or value.meta.output_name()] = source
            elif bare.meta.is_column_selection() and not bare.meta.is_regex_projection() and name is None:
                sources |= {root: root for root in value.meta.root_names()}
    return sources


def aggregate_schema(
    here: Here[Any], keys: Sequence[str], aggregates: Mapping[str, Any], schema: pl.Schema
) -> dict[str, pl.DataType]:
    """The types of aggregates by `keys`; notes those that do not give one value for each group.

    Counts are UInt32 in Polars, which ends at 4 billion rows: a result of that type that no UInt32 column explains is
    Int64 here, since a stream does not end.
    """
    found: dict[str, pl.DataType] = {}
    frame = empty(schema)
    for name, value in aggregates.items():
        if not isinstance(value, pl.Expr):
            here.fault(
                f"the aggregate {name!r} is {value!r}, not a Polars expression",
                hint=f'write for example {name}=pl.col("...").sum()',
            )
            continue
        try:
            found[name] = _aggregate_type(frame, keys, name, value)
            scalar = _is_scalar(frame, value, found[name])
        except POLARS_ERRORS as error:
            here.polars(error, schema, expression=f"the aggregate {name!r}")
            continue
        if not scalar:
            here.fault(
                f"the aggregate {name!r} gives many values for each group, not one: {_label(None, value)}",
                hint="end it with .sum(), .max(), .last(), .implode() (a list) or another aggregation",
            )
    here.stop_if_faulty()
    return found


def _aggregate_type(frame: pl.DataFrame, keys: Sequence[str], name: str, value: pl.Expr) -> pl.DataType:
    by: list[str | pl.Expr] = [*keys] or [pl.lit(0).alias(f"{name}_group")]
    dtype = frame.lazy().group_by(by).agg(value.alias(name)).collect().schema[name]
    involved = {frame.schema.get(root) for root in value.meta.root_names()}
    return pl.Int64() if dtype == pl.get_index_type() and dtype not in involved else dtype


def _is_scalar(frame: pl.DataFrame, value: pl.Expr, grouped: pl.DataType) -> bool:
    """Whether an aggregate gives one value for a group: one that does not comes out of a group as a list of it."""
    return grouped != pl.List(frame.lazy().select(value).collect().schema.dtypes()[0])
