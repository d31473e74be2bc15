"""How a table of each kind becomes a query that DuckDB runs, without any extension that would have to be downloaded.

A reader gives the text of a `select`, or None where there is no row and no table yet.
"""

# ruff: noqa: S608 - SQL is put together from quoted names and literals, never from values of rows

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from penstock.clock import new_id
from penstock.connect import literal, quoted
from penstock.control.databases import locked_file, postgres_connection, qualified
from penstock.control.tables import TableFacts
from penstock.errors import ConnectorError

__all__ = ["READERS", "Shelf"]

_UNCAST = ("bytea", "[]")
_CSV = (
    "header = true, nullstr = '', allow_quoted_nulls = false, delim = ',', quote = '\"', escape = '\"', "
    "max_line_size = 100000000"
)
"""As our sinks and PostgreSQL write it; guessing would go wrong for a few rows with quotes in them."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a reader needs: the session's connection, where relative paths begin, a folder for copies."""

    connection: duckdb.DuckDBPyConnection
    root: Path
    scratch: Path


Reader: TypeAlias = Callable[[Shelf, TableFacts], str | None]


def _delta(shelf: Shelf, table: TableFacts) -> str | None:
    """The files of the newest version; a table that is still empty shows its columns.

    DuckDB reads files quicker than an Arrow data set; the latter knows how to put partition columns back.
    """
    path = shelf.root / str(table.options["path"])
    name = f"{table.name} (Delta)"
    try:
        found = DeltaTable(str(path))
        actions = pa.table(cast("Any", found.get_add_actions())).column("path").to_pylist()
        if actions and found.metadata().partition_columns:
            shelf.connection.register(name, found.to_pyarrow_dataset())
            return f"select * from {quoted(name)}"
    except TableNotFoundError:
        return None
    except DeltaError as error:
        raise ConnectorError(f"the Delta table {path} can't be read: {error}") from None
    if not actions:
        shelf.connection.register(name, pa.schema(cast("Any", found.schema().to_arrow())).empty_table())
        return f"select * from {quoted(name)}"
    # Paths in the log are written as in a URL.
    files = ", ".join(literal(str(path / unquote(str(file)))) for file in actions)
    return f"select * from read_parquet([{files}], union_by_name = true)"


def _parquet(shelf: Shelf, table: TableFacts) -> str | None:
    folder = shelf.root / str(table.options["path"])
    if not any(folder.glob("*.parquet")):
        return None
    return f"select * from read_parquet({literal(str(folder / '*.parquet'))}, union_by_name = true)"


def _folder_of_files(shelf: Shelf, table: TableFacts) -> str | None:
    """NDJSON or CSV, as the folder's files are called."""
    folder = shelf.root / str(table.options["path"])
    for pattern, function, options in (("*.jsonl*", "read_json_auto", ""), ("*.csv*", "read_csv", f", {_CSV}")):
        if any(folder.glob(pattern)):
            return f"select * from {function}({literal(str(folder / pattern))}, union_by_name = true{options})"
    return None


def _duckdb(shelf: Shelf, table: TableFacts) -> str | None:
    path = shelf.root / str(table.options["path"])
    if not path.is_file():
        return None
    alias = f"file of {table.name}"
    try:
        shelf.connection.execute(f"attach {literal(str(path))} as {quoted(alias)} (read_only)")
    except duckdb.IOException as error:
        raise locked_file(error, table.place, table.flow or None) or error from None
    return f"select * from {quoted(alias)}.{qualified(str(table.options['table']))}"


def _postgres(shelf: Shelf, table: TableFacts) -> str | None:
    target = shelf.scratch / f"{new_id()}.csv"
    name = qualified(str(table.options["table"]))
    with postgres_connection(table.options, shelf.root) as connection:
        columns = connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute "
            "where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
            [name],
        ).fetchall()
        if not columns:
            return None
        copy = f"copy (select * from {name}) to stdout (format csv, header, encoding 'UTF8')"
        with connection.cursor().copy(copy) as rows, target.open("wb") as out:
            for block in rows:
                out.write(block)
    types = ", ".join(_cast(name, kind) for name, kind in columns)
    return f"select {types} from read_csv({literal(str(target))}, all_varchar = true, {_CSV})"


def _cast(name: str, kind: str) -> str:
    """A column with PostgreSQL's type, where DuckDB reads its text the same way; else as text."""
    column = quoted(name)
    if any(word in kind for word in _UNCAST):
        return column
    return f"try_cast({column} as {'json' if kind == 'jsonb' else kind}) as {column}"


READERS: Mapping[str, Reader] = {
    "delta": _delta,
    "parquet": _parquet,
    "files": _folder_of_files,
    "duckdb": _duckdb,
    "postgres": _postgres,
}
"""Kind of a sink -> its reader."""
