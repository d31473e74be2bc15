"""Polars types and PostgreSQL types: which stands for which, and rows as the text that COPY reads and writes.

CSV is what both sides are quickest at: Polars writes and reads it column-wise, and an unquoted empty field is null
while a quoted one is an empty string, on both sides. Floats are written in the shortest form that reads back the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from penstock.connect.sql_epochs import EPOCH
from penstock.errors import ConnectorError

__all__ = ["as_json", "column_type", "decode", "encode", "fits", "polars_type", "text_array", "undecoded"]

_PLAIN: dict[type[pl.DataType], str] = {
    pl.Int8: "smallint",
    pl.Int16: "smallint",
    pl.Int32: "integer",
    pl.Int64: "bigint",
    pl.Int128: "numeric(39,0)",
    pl.UInt8: "smallint",
    pl.UInt16: "integer",
    pl.UInt32: "bigint",
    pl.UInt64: "numeric(20,0)",
    pl.Float32: "real",
    pl.Float64: "double precision",
    pl.Boolean: "boolean",
    pl.String: "text",
    pl.Categorical: "text",
    pl.Enum: "text",
    pl.Null: "text",
    pl.Date: "date",
    pl.Time: "time without time zone",
    pl.Duration: "interval",
    pl.Binary: "bytea",
}

_WIDER: dict[str, tuple[str, ...]] = {
    "smallint": ("integer", "bigint", "numeric"),
    "integer": ("bigint", "numeric"),
    "bigint": ("numeric",),
    "real": ("double precision",),
    "numeric": ("numeric",),
    "text": ("character varying", "character", "citext", "uuid", "json", "jsonb", "inet", "cidr", "xml"),
    "jsonb": ("json", "text"),
}
"""What else a column of an existing table may be, beside the type that we would have given it (without modifiers)."""

_FROM_CATALOG: dict[str, pl.DataType] = {
    "smallint": pl.Int16(),
    "integer": pl.Int32(),
    "bigint": pl.Int64(),
    "real": pl.Float32(),
    "double precision": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "time without time zone": pl.Time(),
    "timestamp without time zone": pl.Datetime("us"),
    "timestamp with time zone": pl.Datetime("us", "UTC"),
    "bytea": pl.Binary(),
    "oid": pl.UInt32(),
}

_BOOLEANS = {"t": True, "f": False, "true": True, "false": False}
_DECIMAL_DIGITS = 38
_TIME_OF_DAY = "%H:%M:%S%.f"
_DATETIME = "%Y-%m-%d %H:%M:%S%.f"
_ARRAY_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^",{}]+)')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def column_type(name: str, dtype: pl.DataType) -> str:
    """The type that a column of a new table gets, as the catalog spells it. Raises ConnectorError for none."""
    base = dtype.base_type()
    if base in _PLAIN:
        return _PLAIN[base]
    if isinstance(dtype, pl.Datetime):
        return f"timestamp {'with' if dtype.time_zone else 'without'} time zone"
    if isinstance(dtype, pl.Decimal):
        return f"numeric({dtype.precision or _DECIMAL_DIGITS},{dtype.scale})"
    if isinstance(dtype, pl.List | pl.Array):
        inner = _inner(dtype)
        return "jsonb" if inner.is_nested() else f"{column_type(name, inner)}[]"
    if isinstance(dtype, pl.Struct):
        return "jsonb"
    raise ConnectorError(
        f"column {name!r} has type {dtype}, which PostgreSQL can't keep", hint="cast it before the write"
    )


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    inner = dtype.inner
    return inner if isinstance(inner, pl.DataType) else inner()


def fits(wanted: str, existing: str) -> bool:
    """Whether values for a column of type `wanted` go into one of type `existing` without losing anything."""
    if wanted == existing:
        return True
    if wanted.endswith("[]") or existing.endswith("[]"):
        return wanted.endswith("[]") and existing.endswith("[]") and fits(wanted[:-2], existing[:-2])
    wanted_base, existing_base = _without_modifier(wanted), _without_modifier(existing)
    if existing_base == "numeric" and wanted_base == "numeric":
        return _numeric_fits(wanted, existing)
    if wanted_base == existing_base:
        return existing == existing_base  # timestamp(0) would round
    return existing_base in _WIDER.get(wanted_base, ())


def _numeric_fits(wanted: str, existing: str) -> bool:
    room, need = _numeric(existing), _numeric(wanted)
    return room is None or (need is not None and room[1] >= need[1] and room[0] - room[1] >= need[0] - need[1])


def _numeric(spelled: str) -> tuple[int, int] | None:
    found = re.search(r"\((\d+)(?:,(\d+))?\)", spelled)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _without_modifier(spelled: str) -> str:
    return re.sub(r"\(\d+(,-?\d+)?\)", "", spelled)


def polars_type(spelled: str) -> pl.DataType:
    """The type of a column by its name in the catalog. What Polars has no type for comes as text, nothing lost.

    `numeric` without digits is text too: declare a schema to have it as a decimal or a float.
    """
    if spelled.endswith("[]"):
        return pl.List(polars_type(spelled[:-2]))
    base = _without_modifier(spelled)
    if base == "numeric":
        digits = _numeric(spelled)
        return pl.Decimal(*digits) if digits and digits[0] <= _DECIMAL_DIGITS else pl.String()
    return _FROM_CATALOG.get(base, pl.String())


# --- rows to text -----------------------------------------------------------------------------------------------------


def encode(frame: pl.DataFrame, epoch: int) -> bytes:
    """Rows as CSV for COPY, with the epoch as a last column (so that no line is ever empty).

    Raises ConnectorError, naming column and value, where a time is finer than PostgreSQL's microseconds.
    """
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Time) or (isinstance(dtype, pl.Datetime | pl.Duration) and dtype.time_unit == "ns"):
            _refuse_nanoseconds(frame[name])
    changed = [_text(pl.col(name), dtype).alias(name) for name, dtype in frame.schema.items() if _needs_text(dtype)]
    return (
        frame.with_columns(*changed, pl.lit(epoch).alias(EPOCH))
        .write_csv(include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.6f", time_format="%H:%M:%S%.6f")
        .encode()
    )


def _refuse_nanoseconds(column: pl.Series) -> None:
    finer = column.filter(column.to_physical() % 1000 != 0)
    if finer.len():
        raise ConnectorError(
            f"column {column.name!r} holds {finer[0]!r} ({finer.to_physical()[0]} ns): PostgreSQL keeps microseconds",
            state_left="nothing of the epoch was written",
            hint="round it in the flow, for example with .dt.round('1us')",
        )


def _needs_text(dtype: pl.DataType) -> bool:
    return (
        dtype.is_nested()
        or isinstance(dtype, pl.Binary | pl.Duration)
        or (isinstance(dtype, pl.Datetime) and dtype.time_zone is not None)
    )


def _text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The column as something that `write_csv` writes as PostgreSQL wants to read it."""
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return pl.concat_str(
            column.dt.convert_time_zone("UTC").dt.replace_time_zone(None).dt.to_string("%Y-%m-%d %H:%M:%S%.6f"),
            pl.lit("+00"),
        )
    if isinstance(dtype, pl.Binary):
        return pl.concat_str(pl.lit("\\x"), column.bin.encode("hex"))
    if isinstance(dtype, pl.Duration):
        return pl.concat_str(column.dt.total_microseconds().cast(pl.String), pl.lit(" microseconds"))
    if isinstance(dtype, pl.Struct):
        return pl.when(column.is_not_null()).then(column.struct.json_encode())
    if isinstance(dtype, pl.List | pl.Array):
        inner = _inner(dtype)
        if inner.is_nested():
            wrapped = pl.struct(column.alias("v")).struct.json_encode()
            return pl.when(column.is_not_null()).then(wrapped.str.slice(5).str.head(-1))
        items = column.arr.to_list() if isinstance(dtype, pl.Array) else column
        return pl.concat_str(pl.lit("{"), items.list.eval(_array_item(inner)).list.join(","), pl.lit("}"))
    return column


