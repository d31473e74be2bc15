"""PostgreSQL: a table that holds each epoch once (sink). The source that reads one is in `postgres_cursor`.

The rows of an epoch, its before-images and the epoch's number in `penstock_epochs` are one transaction. The row of the
target in `penstock_epochs` is locked first, so two writers never interleave, and a lower generation is fenced off.

Rows go in by COPY. The target has a last column `_epoch`: with an index where rows are appended, without one where
they are upserted (the images, which have one, say which keys an epoch touched).
"""

# ruff: noqa: S608 - SQL is put together from quoted names and integers, never from values of rows

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, TypeVar

import polars as pl
import psycopg

from penstock.connect.contract import Change, Context, Delivery, Receipt, Sink
from penstock.connect.postgres_cursor import PostgresSource
from penstock.connect.postgres_session import IDLE_IN_TRANSACTION_S, Session, Statement, Table, option_text
from penstock.connect.postgres_target import Target, refused
from penstock.connect.postgres_types import encode
from penstock.connect.sql_epochs import EPOCH, Position, TableSql, null_patterns, prune_settings
from penstock.connect.sql_table import EpochTable, SinglePass, Work
from penstock.connect.sql_text import literal, quoted
from penstock.errors import ConfigError
from penstock.flow import Dataset

__all__ = ["PostgresSink", "PostgresSource"]

T = TypeVar("T")

INCOMING = "penstock_incoming"
GONE = "penstock_gone"
OPEN_LOCK = 7_362_514_908
"""Advisory lock while a sink is opened: `create table if not exists` is not safe against itself."""
REPLACE_IDLE_S = 900
"""So long the changes of a replacement may take to come, one after the other, before the server gives it up."""
TAKEOVER_LOCK_MS = 250
"""So long a takeover waits for a transaction of the older generation before it ends that one's session."""


