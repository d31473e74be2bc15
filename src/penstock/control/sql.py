"""One DuckDB session over all tables of an environment and its ledger, for reading, while flows run.

DuckDB's extensions for Delta Lake and PostgreSQL would have to be downloaded, so they are not used: of a Delta table
the transaction log gives the files of its newest version and DuckDB reads those; a PostgreSQL table is copied out for
the query. Only the tables that a query names are opened.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from penstock.connect import literal, quoted
from penstock.control.project import Environment
from penstock.control.readers import READERS, Shelf
from penstock.control.sql_views import LEDGER_VIEWS, VIEWS
from penstock.control.tables import TableFacts, environment_tables
from penstock.errors import ConnectorError, QueryError, did_you_mean
from penstock.observe import time_limit

__all__ = ["LEDGER_VIEWS", "QueryResult", "SqlSession"]

BATCH_ROWS = 10_000

_ALL_TABLES = re.compile(r"\b(show|information_schema|pg_catalog|duckdb_\w+)\b", re.IGNORECASE)
_READS = frozenset({"SELECT", "EXPLAIN", "PRAGMA", "RELATION", "LOGICAL_PLAN"})


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The columns of a result, and its rows in batches. Taking a batch may raise QueryError."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class SqlSession:
    """A session; use it in a `with`. It may be asked several queries, tables stay as they were first seen."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.tables: Mapping[str, TableFacts] = {table.name: table for table in environment_tables(environment)}
        self._opened: set[str] = set()
        self._scratch = tempfile.TemporaryDirectory(prefix="penstock-sql-")
        self._connection = duckdb.connect(
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        self._connection.execute("set timezone = 'UTC'")
        self._shelf = Shelf(self._connection, environment.root, Path(self._scratch.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connection and the temporary files."""
        self._connection.close()
        self._scratch.cleanup()

    @property
    def names(self) -> list[str]:
        """All names that a query may use."""
        return sorted({*self.tables, *LEDGER_VIEWS})

    def query(self, text: str, parameters: Sequence[Any] = ()) -> QueryResult:
        """The result of one statement that reads; its rows are computed as they are asked for.

        `parameters` are bound to its `?`. Raises QueryError with DuckDB's words and the known names, ConnectorError
        where a table can't be reached.
        """
        statement = self._statement(text)
        self.open_named_in(text)
        try:
            relation = self._connection.sql(statement, params=list(parameters) or None)
            reader = relation.to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise self._refused(error) from None
        return QueryResult(reader.schema, self._batches(reader))

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise self._refused(error) from None

    def rows(
        self, text: str, parameters: Sequence[Any] = (), *, limit: int, limit_s: float | None
    ) -> tuple[pa.Schema, list[tuple[Any, ...]]]:
        """The first `limit` rows of a query, computed within `limit_s` seconds. Raises as `query`."""
        with time_limit(self._connection, limit_s):
            found = self.query(text, parameters)
            rows: list[tuple[Any, ...]] = []
            for batch in found.batches:
                part = batch.slice(0, limit - len(rows))
                rows += zip(*(column.to_pylist() for column in part.columns), strict=True)
                if len(rows) >= limit:
                    break
        return found.schema, rows

    def enclose(self) -> None:
        """Let queries reach the environment's own tables and logs, and no other file of the machine."""
        folders = [self.environment.folder / "logs", self.environment.folder / "tables"]
        places = [self.environment.root / table.place for table in self.tables.values() if table.kind in READERS]
        reached = [f"{path}/" for path in folders] + [str(path) for path in places] + [f"{path}/" for path in places]
        listed = ", ".join(map(literal, [*reached, f"{self._scratch.name}/"]))
        self._connection.execute(f"set allowed_directories = [{listed}]")
        self._connection.execute("set enable_external_access = false")
        self._connection.execute("set lock_configuration = true")

    def row_count(self, name: str) -> int:
        """How many rows a table has. Raises as `query`."""
        found = self.query(f"select count(*) as n from {quoted(name)}")  # noqa: S608 - quoted
        return sum(int(batch.column("n")[0].as_py()) for batch in found.batches)

    def _statement(self, text: str) -> duckdb.Statement:
        try:
            statements = self._connection.extract_statements(text)
        except duckdb.Error as error:
            raise self._refused(error) from None
        if len(statements) != 1:
            raise QueryError(f"{len(statements)} statements; give one", hint='penstock sql "select ..."')
        kind = statements[0].type.name
        if kind not in _READS:
            raise QueryError(
                f"a {kind} statement changes something; this session only reads",
                state_left="nothing was changed",
                hint="use select; to keep a result: penstock sql ... --format csv > file.csv",
            )
        return statements[0]

    def open_named_in(self, text: str) -> None:
        """Open the tables and views that a query names; `query` does so itself."""
        lower = text.lower()
        everything = bool(_ALL_TABLES.search(text))
        for name in self.names:
            if name not in self._opened and (everything or name.lower() in lower):
                self._open(name)
                self._opened.add(name)

    def _open(self, name: str) -> None:
        table = self.tables.get(name)
        if table is None:
            self._open_ledger_view(name)
            return
        reader = READERS.get(table.kind)
        if reader is None:
            return
        try:
            source = reader(self._shelf, table)
            if source is not None:
                self._connection.execute(f"create or replace view {quoted(name)} as {source}")
        except duckdb.Error as error:
            raise ConnectorError(f"table {name!r} ({table.kind} {table.place}) can't be read: {error}") from None

    def _open_ledger_view(self, name: str) -> None:
        VIEWS[name](self._connection, self.environment, name)

    def _refused(self, error: Exception) -> QueryError:
        if isinstance(error, duckdb.InterruptException):
            return QueryError("the query was ended: it took too long", hint="ask for fewer rows, or less time")
        text = str(error)
        first, _, _ = text.partition("\n")
        missing = re.search(r"Table with name (.+?) does not exist", first)
        if missing is None:
            return QueryError(_plain(text), hint=f"tables: {', '.join(self.names)}")
        name = missing[1].strip('"')
        known = {table.lower(): table for table in self.names}
        if name.lower() in known and name.lower() not in LEDGER_VIEWS:
            table = self.tables[known[name.lower()]]
            return QueryError(
                f"the table {table.name!r} has no rows yet ({table.kind} {table.place} is not there)"
                if table.kind in READERS
                else f"a {table.kind} dataset can't be read by SQL",
                hint=f"run its flow: penstock run {table.flow}" if table.flow else None,
            )
        return QueryError(
            f"there is no table {name!r} in environment {self.environment.name!r}.{did_you_mean(name, self.names)}",
            hint=f"tables: {', '.join(self.names)}" + ("" if self.tables else " (no flow has run here yet)"),
        )


def _plain(text: str) -> str:
    """DuckDB's message without its class and without blank lines."""
    lines: Sequence[str] = [line for line in text.split("\n") if line.strip()]
    return "\n".join([lines[0].partition(": ")[2] or lines[0], *lines[1:]]) if lines else text