def _array_item(dtype: pl.DataType) -> pl.Expr:
    plain = _text(pl.element(), dtype)
    if isinstance(dtype, pl.Datetime) and not dtype.time_zone:
        plain = plain.dt.to_string("%Y-%m-%d %H:%M:%S%.6f")
    text = plain.cast(pl.String)
    if not dtype.is_numeric():
        inside = text.str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
        text = pl.concat_str(pl.lit('"'), inside, pl.lit('"'))
    return text.fill_null("NULL")


# --- text to rows -----------------------------------------------------------------------------------------------------


def decode(raw: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Columns of PostgreSQL's text as columns of `schema`; what can't be one becomes null (see `undecoded`)."""
    return pl.DataFrame({name: _decoded(raw[name], dtype) for name, dtype in schema.items()}, schema=schema)


def undecoded(raw: pl.DataFrame, frame: pl.DataFrame) -> list[tuple[int, str]]:
    """The rows that `decode` could not read: index and what is wrong, in the order of the rows."""
    found: dict[int, str] = {}
    for name, dtype in frame.schema.items():
        if frame[name].null_count() == raw[name].null_count():
            continue
        for index in (frame[name].is_null() & raw[name].is_not_null()).arg_true():
            found.setdefault(index, f"column {name!r}: {raw[name][index]!r} is no {dtype}")
    return sorted(found.items())


def _decoded(text: pl.Series, dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.String):
        return text
    if isinstance(dtype, pl.Boolean):
        return text.replace_strict(_BOOLEANS, default=None, return_dtype=dtype)
    if isinstance(dtype, pl.Datetime):
        return _decoded_datetime(text, dtype)
    if isinstance(dtype, pl.Date):
        return text.str.to_date("%Y-%m-%d", strict=False)
    if isinstance(dtype, pl.Time):
        return text.str.to_time(_TIME_OF_DAY, strict=False)
    if isinstance(dtype, pl.Binary):
        return text.str.strip_prefix("\\x").str.decode("hex", strict=False)
    if isinstance(dtype, pl.Struct):
        return _decoded_json(text, dtype)
    if isinstance(dtype, pl.List):
        inner = _inner(dtype)
        if inner.is_nested():
            return _decoded_json(text, dtype)
        items = pl.Series(text.name, [text_array(value) for value in text], dtype=pl.List(pl.String))
        flat = items.explode(empty_as_null=False, keep_nulls=False)
        return _regrouped(items, flat, _decoded(flat, inner), inner)
    return text.cast(dtype, strict=False)


def _decoded_datetime(text: pl.Series, dtype: pl.Datetime) -> pl.Series:
    if not dtype.time_zone:
        return text.str.to_datetime(_DATETIME, strict=False, time_unit=dtype.time_unit)
    # Sessions are in UTC, so the offset is always the same.
    read = text.str.to_datetime(f"{_DATETIME}+00", strict=False, time_unit=dtype.time_unit)
    return read.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)


def _decoded_json(text: pl.Series, dtype: pl.DataType) -> pl.Series:
    try:
        return text.str.json_decode(dtype)
    except pl.exceptions.PolarsError:
        return pl.Series(text.name, [_json_or_none(value, dtype) for value in text], dtype=dtype)


def _json_or_none(value: str | None, dtype: pl.DataType) -> Any:
    try:
        return None if value is None else pl.Series([value]).str.json_decode(dtype)[0]
    except pl.exceptions.PolarsError:
        return None


def _regrouped(items: pl.Series, text: pl.Series, values: pl.Series, inner: pl.DataType) -> pl.Series:
    """Lists as long as those of `items` out of their decoded `values`; null where one of them could not be decoded."""
    row = pl.int_range(items.len(), eager=True)
    lengths = items.list.len()
    owner = row.repeat_by(lengths.fill_null(0)).explode(empty_as_null=False, keep_nulls=False)
    flat = pl.DataFrame({"row": owner, "value": values, "bad": values.is_null() & text.is_not_null()})
    grouped = flat.group_by("row", maintain_order=True).agg("value", pl.col("bad").any())
    joined = pl.DataFrame({"row": row, "length": lengths}).join(grouped, on="row", how="left", maintain_order="left")
    empty = pl.lit([], dtype=pl.List(inner))
    chosen = pl.when(pl.col("length") == 0).then(empty).when(~pl.col("bad")).then("value")
    return joined.select(chosen.alias(items.name)).to_series()


def text_array(value: str | None) -> list[str | None] | None:
    """The items of an array as PostgreSQL spells it (`{1,NULL,"a,b"}`), one dimension; None where it is not that."""
    if value is None or not value.startswith("{") or value.startswith("{{"):
        return None
    return [
        None if plain == "NULL" else plain or _ESCAPED.sub(r"\1", inside)
        for inside, plain in _ARRAY_ITEM.findall(value)
    ]


def as_json(row: Sequence[str | None], names: Sequence[str]) -> str:
    """A row of text as JSON, for a dead letter."""
    return json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False)
