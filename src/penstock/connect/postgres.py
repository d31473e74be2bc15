"""PostgreSQL: a table that holds each epoch once (sink). The source that reads one is in `postgres_cursor`.

The rows of an epoch, its before-images and the epoch's number in `penstock_epochs` are one transaction. The row of the
target in `penstock_epochs` is locked first, so two writers never interleave, and a lower generation is fenced off.

Rows go in by COPY. The target has a last column `_epoch`: with a BRIN index where rows are appended (a few pages for
millions of rows), without an index where they are upserted (the images say which keys an epoch touched).
"""

# ruff: noqa: S608 - SQL is put together from quoted names and integers, never from values of rows

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar

import polars as pl
import psycopg

from penstock.connect.contract import Change, Context, Delivery, Receipt, Sink
from penstock.connect.postgres_cursor import PostgresSource
from penstock.connect.postgres_session import NAME_BYTES, Session, Statement, Table, option_text
from penstock.connect.postgres_types import column_type, encode, fits
from penstock.connect.sql_epochs import (
    EPOCH,
    EPOCHS_TABLE,
    EpochsSql,
    Position,
    TableSql,
    null_patterns,
    prune_settings,
    quoted,
)
from penstock.errors import ConfigError, ConnectorError
from penstock.flow import Dataset

__all__ = ["PostgresSink", "PostgresSource"]

T = TypeVar("T")

NULLS_NOT_DISTINCT = 150000
"""The server version from which a unique index can hold null keys once."""
INCOMING = "penstock_incoming"
GONE = "penstock_gone"
OPEN_LOCK = 7_362_514_908
"""Advisory lock while a sink is opened: `create table if not exists` is not safe against itself."""


