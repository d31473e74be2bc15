"""A table in a DuckDB file that holds each epoch once (sink).

DuckDB locks its file: while a flow has it open, no other process can open it, **not even to read**. That is why it is
not the default. The sink opens the file with `open` and gives it back with `close`; several sinks of one flow may write
tables of one file. Where others must read while the flow runs, write Delta or PostgreSQL.

There is no index: a statement on the keys of an epoch is a hash join with the table's key columns, which takes
milliseconds for millions of rows and leaves nothing to maintain.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and integers, never from values of rows

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from penstock.connect.contract import Change, Context, Delivery, Receipt, Sink
from penstock.connect.sql_epochs import (
    EPOCH,
    EPOCHS_TABLE,
    EpochsSql,
    Position,
    TableSql,
    null_patterns,
    prune_settings,
)
from penstock.connect.sql_table import EpochTable, Work
from penstock.connect.sql_text import quoted
from penstock.errors import ConfigError, ConnectorError
from penstock.flow import Dataset

__all__ = ["DuckdbSink"]

INCOMING = "penstock_incoming"
GONE = "penstock_gone"

_WIDER: dict[str, tuple[str, ...]] = {
    "TINYINT": ("SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    "SMALLINT": ("INTEGER", "BIGINT", "HUGEINT"),
    "INTEGER": ("BIGINT", "HUGEINT"),
    "BIGINT": ("HUGEINT",),
    "UTINYINT": ("USMALLINT", "UINTEGER", "UBIGINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    "USMALLINT": ("UINTEGER", "UBIGINT", "INTEGER", "BIGINT", "HUGEINT"),
    "UINTEGER": ("UBIGINT", "BIGINT", "HUGEINT"),
    "UBIGINT": ("HUGEINT",),
    "FLOAT": ("DOUBLE",),
    "TIMESTAMP_MS": ("TIMESTAMP",),
    "VARCHAR": ("JSON", "UUID"),
}
"""What else a column of an existing table may be, beside the type that we would have given it."""


class DuckdbSink(Sink):
    """Append to a table of a DuckDB file, or upsert by `Context.key`, in one transaction with the epoch.

    Options: `path`, `table`, `keep_epochs` and `keep_hours` (how long rows that were overwritten can come back; 24
    hours by default). The file and the table are created when missing. An open sink **locks other processes out**.
    """

    delivery = Delivery.TRANSACTIONAL
    undoable = True
    upserts = True
    replaces_at_once = True

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        if context.schema is None:
            raise ConfigError(f"sink {context.step!r}: the schema of the rows is not known")
        path, table = dataset.options.get("path"), dataset.options.get("table")
        if not isinstance(path, str) or not isinstance(table, str) or not path or not table:
            raise ConfigError(f"dataset {dataset.name!r} of kind 'duckdb' needs the options 'path' and 'table'")
        self._path = context.root / Path(path)
        self._name = table
        self._schema = context.schema
        self._keep = prune_settings(dataset)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._epochs = EpochsSql(quoted(EPOCHS_TABLE), table)
        self._target: EpochTable | None = None

    # --- the contract -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Nothing: the process that leads has the file, and nobody else can look into it."""

    def open(self, generation: int) -> None:
        """Open the file (which locks other processes out), create or check the table, raise the fence.

        Raises Fenced, and ConnectorError where the table does not fit (does not heal) or another process has the file
        open: that heals as soon as that one closes its sink, as an older generation does when it learns of a newer.
        """
        connection = self._connected()
        with _Transaction(self, connection):
            self._run(self._epochs.create())
            existing = self._columns()
            if not existing:
                self._create()
            else:
                self._check(existing)
            sql = self._statements_for(list(self._columns()))
            if self.context.key:
                self._create_before(sql)
            target = EpochTable(self.context, self._name, self._epochs, sql, self._keep)
            self._run(self._epochs.add(self.context.flow, self.context.step, generation))
            position = target.admitted(self._rows(self._epochs.read()), generation)
            self._run(self._epochs.update(generation=generation, step=self.context.step))
            if not existing and position.epoch is not None:  # somebody dropped the table: it starts anew
                self._run(self._epochs.update(epoch=None, undo_from=None))
                if self.context.key:
                    self._run(f"delete from {sql.before}")
        self._target = target

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """Replace the epoch, in one transaction. Raises Fenced, ConnectorError."""
        if epoch < 0:
            raise ValueError(f"epoch {epoch} is negative")
        target, connection = self._opened, self._connected()
        with _Transaction(self, connection, epoch):
            return target.write(_DuckdbWork(connection, target), epoch, generation, change)

    def retract(self, first_epoch: int, generation: int) -> Receipt:
        """Take back epochs >= `first_epoch`, in one transaction. Raises Fenced, ConnectorError."""
        target, connection = self._opened, self._connected()
        with _Transaction(self, connection, first_epoch):
            return target.retract(_DuckdbWork(connection, target), first_epoch, generation)

    def replace(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        """Put `changes` in the place of epochs >= `first_epoch`, in one transaction. Raises Fenced, ConnectorError."""
        target, connection = self._opened, self._connected()
        with _Transaction(self, connection, first_epoch):
            return target.replace(_DuckdbWork(connection, target), first_epoch, generation, changes)

    def last_epoch(self) -> int | None:
        """The last epoch that is committed in the table; None for a table that nobody wrote."""
        self._connected()
        known = self._rows(f"select 1 from duckdb_tables() where table_name = '{EPOCHS_TABLE}'")
        row = self._rows(self._epochs.read()) if known else []
        return Position(*row[0]).epoch if row else None

    def close(self) -> None:
        """Close the file, so that other processes can open it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- opening ------------------------------------------------------------------------------------------------------

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                connection = duckdb.connect(self._path)
                # Nothing outside the file is looked at: names in our SQL are tables or what we registered.
                connection.execute("set python_enable_replacements = false")
                connection.execute("set timezone = 'UTC'")
            except (duckdb.Error, OSError) as error:
                raise self._not_opened(error) from error
            self._connection = connection
        return self._connection

    def _not_opened(self, error: Exception) -> ConnectorError:
        holder = re.search(r"\(PID (\d+)\)", str(error))
        if holder is None:
            return self._error(f"the DuckDB file {self._path} can't be opened: {error}")
        return self._error(
            f"the DuckDB file {self._path} is open in another process, PID {holder[1]}: one process at a time can have "
            "it, to read as to write",
            hint=f"end that process (`ps -fp {holder[1]}`); to read while flows run, write to Delta or PostgreSQL",
        )

    def _columns(self) -> dict[str, str]:
        rows = self._rows(
            "select column_name, data_type from duckdb_columns() where schema_name = current_schema() "
            "and database_name = current_database() and table_name = ? order by column_index",
            [self._name],
        )
        return dict(rows)

    def _create(self) -> None:
        for name in self._schema:
            if name.lower() == EPOCH:
                raise self._error(f"column {name!r} is the sink's own", hint="rename the column")
        _show(self._connected(), INCOMING, self._schema.to_frame(), self.context)
        self._run(
            f"create table {quoted(self._name)} as select *, cast(0 as bigint) as {quoted(EPOCH)} "
            f"from {INCOMING} limit 0"
        )

    def _check(self, existing: dict[str, str]) -> None:
        """Raises ConnectorError for the first column that is missing or does not fit."""
        _show(self._connected(), INCOMING, self._schema.to_frame(), self.context)
        alter = f"alter table {quoted(self._name)} add column"
        for name, wanted, *_ in self._rows(f"describe select * from {INCOMING}"):
            if name not in existing:
                raise self._error(
                    f"table {self._name} has no column {name!r}, the flow writes it as {wanted}",
                    hint=f"{alter} {quoted(name)} {wanted}",
                )
            if wanted != existing[name] and existing[name] not in _WIDER.get(wanted, ()):
                raise self._error(
                    f"table {self._name}: column {name!r} is {existing[name]}, the flow writes {wanted} "
                    f"({self._schema[name]})",
                    hint="cast the column in the flow, or alter the table",
                )
        if EPOCH not in existing:
            raise self._error(
                f"table {self._name} has no column {EPOCH!r}, by which the rows of an epoch are found again",
                hint=f"{alter} {quoted(EPOCH)} bigint",
            )

    def _statements_for(self, all_columns: list[str]) -> TableSql:
        return TableSql(
            target=quoted(self._name),
            before=quoted(f"penstock_before_{self._name}"),
            columns=tuple(self._schema),
            key=self.context.key,
            all_columns=tuple(all_columns),
            row_id="rowid",
        )

    def _create_before(self, sql: TableSql) -> None:
        """The table of before-images, with a column for each that the target has got since."""
        self._run(sql.create_before())
        kept = {
            name
            for (name,) in self._rows(
                "select column_name from duckdb_columns() where table_name = ?", [f"penstock_before_{self._name}"]
            )
        }
        for name, spelled in self._columns().items():
            if name not in kept:
                self._run(f"alter table {sql.before} add column {quoted(name)} {spelled}")

    # --- small things -------------------------------------------------------------------------------------------------

    @property
    def _opened(self) -> EpochTable:
        if self._target is None:
            raise RuntimeError("open() comes before write(), retract() and replace()")
        return self._target

    def _rows(self, query: str, values: list[object] | None = None) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connected().execute(query, values or []).fetchall()
        return found

    def _run(self, query: str) -> None:
        self._rows(query)

    def _error(self, message: str, *, epoch: int | None = None, hint: str | None = None) -> ConnectorError:
        return ConnectorError(
            message,
            flow=self.context.flow,
            step=self.context.step,
            epoch=epoch,
            state_left="nothing was written",
            hint=hint,
        )


class _DuckdbWork(Work):
    """What a target does inside a `_Transaction`, which begins and ends it. One process has the file: no locks."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, target: EpochTable) -> None:
        self._connection = connection
        self._target = target

    def begin(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of the query: it has begun already."""
        return self.rows(query)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        found: list[tuple[Any, ...]] = self._connection.execute(query).fetchall()
        return found

    def count(self, statement: str) -> int:
        """How many rows a statement changed: DuckDB answers with one row that says so."""
        return int(self.rows(statement)[0][0])

    def put(self, epoch: int, change: Change) -> None:
        """From frames that DuckDB sees as views."""
        sql = self._target.sql
        if change.deleted is not None and not change.deleted.is_empty():
            keys = change.deleted.select(sql.key)
            _show(self._connection, GONE, keys, self._target.context)
            self._displace(GONE, keys, epoch)
        if not change.rows.is_empty():
            _show(self._connection, INCOMING, change.rows, self._target.context)
            if sql.key:
                self._displace(INCOMING, change.rows.select(sql.key), epoch)
            self.rows(sql.insert_rows(INCOMING, epoch))

    def commit(self, statement: str) -> None:
        """Run it; the transaction commits when it is left."""
        self.rows(statement)

    def _displace(self, incoming: str, keys: pl.DataFrame, epoch: int) -> None:
        """Keep the rows of these keys as before-images and delete them."""
        sql = self._target.sql
        now_us = self._target.context.clock.now_us()
        for nulls in null_patterns(keys):
            self.rows(sql.save_before(incoming, epoch, now_us, nulls))
            self.rows(sql.delete_keys(incoming, nulls))


class _Transaction:
    """`begin`, then `commit`, or `rollback` where something was raised; DuckDB's errors become ConnectorError."""

    def __init__(self, sink: DuckdbSink, connection: duckdb.DuckDBPyConnection, epoch: int | None = None) -> None:
        self._sink = sink
        self._connection = connection
        self._epoch = epoch

    def __enter__(self) -> None:
        self._connection.execute("begin")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._connection.execute("commit")
                return
            self._roll_back()
        except duckdb.Error as refused:
            self._roll_back()
            raise self._explained(refused) from refused
        if isinstance(error, duckdb.Error | pl.exceptions.PolarsError):
            raise self._explained(error) from error

    def _roll_back(self) -> None:
        """Back to before; a connection that can't (a fatal error, a full disk) is made anew by the next write."""
        try:
            self._connection.abort()
            self._connection.execute("rollback")
        except duckdb.TransactionException:
            return  # the failed commit has rolled back itself
        except duckdb.Error:
            self._sink.close()

    def _explained(self, error: Exception) -> ConnectorError:
        explained = ConnectorError(
            f"DuckDB refuses a row of the epoch or can't write it: {error}",
            flow=self._sink.context.flow,
            step=self._sink.context.step,
            epoch=self._epoch,
            state_left="nothing of the epoch was written",
            hint="look at the column and value named above; a full disk heals when there is room",
        )
        explained.heals = not isinstance(error, duckdb.DataError | duckdb.IntegrityError | pl.exceptions.PolarsError)
        return explained


def _show(connection: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame, context: Context) -> None:
    """Show a frame to DuckDB as a view. What Arrow can't carry to it becomes what can."""
    changed = []
    for column, dtype in frame.schema.items():
        if isinstance(dtype, pl.Int128):
            changed.append(pl.col(column).cast(pl.Decimal(38, 0)))
        elif isinstance(dtype, pl.Null | pl.Categorical | pl.Enum):
            changed.append(pl.col(column).cast(pl.String))
        elif isinstance(dtype, pl.Object):
            raise ConnectorError(
                f"column {column!r} has type {dtype}, which DuckDB can't keep",
                flow=context.flow,
                step=context.step,
                state_left="nothing was written",
                hint="cast it",
            )
    connection.register(name, frame.with_columns(*changed).to_arrow())
