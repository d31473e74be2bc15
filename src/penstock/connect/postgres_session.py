"""One connection to PostgreSQL that comes back after it was lost, and its errors in our words."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar

import psycopg
from psycopg import pq

from penstock.connect.contract import Context
from penstock.connect.secrets import resolve
from penstock.connect.sql_text import quoted
from penstock.errors import ConfigError, ConnectorError, PenstockError
from penstock.flow import Dataset

__all__ = ["IDLE_IN_TRANSACTION_S", "Session", "Statement", "Table", "option_text"]

T = TypeVar("T")
Statement = psycopg.Connection[tuple[object, ...]]
"""A connection in autocommit mode: transactions are written as `begin` and `commit`, with what goes along with them."""

NAME_BYTES = 63
CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 5
IDLE_IN_TRANSACTION_S = 60
NOTHING_WRITTEN = "nothing of the epoch was written"
SINK_STATE = "the epoch is there whole or not at all; writing it again leaves it there once"

_SETTINGS = (
    "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set bytea_output = 'hex'; "
    "set extra_float_digits = 1; set client_encoding = 'UTF8'; set client_min_messages = 'warning'; "
    "set jit = off; "  # compiling a statement takes longer than an epoch
    f"set lock_timeout = '{LOCK_TIMEOUT_S}s'; set idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_S}s'"
)


def option_text(dataset: Dataset, name: str) -> str:
    """A text option that must be there. Raises ConfigError."""
    value = dataset.options.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"dataset {dataset.name!r} of kind {dataset.kind!r} needs the option {name!r}")
    return value


class Table:
    """The name of a table: `table` or `schema.table`; the schema is filled in by `settle`."""

    def __init__(self, name: str) -> None:
        schema, _, table = name.rpartition(".")
        if not table or len(table.encode()) > NAME_BYTES:
            raise ConfigError(f"{name!r} is no name of a PostgreSQL table (at most {NAME_BYTES} bytes)")
        self.schema = schema
        self.table = table

    def settle(self, connection: Statement) -> None:
        """Fill in the schema: where the search path finds the table, or else would create it."""
        if self.schema:
            return
        row = connection.execute(
            "select coalesce((select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where c.oid = to_regclass(%s)), current_schema())",
            [quoted(self.table)],
        ).fetchone()
        if row is None or row[0] is None:
            raise ConnectorError(
                f"table {self.table!r}: the search path of this user has no schema", hint="write it as schema.table"
            )
        self.schema = str(row[0])

    @property
    def full(self) -> str:
        """`schema.table`, for people and as the target's name in `penstock_epochs`."""
        return f"{self.schema}.{self.table}"

    @property
    def sql(self) -> str:
        """The quoted name."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"

    def beside(self, prefix: str) -> str:
        """The quoted name of a table of ours that belongs to this one, in the same schema."""
        name = prefix + self.table
        if len(name.encode()) > NAME_BYTES:
            name = prefix + blake2b(self.table.encode(), digest_size=12).hexdigest()
        return f"{quoted(self.schema)}.{quoted(name)}"


class Session:
    """A connection that is made when it is needed and made again after it was lost.

    `on_connect` runs on each new connection (temporary tables). `run` retries its work once on a new connection, so the
    work must be one that may be done twice; all of ours is, because epochs replace.
    """

    def __init__(self, dataset: Dataset, context: Context, *, state_left: str = SINK_STATE) -> None:
        self._state_left = state_left
        self._dsn = resolve(option_text(dataset, "dsn"), context.root)
        self._context = context
        self._connection: Statement | None = None
        self.on_connect: Callable[[Statement], None] = lambda _connection: None
        self.name = "penstock"
        """What the server knows the next connection by, at most 63 bytes."""

    def run(self, work: Callable[[Statement], T], *, table: str, epoch: int | None = None) -> T:
        """Do some work on the connection. Raises ConnectorError with what the database said; leaves no transaction."""
        for last_try in (False, True):
            try:
                connection = self._connected()
                try:
                    return work(connection)
                finally:
                    self._leave(connection)
            except psycopg.Error as error:
                if last_try or not self._lost(error):
                    raise self._explained(error, table, epoch) from error
        raise AssertionError("the second try returns or raises")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Statement:
        if self._connection is None or self._connection.closed:
            connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name=self.name,
                keepalives_idle=15,
                keepalives_interval=5,
                keepalives_count=3,
            )
            try:
                connection.execute(_SETTINGS)
                self.on_connect(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _leave(self, connection: Statement) -> None:
        """Whatever happened, no transaction stays open. What can't be rolled back is closed."""
        status = connection.info.transaction_status
        if status == pq.TransactionStatus.IDLE:
            return
        if status in {pq.TransactionStatus.INERROR, pq.TransactionStatus.INTRANS}:
            try:
                connection.execute("rollback")
            except psycopg.Error:
                connection.close()
        else:
            connection.close()

    def _lost(self, error: psycopg.Error) -> bool:
        return (
            self._connection is not None
            and self._connection.closed
            and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        )

    def _explained(self, error: psycopg.Error, table: str, epoch: int | None) -> PenstockError:
        flow, step = self._context.flow, self._context.step
        unwritten = NOTHING_WRITTEN if self._state_left == SINK_STATE else self._state_left
        said = error.diag.message_primary or str(error).strip()
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
            refused = ConnectorError(
                f"PostgreSQL refuses a row for table {table}: {said}{detail}{_whereabouts(error)}",
                flow=flow,
                step=step,
                epoch=epoch,
                state_left=unwritten,
                hint="filter or cast such rows before the write, or change the table's column",
            )
            refused.heals = False
            return refused
        if isinstance(error, psycopg.ProgrammingError):
            wrong = ConnectorError(
                f"PostgreSQL, table {table}: {said}{detail}",
                flow=flow,
                step=step,
                epoch=epoch,
                state_left=unwritten,
                hint="look at the table and at this user's rights on it and on its schema",
            )
            wrong.heals = False
            return wrong
        return ConnectorError(
            f"PostgreSQL, table {table}: {said}{detail}",
            flow=flow,
            step=step,
            epoch=epoch,
            state_left=self._state_left,
            hint="it goes on by itself when the server is back",
        )


def _whereabouts(error: psycopg.Error) -> str:
    """Column, constraint and value as far as the server says them."""
    parts = []
    if error.diag.column_name:
        parts.append(f"column {error.diag.column_name!r}")
    if error.diag.constraint_name:
        parts.append(f"constraint {error.diag.constraint_name!r}")
    if error.diag.context:
        parts.append(error.diag.context.splitlines()[0])
    return f"; {'; '.join(parts)}" if parts else ""