class PostgresSink(Sink):
    """Append to a table, or upsert by `Context.key`, in one transaction with the epoch.

    Options: `dsn`, `table` (`schema.table` or `table`), `keep_epochs` and `keep_hours` (how long rows that were
    overwritten can come back; 24 hours by default). The table is created when it is missing. An existing one must have
    the columns with fitting types, `_epoch bigint`, and for upsert a unique index on the key.
    """

    delivery = Delivery.TRANSACTIONAL
    undoable = True
    upserts = True
    replaces_at_once = True

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        if context.schema is None:
            raise ConfigError(f"sink {context.step!r}: the schema of the rows is not known")
        self._schema = context.schema
        self._table = Table(option_text(dataset, "table"))
        self._keep = prune_settings(dataset)
        self._session = Session(dataset, context)
        self._session.on_connect = self._make_room
        self._target: EpochTable | None = None
        self._prepared: str | None = None
        self._generation = 0

    # --- the contract -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Connect and check the table, so that `open` is one short transaction. Raises ConnectorError."""
        self._run(self._look_ahead)

    def open(self, generation: int) -> None:
        """Create or check the table and raise the fence. Raises Fenced, ConnectorError."""
        self._generation = generation
        self._run(lambda connection: self._open(connection, generation))
        self._session.name = self._session_name

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """Replace the epoch, in one transaction. Raises Fenced, ConnectorError."""
        if epoch < 0:
            raise ValueError(f"epoch {epoch} is negative")
        return self._work(lambda work, target: target.write(work, epoch, generation, change), epoch)

    def retract(self, first_epoch: int, generation: int) -> Receipt:
        """Take back epochs >= `first_epoch`, in one transaction. Raises Fenced, ConnectorError."""
        return self._work(lambda work, target: target.retract(work, first_epoch, generation), first_epoch)

    def replace(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        """Put `changes` in the place of epochs >= `first_epoch`, in one transaction. Raises Fenced, ConnectorError."""
        once = SinglePass(changes, self.context, first_epoch)

        def replaced(work: _PostgresWork, target: EpochTable) -> Receipt:
            work.idle_s = REPLACE_IDLE_S
            return target.replace(work, first_epoch, generation, once)

        return self._work(replaced, first_epoch)

    def last_epoch(self) -> int | None:
        """The last epoch that is committed in the table; None for a table that nobody wrote."""
        return self._run(self._last_epoch)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    # --- opening ------------------------------------------------------------------------------------------------------

    def _look_ahead(self, connection: Statement) -> None:
        """Learn what `open` would, where all is there already. Raises ConnectorError where it does not fit."""
        self._prepared = None
        self._table.settle(connection)
        target = Target(self.context, self._table, self._schema)
        row = connection.execute(f"select {target.shape()}").fetchone()
        columns = target.columns(connection)
        if columns:
            target.check(connection, columns)
        shape = row[0] if row else None
        if shape is None or not columns:
            return  # something is missing: `open` makes it
        sql = target.statements(columns)
        if self.context.key:
            images = connection.execute(
                "select attname::text from pg_attribute where attrelid = to_regclass(%s) and not attisdropped",
                [sql.before],
            )
            if not set(sql.all_columns) <= {str(name) for (name,) in images}:
                return
        self._target = self._epoch_table(target, sql)
        self._make_room(connection)
        self._prepared = str(shape)

    def _open(self, connection: Statement, generation: int) -> None:
        if self._prepared is not None and self._open_prepared(connection, self._prepared, generation):
            return
        self._prepared = None
        self._table.settle(connection)
        target = Target(self.context, self._table, self._schema)
        connection.execute(f"begin; select pg_advisory_xact_lock({OPEN_LOCK})")
        target.create_schema(connection)
        connection.execute(target.epochs.create())
        existing = target.columns(connection)
        if existing:
            target.check(connection, existing)
        else:
            target.create(connection)
        sql = target.statements(existing or target.columns(connection))
        if self.context.key:
            connection.execute(target.create_before(sql))
        opened = self._epoch_table(target, sql)
        connection.execute(target.epochs.add(self.context.flow, self.context.step, generation))
        rows = connection.execute(f"{target.epochs.read()} for update").fetchall()
        position = opened.admitted(rows, generation)
        connection.execute(target.epochs.update(generation=generation, step=self.context.step))
        if not existing and position.epoch is not None:  # somebody dropped the table: it starts anew
            connection.execute(target.epochs.update(epoch=None, undo_from=None))
            if self.context.key:
                connection.execute(f"truncate {sql.before}")
        connection.execute(f"commit; {self._named()}; drop table if exists pg_temp.{INCOMING}, pg_temp.{GONE}")
        self._target = opened
        self._make_room(connection)

    def _open_prepared(self, connection: Statement, shape: str, generation: int) -> bool:
        """Raise the fence in one round trip; False where anything is not as it was prepared: then all is looked at."""
        assert self._target is not None
        target = Target(self.context, self._table, self._schema)
        raised = (
            f"{target.epochs.update(generation=generation, step=self.context.step)} "
            f"and flow = {literal(self.context.flow)} and generation <= {generation:d} "
            f"and {target.shape()} = {literal(shape)} returning epoch"
        )
        try:
            cursor = connection.execute(
                f"begin; set local lock_timeout = '{TAKEOVER_LOCK_MS}ms'; {raised}; commit; {self._named()}"
            )
        except psycopg.errors.UndefinedTable:
            connection.execute("rollback")
            return False
        cursor.nextset()
        cursor.nextset()
        return cursor.rowcount == 1

    def _named(self) -> str:
        """The statement by which the server knows this session's generation (see `_end_older_sessions`)."""
        return f"set application_name = {literal(self._session_name)}"

    def _epoch_table(self, target: Target, sql: TableSql) -> EpochTable:
        return EpochTable(self.context, self._table.full, target.epochs, sql, self._keep)

    def _make_room(self, connection: Statement) -> None:
        """Temporary tables for the rows of an upsert, once a connection."""
        if self._target is None or not self.context.key:
            return
        names = ", ".join(quoted(name) for name in (*self._schema, EPOCH))
        key = ", ".join(quoted(name) for name in (*self.context.key, EPOCH))
        connection.execute(
            "; ".join(
                f"create temp table if not exists {table} on commit delete rows as "
                f"select {columns} from {self._target.sql.target} limit 0"
                for table, columns in ((INCOMING, names), (GONE, key))
            )
        )

    def _last_epoch(self, connection: Statement) -> int | None:
        self._table.settle(connection)
        try:
            row = connection.execute(Target(self.context, self._table, self._schema).epochs.read()).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
        return None if row is None else Position(*row).epoch  # type: ignore[arg-type]  # typed by the table

    # --- small things -------------------------------------------------------------------------------------------------

    def _work(self, work: Callable[[_PostgresWork, EpochTable], T], epoch: int) -> T:
        """One transaction on the opened target."""
        target = self._target
        if target is None:
            raise RuntimeError("open() comes before write(), retract() and replace()")
        return self._run(lambda connection: work(_PostgresWork(connection, target), target), epoch)

    def _run(self, work: Callable[[Statement], T], epoch: int | None = None) -> T:
        """Work on the connection; a lock that an older generation holds (frozen, perhaps) is taken from it."""

        def guarded(connection: Statement) -> T:
            try:
                return work(connection)
            except psycopg.errors.LockNotAvailable:
                connection.execute("rollback")
                if not self._end_older_sessions(connection):
                    raise
                return work(connection)

        return self._session.run(guarded, table=self._table.full, epoch=epoch)

    @property
    def _session_name(self) -> str:
        return f"{self._session_prefix}{self._generation}"

    @property
    def _session_prefix(self) -> str:
        name = blake2b(self._table.full.encode(), digest_size=8).hexdigest()
        return f"penstock-{name}-g"

    def _end_older_sessions(self, connection: Statement) -> int:
        """End the server's side of older generations' connections: a frozen process can't let its locks go itself."""
        rows = connection.execute(
            "select pg_terminate_backend(pid, 2000) from pg_stat_activity where datname = current_database() "
            "and starts_with(application_name, %(prefix)s) and pid <> pg_backend_pid() "
            "and substr(application_name, length(%(prefix)s) + 1)::bigint < %(generation)s",
            {"prefix": self._session_prefix, "generation": self._generation},
        ).fetchall()
        return len(rows)


class _PostgresWork(Work):
    """A transaction on one connection."""

    def __init__(self, connection: Statement, target: EpochTable) -> None:
        self._connection = connection
        self._target = target
        self._filled: set[str] = set()
        """Temporary tables that hold rows of this transaction."""
        self.idle_s = IDLE_IN_TRANSACTION_S
        """So long the server waits for the next statement before it takes this writer for frozen."""

    def begin(self, query: str) -> list[tuple[Any, ...]]:
        """One round trip for all; the row stays locked until the end."""
        idle = f"set local idle_in_transaction_session_timeout = '{self.idle_s}s'; "
        cursor = self._connection.execute(
            f"begin; {idle if self.idle_s != IDLE_IN_TRANSACTION_S else ''}{query} for update"
        )
        while cursor.nextset():  # to the last result, that of the query
            pass
        return cursor.fetchall()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        return self._connection.execute(query).fetchall()

    def count(self, statement: str) -> int:
        """How many rows a statement changed."""
        return self._connection.execute(statement).rowcount

    def put(self, epoch: int, change: Change) -> None:
        """By COPY: into the target, or, where there is a key, into temporary tables that are then merged."""
        sql = self._target.sql
        if not sql.key:
            if not change.rows.is_empty():
                self._copy(sql.target, change.rows, epoch)
            return
        key = list(sql.key)
        now_us = self._target.context.clock.now_us()
        statements: list[str] = []
        if change.deleted is not None and not change.deleted.is_empty():
            self._stage(GONE, change.deleted.select(key), epoch)
            for nulls in null_patterns(change.deleted.select(key)):
                statements += [sql.save_before(GONE, epoch, now_us, nulls), sql.delete_keys(GONE, nulls)]
        if not change.rows.is_empty():
            # In the order of the index its pages are met once each, and two writers can't deadlock.
            self._stage(INCOMING, change.rows.sort(key), epoch)
            patterns = null_patterns(change.rows.select(key))
            statements += [sql.save_before(INCOMING, epoch, now_us, nulls) for nulls in patterns]
            statements.append(sql.upsert_rows(INCOMING, epoch))
        if statements:
            self._connection.execute("; ".join(statements))

    def commit(self, statement: str) -> None:
        """One round trip for both."""
        self._connection.execute(f"{statement}; commit")

    def _stage(self, table: str, rows: pl.DataFrame, epoch: int) -> None:
        """Fill a temporary table, which is empty at the begin of each transaction but not of each epoch."""
        if table in self._filled:
            self._connection.execute(f"truncate {table}")
        self._filled.add(table)
        self._copy(table, rows, epoch)

    def _copy(self, table: str, rows: pl.DataFrame, epoch: int) -> None:
        names = ", ".join(quoted(name) for name in (*rows.columns, EPOCH))
        data = encode(rows, epoch)
        try:
            with self._connection.cursor().copy(f"copy {table} ({names}) from stdin (format csv)") as copy:
                copy.write(data)
        except psycopg.DataError as error:
            named = _nul_column(rows)
            if named is None:
                raise
            raise refused(
                self._target.context,
                f"PostgreSQL keeps no NUL characters in text: {named}",
                epoch=epoch,
                hint="remove them in the flow, for example with .str.replace_all('\\x00', '')",
            ) from error


def _nul_column(rows: pl.DataFrame) -> str | None:
    """Which text column holds a NUL, and the first such value."""
    for name, dtype in rows.schema.items():
        if dtype in (pl.String, pl.Categorical, pl.Enum):
            text = rows[name].cast(pl.String)
            found = text.filter(text.str.contains("\0", literal=True))
            if found.len():
                return f"column {name!r} holds {found[0]!r}"
        elif dtype.is_nested():
            for row in rows[name]:
                if "\\x00" in repr(row):
                    return f"column {name!r} holds {row!r}"
    return None
