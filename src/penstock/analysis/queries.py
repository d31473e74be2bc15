"""The columns of a DuckDB query over one batch, found by running it on an empty table."""

from __future__ import annotations

from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from penstock.analysis.expressions import empty
from penstock.analysis.faults import Here

__all__ = ["closed_connection", "sql_schema"]

_SETTINGS = (
    "set timezone = 'UTC'",
    "set python_enable_replacements = false",
    "set enable_external_access = false",
    "set lock_configuration = true",
)
"""A query sees the batch, not the Python variables around it, no file and no network: else a replay could differ."""


def closed_connection(threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory for queries of an author: analysis and engine ask the same one, so both refuse the same."""
    connection = duckdb.connect(config={} if threads is None else {"threads": threads})
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection


def sql_schema(here: Here[Any], query: str, schema: pl.Schema) -> pl.Schema:
    """The columns that `query` gives over a table `self` of these columns."""
    with closed_connection(threads=1) as connection:
        connection.register("self", empty(schema).to_arrow())
        try:
            statements = connection.extract_statements(query)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                here.fail(
                    f"the SQL has to be one SELECT, not {_statements_text(statements)}",
                    hint='write it as "select ... from self"',
                )
            connection.execute(query)  # its errors show the place in the text, those of `sql` do not
            table = connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            here.duckdb(error, schema, query)
            here.stop_if_faulty()
    return _polars_schema(here, table)


def _statements_text(statements: list[duckdb.Statement]) -> str:
    kinds = [statement.type.name.replace("_", " ") for statement in statements]
    return " and ".join(kinds) if kinds else "an empty text"


def _polars_schema(here: Here[Any], table: pa.Table) -> pl.Schema:
    names = table.schema.names
    for name in sorted({name for name in names if names.count(name) > 1}):
        here.fault(f"the SQL gives two columns {name!r}", hint="name one of them otherwise with AS")
    for column in table.schema:
        if pa.types.is_interval(column.type):
            here.fault(
                f"the SQL gives column {column.name!r} as an INTERVAL, which has no fixed length",
                hint=f"give it as a number, e.g. epoch({column.name}) for seconds",
            )
    here.stop_if_faulty()
    return pl.from_arrow(table).schema  # type: ignore[union-attr]
