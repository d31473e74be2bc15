"""How Polars types are kept in a Delta table, which has fewer.

| Polars                  | in the table             |                                             |
|-------------------------|--------------------------|---------------------------------------------|
| UInt8, UInt16, UInt32   | short, int, long         | the next signed type that holds them all    |
| UInt64, Int128          | decimal(20,0), (38,0)    | nothing is lost; larger Int128 raise        |
| Float16                 | float                    |                                             |
| Categorical, Enum       | string                   |                                             |
| Datetime without zone   | timestamp_ntz            | a reading of a wall clock stays one         |
| Datetime with a zone    | timestamp                | the instant is kept, the zone becomes UTC   |
| Datetime in ns          | microseconds             | what is below a microsecond is cut off      |
| Time                    | string `HH:MM:SS.fffffffff` |                                          |
| Duration                | long, in microseconds    |                                             |
| Array                   | array                    | the fixed length is not kept                |
| Null                    | string                   | a column that has never had a value         |
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, Schema
from polars._typing import PolarsDataType
from polars.exceptions import PolarsError

from penstock.errors import ConnectorError

__all__ = ["delta_schema", "misfit", "stored_schema", "table_schema", "to_stored"]

WIDER: dict[pl.DataType, pl.DataType] = {
    pl.UInt8(): pl.Int16(),
    pl.UInt16(): pl.Int32(),
    pl.UInt32(): pl.Int64(),
    pl.UInt64(): pl.Decimal(20, 0),
    pl.Int128(): pl.Decimal(38, 0),
    pl.Float16(): pl.Float32(),
    pl.Null(): pl.String(),
    pl.Time(): pl.String(),
}
NOT_NESTED = (pl.Time, pl.Duration)


def stored_schema(schema: pl.Schema) -> pl.Schema:
    """The types that columns of these types have in the table. Raises ConnectorError for one that can't be kept."""
    return pl.Schema({column: _stored(dtype, column) for column, dtype in schema.items()})


def delta_schema(schema: pl.Schema) -> Schema:
    """The schema of the table, for columns of stored types."""
    empty = schema.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest())
    return Schema.from_arrow(empty.schema)


def table_schema(table: DeltaTable) -> pl.Schema:
    """The columns of a table as Polars types."""
    exported: Any = table.schema().to_arrow()
    frame = pl.from_arrow(pa.schema(exported).empty_table())
    assert isinstance(frame, pl.DataFrame)
    return frame.schema


def to_stored(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The columns of `schema` (stored types), in its order. Raises ConnectorError naming column and types."""
    typed = {c: schema[c] if dtype == pl.Null and c in schema else dtype for c, dtype in frame.schema.items()}
    reason = misfit(stored_schema(pl.Schema(typed)), schema)
    if reason is not None:
        raise ConnectorError(f"the rows don't fit the table: {reason}")
    columns = [_cast(frame.get_column(column), dtype) for column, dtype in schema.items()]
    return pl.DataFrame(columns)


def misfit(wanted: pl.Schema, found: pl.Schema) -> str | None:
    """Why rows of `wanted` (stored types) can't go into a table of `found`; None where they can."""
    for column, dtype in wanted.items():
        if column not in found:
            return f"it has no column {column!r} ({dtype}); it has {', '.join(found)}"
        if found[column] != dtype:
            return f"column {column!r} is {found[column]} there, the rows have {dtype}"
    extra = [column for column in found if column not in wanted]
    if extra:
        return f"the rows have no column {extra[0]!r} ({found[extra[0]]})"
    return None


def _stored(dtype: pl.DataType, column: str, *, nested: bool = False) -> pl.DataType:
    if nested and isinstance(dtype, NOT_NESTED):
        raise ConnectorError(f"column {column!r}: a Delta table can't keep {dtype} inside a list or struct")
    if dtype in WIDER:
        return WIDER[dtype]
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", "UTC" if dtype.time_zone else None)
    if isinstance(dtype, pl.Duration):
        return pl.Int64()
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        return pl.String()
    if isinstance(dtype, (pl.List, pl.Array)):
        return pl.List(_stored(_instance(dtype.inner), column, nested=True))
    if isinstance(dtype, pl.Struct):
        fields = {field.name: _stored(_instance(field.dtype), column, nested=True) for field in dtype.fields}
        return pl.Struct(fields)
    if isinstance(dtype, (pl.Object, pl.Unknown)):
        raise ConnectorError(f"column {column!r}: a Delta table can't keep {dtype}")
    return dtype


def _instance(dtype: PolarsDataType) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype


def _cast(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    if series.dtype == dtype:
        return series
    try:
        if isinstance(series.dtype, pl.Duration):
            return series.dt.total_microseconds()
        if series.dtype == pl.Time:
            return series.dt.to_string("%H:%M:%S%.9f")  # a plain cast drops the fraction
        if isinstance(series.dtype, pl.Array):
            series = series.arr.to_list()
        return series.cast(dtype)
    except PolarsError as error:
        raise ConnectorError(
            f"column {series.name!r}: values of {series.dtype} don't fit the table's {dtype}: {error}"
        ) from error