class PostgresSink(Sink):
    """Append to a table, or upsert by `Context.key`, in one transaction with the epoch.

    Options: `dsn`, `table` (`schema.table` or `table`), `keep_epochs` and `keep_hours` (how long rows that were
    overwritten can come back; 24 hours by default). The table is created when it is missing. An existing one must have
    the columns with fitting types, `_epoch bigint`, and for upsert a unique index on the key.
    """

    delivery = Delivery.TRANSACTIONAL
    undoable = True
    upserts = True

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        if context.schema is None:
            raise ConfigError(f"sink {context.step!r}: the schema of the rows is not known")
        self._schema = context.schema
        self._table = Table(option_text(dataset, "table"))
        self._keep = prune_settings(dataset)
        self._session = Session(dataset, context)
        self._session.prepare = self._prepare
        self._sql: TableSql | None = None
        self._epochs: EpochsSql | None = None
        self._overriding = ""
        self._generation = 0

    # --- the contract -------------------------------------------------------------------------------------------------

    def open(self, generation: int) -> None:
        """Create or check the table and raise the fence. Raises Fenced, ConnectorError."""
        self._generation = generation
        self._run(lambda connection: self._open(connection, generation))
        self._session.rename(self._session_name(generation))

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """Replace the epoch, in one transaction. Raises Fenced, ConnectorError."""
        if epoch < 0:
            raise ValueError(f"epoch {epoch} is negative")
        return self._run(lambda connection: self._write(connection, epoch, generation, change), epoch)

    def retract(self, first_epoch: int, generation: int) -> Receipt:
        """Take back epochs >= `first_epoch`, in one transaction. Raises Fenced, ConnectorError."""
        return self._run(lambda connection: self._retract(connection, first_epoch, generation), first_epoch)

    def last_epoch(self) -> int | None:
        """The last epoch that is committed in the table; None for a table that nobody wrote."""
        return self._run(self._last_epoch)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    # --- opening ------------------------------------------------------------------------------------------------------

    def _open(self, connection: Statement, generation: int) -> None:
        self._table.settle(connection)
        self._epochs = EpochsSql(f"{quoted(self._table.schema)}.{EPOCHS_TABLE}", self._table.full)
        connection.execute(f"begin; select pg_advisory_xact_lock({OPEN_LOCK})")
        if self._lacks_schema(connection):
            connection.execute(f"create schema {quoted(self._table.schema)}")
        connection.execute(self._epochs.create())
        created = self._create_or_check(connection)
        if self.context.key:
            connection.execute(self._before_sql())
        connection.execute(self._epochs.add(self.context.flow, self.context.step, generation))
        position = self._admitted(connection, generation)
        connection.execute(self._epochs.update(generation=generation, step=self.context.step))
        if created and position.epoch is not None:  # somebody dropped the table: it starts anew
            connection.execute(self._epochs.update(epoch=None, undo_from=None))
            if self._sql is not None and self.context.key:
                connection.execute(f"truncate {self._sql.before}")
        connection.execute("commit")
        self._prepare(connection)

    def _create_or_check(self, connection: Statement) -> bool:
        """Whether the table was created now. Leaves the statements for it in `_sql`."""
        existing = self._columns(connection)
        if not existing:
            self._create(connection)
            existing = self._columns(connection)
            created = True
        else:
            self._check(connection, existing)
            created = False
        kept = [name for name, (_, kind) in existing.items() if kind != "generated"]
        self._overriding = "overriding system value" if any(kind == "identity" for _, kind in existing.values()) else ""
        self._sql = TableSql(
            target=self._table.sql,
            before=self._table.beside("penstock_before_"),
            columns=tuple(self._schema),
            key=self.context.key,
            all_columns=tuple(kept),
            row_id="ctid",
        )
        return created

    def _columns(self, connection: Statement) -> dict[str, tuple[str, str]]:
        """Column -> (type, "plain" | "generated" | "identity"); empty where there is no such table."""
        rows = connection.execute(
            "select a.attname, format_type(case when t.typtype = 'd' then t.typbasetype else a.atttypid end, "
            "case when t.typtype = 'd' then t.typtypmod else a.atttypmod end), a.attgenerated, a.attidentity "
            "from pg_attribute a join pg_type t on t.oid = a.atttypid "
            "where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum",
            [self._table.sql],
        ).fetchall()
        return {
            str(name): (str(spelled), "generated" if generated else "identity" if identity == "a" else "plain")
            for name, spelled, generated, identity in rows
        }

    def _create(self, connection: Statement) -> None:
        columns = [f"{quoted(name)} {column_type(name, dtype)}" for name, dtype in self._checked_schema().items()]
        columns.append(f"{quoted(EPOCH)} bigint not null")
        # Room in each page lets an update stay in its page and leave the index alone.
        room = " with (fillfactor = 85)" if self.context.key else ""
        connection.execute(f"create table {self._table.sql} ({', '.join(columns)}){room}")
        if not self.context.key:
            brin = f"using brin ({quoted(EPOCH)}) with (autosummarize = on)"
            connection.execute(f"create index on {self._table.sql} {brin}")
            return
        key = ", ".join(quoted(name) for name in self.context.key)
        if connection.info.server_version >= NULLS_NOT_DISTINCT:
            connection.execute(f"create unique index on {self._table.sql} ({key}) nulls not distinct")
        else:
            connection.execute(f"alter table {self._table.sql} add primary key ({key})")

    def _lacks_schema(self, connection: Statement) -> bool:
        found = connection.execute("select 1 from pg_namespace where nspname = %s", [self._table.schema]).fetchone()
        return found is None

    def _checked_schema(self) -> pl.Schema:
        for name in self._schema:
            if len(name.encode()) > NAME_BYTES or "\0" in name:
                raise self._error(f"column {name!r}: a name in PostgreSQL has at most {NAME_BYTES} bytes and no NUL")
            if name == EPOCH:
                raise self._error(f"column {EPOCH!r} is the sink's own", hint="rename the column")
        return self._schema

    def _check(self, connection: Statement, existing: dict[str, tuple[str, str]]) -> None:
        """Raises ConnectorError for the first column that is missing or does not fit, and where a key has no index."""
        alter = f"alter table {self._table.sql} add column"
        for name, dtype in self._checked_schema().items():
            wanted = column_type(name, dtype)
            if name not in existing:
                raise self._error(
                    f"table {self._table.full} has no column {name!r}, the flow writes it as {wanted}",
                    hint=f"{alter} {quoted(name)} {wanted}",
                )
            if not fits(wanted, existing[name][0]):
                raise self._error(
                    f"table {self._table.full}: column {name!r} is {existing[name][0]}, the flow writes {wanted} "
                    f"({dtype})",
                    hint="cast the column in the flow, or alter the table",
                )
        if EPOCH not in existing:
            raise self._error(
                f"table {self._table.full} has no column {EPOCH!r}, by which the rows of an epoch are found again",
                hint=f"{alter} {quoted(EPOCH)} bigint",
            )
        if self.context.key and not self._has_unique_index(connection):
            key = ", ".join(quoted(name) for name in self.context.key)
            raise self._error(
                f"table {self._table.full} has no unique index on its key ({', '.join(self.context.key)})",
                hint=f"create unique index on {self._table.sql} ({key})",
            )

    def _has_unique_index(self, connection: Statement) -> bool:
        rows = connection.execute(
            "select array_agg(a.attname::text) from pg_index i "
            "cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, nth) "
            "join pg_attribute a on a.attnum = k.attnum and a.attrelid = i.indrelid where nth <= i.indnkeyatts "
            "and i.indrelid = to_regclass(%s) and i.indisunique and i.indisvalid and i.indimmediate "
            "and i.indpred is null and i.indexprs is null group by i.indexrelid",
            [self._table.sql],
        ).fetchall()
        return any(set(columns) == set(self.context.key) for (columns,) in rows if isinstance(columns, list))

    def _before_sql(self) -> str:
        """The table of before-images, with a column for each that the target has got since."""
        sql = self._statements
        missing = (
            f"do $$ declare c record; begin for c in select a.attname, format_type(a.atttypid, a.atttypmod) as spelled "
            f"from pg_attribute a where a.attrelid = {_regclass(sql.target)} and a.attnum > 0 and not a.attisdropped "
            f"and a.attgenerated = '' and not exists (select 1 from pg_attribute b where b.attrelid = "
            f"{_regclass(sql.before)} and b.attname = a.attname and not b.attisdropped) loop "
            f"execute format('alter table %s add column %I %s', {_regclass(sql.before)}, c.attname, c.spelled); "
            "end loop; end $$"
        )
        index = (
            f"do $$ begin if not exists (select 1 from pg_index where indrelid = {_regclass(sql.before)}) then "
            f'create index on {sql.before} using brin ("_by", "_at_us") with (autosummarize = on); end if; end $$'
        )
        return f"{sql.create_before()}; {missing}; {index}"

    def _prepare(self, connection: Statement) -> None:
        """Temporary tables for the rows of an upsert, once a connection."""
        if self._sql is None or not self.context.key:
            return
        names = ", ".join(quoted(name) for name in (*self._schema, EPOCH))
        key = ", ".join(quoted(name) for name in (*self.context.key, EPOCH))
        for table, columns in ((INCOMING, names), (GONE, key)):
            connection.execute(
                f"create temp table if not exists {table} on commit delete rows as "
                f"select {columns} from {self._sql.target} limit 0"
            )

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self, connection: Statement, epoch: int, generation: int, change: Change) -> Receipt:
        position = self._begin(connection, generation)
        replaced = position.replaces(epoch, flow=self.context.flow, step=self.context.step, table=self._table.full)
        if replaced:
            self._take_back(connection, epoch)
        if self.context.key:
            self._upsert(connection, epoch, change)
            self._prune(connection, epoch, position)
        elif not change.rows.is_empty():
            self._copy(connection, self._statements.target, change.rows, epoch)
        advance = self._epoch_row.update(epoch=epoch, generation=generation)
        connection.execute(f"{advance}; commit")
        deleted = 0 if change.deleted is None else change.deleted.height
        return {"rows": change.rows.height, "deleted": deleted, "replaced": replaced}

    def _upsert(self, connection: Statement, epoch: int, change: Change) -> None:
        sql = self._statements
        key = list(self.context.key)
        now_us = self.context.clock.now_us()
        statements: list[str] = []
        if change.deleted is not None and not change.deleted.is_empty():
            self._copy(connection, GONE, change.deleted.select(key), epoch)
            for nulls in null_patterns(change.deleted.select(key)):
                statements += [sql.save_before(GONE, epoch, now_us, nulls), sql.delete_keys(GONE, nulls)]
        if not change.rows.is_empty():
            # In the order of the index its pages are met once each, and two writers can't deadlock.
            self._copy(connection, INCOMING, change.rows.sort(key), epoch)
            patterns = null_patterns(change.rows.select(key))
            statements += [sql.save_before(INCOMING, epoch, now_us, nulls) for nulls in patterns]
            statements.append(sql.upsert_rows(INCOMING, epoch))
        if statements:
            connection.execute("; ".join(statements))

    def _copy(self, connection: Statement, table: str, rows: pl.DataFrame, epoch: int) -> None:
        names = ", ".join(quoted(name) for name in (*rows.columns, EPOCH))
        data = encode(rows, epoch)
        try:
            with connection.cursor().copy(f"copy {table} ({names}) from stdin (format csv)") as copy:
                copy.write(data)
        except psycopg.DataError as error:
            named = _nul_column(rows)
            if named is None:
                raise
            raise self._error(
                f"PostgreSQL keeps no NUL characters in text: {named}",
                epoch=epoch,
                hint="remove them in the flow, for example with .str.replace_all('\\x00', '')",
            ) from error

    def _take_back(self, connection: Statement, first_epoch: int) -> int:
        """How many rows went or came back."""
        sql = self._statements
        if not self.context.key:
            return connection.execute(sql.delete_appended(first_epoch)).rowcount
        patterns = connection.execute(sql.patterns_since(first_epoch)).fetchall()
        count = 0
        for row in patterns:
            nulls = frozenset(name for name, null in zip(sql.key, row, strict=True) if null)
            count += connection.execute(sql.remove_since(first_epoch, nulls)).rowcount
        count += connection.execute(sql.restore_since(first_epoch, self._overriding)).rowcount
        connection.execute(sql.forget_since(first_epoch))
        return count

    def _retract(self, connection: Statement, first_epoch: int, generation: int) -> Receipt:
        position = self._begin(connection, generation)
        position.check_undo(first_epoch, flow=self.context.flow, step=self.context.step, table=self._table.full)
        count = self._take_back(connection, first_epoch)
        if position.epoch is not None and position.epoch >= first_epoch:
            last = first_epoch - 1 if first_epoch > 0 else None
            connection.execute(self._epoch_row.update(epoch=last, generation=generation))
        connection.execute("commit")
        return {"rows": count}

    def _prune(self, connection: Statement, epoch: int, position: Position) -> None:
        """Now and then, delete before-images that nobody may ask for any more."""
        if not self._keep.is_due(epoch):
            return
        newest = connection.execute(
            self._statements.newest_image_before(self._keep.since_us(self.context.clock.now_us()))
        ).fetchone()
        undo_from = self._keep.undo_from(epoch, newest[0] if newest else None)
        if undo_from > (position.undo_from or 0):
            connection.execute(self._statements.prune(undo_from))
            connection.execute(self._epoch_row.update(undo_from=undo_from))

    # --- the row of the target in penstock_epochs ---------------------------------------------------------------------

    def _begin(self, connection: Statement, generation: int) -> Position:
        return self._admitted(connection, generation, begin="begin; ")

    def _admitted(self, connection: Statement, generation: int, begin: str = "") -> Position:
        """Lock the row, inside a transaction, and check that this flow and generation may write."""
        cursor = connection.execute(f"{begin}{self._epoch_row.read()} for update")
        if begin:
            cursor.nextset()  # past the result of `begin`: one round trip for both
        row = cursor.fetchone()
        if row is None:
            raise self._error(
                f"the row of {self._table.full} in {EPOCHS_TABLE} is gone", hint="start the flow again: it is made anew"
            )
        position = Position(*row)  # type: ignore[arg-type]  # the columns are typed by the table
        position.admit(generation, flow=self.context.flow, step=self.context.step, table=self._table.full)
        return position

    def _last_epoch(self, connection: Statement) -> int | None:
        if self._epochs is None:
            self._table.settle(connection)
            self._epochs = EpochsSql(f"{quoted(self._table.schema)}.{EPOCHS_TABLE}", self._table.full)
        try:
            row = connection.execute(self._epochs.read()).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
        return None if row is None else Position(*row).epoch  # type: ignore[arg-type]

    # --- small things -------------------------------------------------------------------------------------------------

    @property
    def _statements(self) -> TableSql:
        if self._sql is None:
            raise RuntimeError("open() comes before write() and retract()")
        return self._sql

    @property
    def _epoch_row(self) -> EpochsSql:
        if self._epochs is None:
            raise RuntimeError("open() comes before write() and retract()")
        return self._epochs

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

    def _session_name(self, generation: int) -> str:
        return f"{self._session_prefix}{generation}"

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

    def _error(self, message: str, *, epoch: int | None = None, hint: str | None = None) -> ConnectorError:
        error = ConnectorError(
            message,
            flow=self.context.flow,
            step=self.context.step,
            epoch=epoch,
            state_left="nothing was written",
            hint=hint,
        )
        error.heals = False
        return error


def _regclass(name: str) -> str:
    return "'" + name.replace("'", "''") + "'::regclass"


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
