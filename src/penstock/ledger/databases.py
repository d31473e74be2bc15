"""Connections to the ledger's databases: SQLite files in a folder, or one PostgreSQL; their errors in our words."""

from __future__ import annotations

import re
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry

from penstock.clock import Clock
from penstock.errors import ConfigError, DefinitionError, LedgerError
from penstock.ledger.durable import make_folder
from penstock.ledger.failures import ledger_failure, permanent
from penstock.ledger.migrations import LATEST, Kind, migrate, version_of
from penstock.ledger.tables import ControlTables, EpochTables, HotStatements, control_tables, epoch_tables

__all__ = [
    "Database",
    "Databases",
    "FlowDatabase",
    "FolderDatabases",
    "PostgresDatabases",
    "check_flow_name",
    "inserting",
]

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
FLOW_FILE = "epochs.db"
RETRY_MS = 10
IDLE_TRANSACTION_MS = 2_000
"""PostgreSQL ends a session that stops inside a transaction (a frozen process), so that its successor can claim."""


def check_flow_name(flow: str) -> None:
    """Raise DefinitionError where `flow` can't be the name of a folder on every system."""
    if not NAME.fullmatch(flow) or flow.endswith("."):
        raise DefinitionError(
            f"{flow!r:.120} can't be the name of a flow: it takes letters, digits, '_', '-' and '.', begins with a "
            "letter or digit, does not end with '.', and has at most 100 characters",
            hint='give the flow another name: ps.Flow("...")',
        )


def inserting(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say what to do `on_conflict_...`, which both databases understand in the same words."""
    return (sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert)(table)


class Database:
    """One database, SQLite file or PostgreSQL, whose transactions raise LedgerError and nothing of the driver's."""

    def __init__(self, engine: sa.Engine, kind: Kind, where: str) -> None:
        self.engine = engine
        self.kind = kind
        self.where = where
        self._writes = engine.execution_options(penstock_writes=True)
        # A reader sees one moment; PostgreSQL would otherwise show each statement another one.
        self._reads = engine.execution_options(isolation_level="REPEATABLE READ") if self.is_postgres else engine
        self._lazy_writes = engine.execution_options(penstock_writes=True, penstock_lazy=True)
        self._looks = engine.execution_options(isolation_level="AUTOCOMMIT") if self.is_postgres else engine

    @property
    def is_postgres(self) -> bool:
        """Whether it is PostgreSQL; SQLite otherwise."""
        return self.kind is Kind.POSTGRESQL

    def write(
        self,
        work: Work[T],
        *,
        flow: str | None = None,
        epoch: int | None = None,
        left: str = "",
        lazily: bool = False,
    ) -> T:
        """Run `work` in one transaction that is durable on return. Raises LedgerError with `left` as the state left.

        Where a connection dies, `work` is run once more on a new one: it may find its own first run committed, and must
        be right then too. `lazily`: a power cut may take it back, so it costs no wait for the disk.
        """
        engine = self._lazy_writes if lazily else self._writes
        return self._run(engine, work, flow, epoch, left or "nothing was written; what was committed is there")

    def read(self, work: Work[T], *, flow: str | None = None) -> T:
        """Run `work` in one transaction that sees one moment and writes nothing. Raises LedgerError."""
        return self._run(self._reads, work, flow, None, "nothing was changed")

    def look(self, statement: str, values: Mapping[str, Any], *, flow: str | None = None) -> tuple[Any, ...] | None:
        """The first row that one compiled statement finds, outside of any transaction: the cheapest question there is.

        Raises LedgerError.
        """
        if not self.is_postgres:
            with suppress(sqlite3.Error):  # the other way finds out what it means
                return self._glance(statement, values)

        def work(connection: sa.Connection) -> tuple[Any, ...] | None:
            row = connection.exec_driver_sql(statement, values).first()
            return None if row is None else tuple(row)

        return self._run(self._looks, work, flow, None, "nothing was changed")

    def _glance(self, statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """One SELECT on the driver's own connection: a follower looks hundreds of times a second."""
        pooled = self.engine.raw_connection()
        try:
            cursor = pooled.cursor()
            cursor.execute(statement, values)
            return cursor.fetchone()
        finally:
            pooled.close()

    def _run(self, engine: sa.Engine, work: Work[T], flow: str | None, epoch: int | None, left: str) -> T:
        for attempt in (1, 2):
            try:
                with engine.begin() as connection:
                    return work(connection)
            except sa.exc.DBAPIError as failure:
                if attempt == 1 and self.is_postgres and failure.connection_invalidated:
                    continue
                raise ledger_failure(failure, self.where, flow=flow, epoch=epoch, left=left) from failure
        raise AssertionError("the second attempt returns or raises")

    def ensure_schema(self, clock: Clock) -> None:
        """Take the missing migrations. Raises LedgerError where the schema is newer than this Penstock."""
        if self.read(lambda c: version_of(c, self.kind, self.where)) < LATEST:
            self.write(lambda c: migrate(c, self.kind, self.where, now_us=clock.now_us()))

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()


class FlowDatabase:
    """The epoch tables of one flow: which database, which tables, which statements, which parameters pick its rows."""

    def __init__(self, database: Database, tables: EpochTables, hot: HotStatements, scope: Mapping[str, str]) -> None:
        self.database = database
        self.tables = tables
        self.hot = hot
        self.scope = dict(scope)

    def where(self, table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
        """Conditions that pick the flow's rows, with their values."""
        return tuple(table.c[name] == value for name, value in self.scope.items())

    def insert(self, connection: sa.Connection, table: sa.Table, **values: Any) -> None:
        """Insert one row of the flow."""
        connection.execute(sa.insert(table).values(**self.scope, **values))


class Databases(ABC):
    """Where the facts of one environment are: the control tables, and the epoch tables of each flow."""

    where: str
    env: str
    control: Database
    control_tables: ControlTables

    @abstractmethod
    def flow(self, flow: str) -> FlowDatabase | None:
        """The database of a flow; None where it is not there. Raises DefinitionError for an impossible name."""

    @abstractmethod
    def create(self, flow: str) -> FlowDatabase:
        """The database of a flow, created where it is missing."""

    @abstractmethod
    def folder_of(self, flow: str) -> Path:
        """Where the flow's rolled up epochs are. Raises LedgerError where there is no folder."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""


class FolderDatabases(Databases):
    """SQLite: `ledger.db` for control, `flows/<flow>/epochs.db` for each flow: none waits for another's commit."""

    def __init__(self, folder: Path, *, env: str, clock: Clock, lock_timeout_ms: int) -> None:
        self.folder = folder
        self.where = str(folder)
        self.control_tables = control_tables(None)
        self.env = env
        self._clock = clock
        self._lock_timeout_ms = lock_timeout_ms
        self._tables = epoch_tables(None, scoped=False)
        self._flows: dict[str, FlowDatabase] = {}
        self._lock = threading.Lock()
        self.control = self._open(folder / "ledger.db", Kind.CONTROL)
        try:
            self._take_place()
        except LedgerError:
            self.control.dispose()
            raise
        self._hot = HotStatements.compiled(self._tables, self.control.engine.dialect)

    def flow(self, flow: str) -> FlowDatabase | None:
        """The flow's file; None where it is not there."""
        opened = self._flows.get(flow)
        if opened is not None:
            return opened
        if not (self.folder_of(flow) / FLOW_FILE).exists():
            return None
        return self.create(flow)

    def create(self, flow: str) -> FlowDatabase:
        """The flow's file; created with its folder where it is missing."""
        file = self.folder_of(flow) / FLOW_FILE
        with self._lock:
            opened = self._flows.get(flow)
            if opened is None:
                opened = FlowDatabase(self._open(file, Kind.FLOW), self._tables, self._hot, {})
                self._flows[flow] = opened
            return opened

    def folder_of(self, flow: str) -> Path:
        """The flow's own folder."""
        check_flow_name(flow)
        return self.folder / "flows" / flow

    def close(self) -> None:
        """Close every file."""
        with self._lock:
            for opened in self._flows.values():
                opened.database.dispose()
            self._flows.clear()
            self.control.dispose()

    def _open(self, file: Path, kind: Kind) -> Database:
        make_folder(file.parent)
        database = Database(_sqlite_engine(file, self._lock_timeout_ms), kind, str(file))
        try:
            database.ensure_schema(self._clock)
        except LedgerError:
            database.dispose()
            raise
        return database

    def _take_place(self) -> None:
        """Write down whose folder this is, or refuse it: the files of two environments' flows would be the same."""
        owners = self.control.read(lambda c: c.exec_driver_sql("SELECT env FROM place").scalars().all())
        if not owners:
            write = "INSERT OR IGNORE INTO place SELECT :env WHERE NOT EXISTS (SELECT 1 FROM place)"
            self.control.write(lambda c: c.exec_driver_sql(write, {"env": self.env}))
            owners = self.control.read(lambda c: c.exec_driver_sql("SELECT env FROM place").scalars().all())
        if self.env not in owners:
            raise permanent(
                LedgerError(
                    f"the ledger in {self.folder} belongs to environment {owners[0]!r}, not to {self.env!r}",
                    state_left="nothing was changed",
                    hint="name another folder, or the environment that it belongs to",
                )
            )


class PostgresDatabases(Databases):
    """PostgreSQL: everything of all flows in the schema `penstock`; rolled up epochs in a folder, if one was given."""

    def __init__(self, url: str, *, env: str, clock: Clock, folder: Path | None, lock_timeout_ms: int) -> None:
        self.folder = folder
        engine = _postgres_engine(url, lock_timeout_ms)
        self.where = engine.url.set(drivername="postgresql").render_as_string(hide_password=True)
        self.control = Database(engine, Kind.POSTGRESQL, self.where)
        self.control_tables = control_tables(Kind.POSTGRESQL.schema)
        self.env = env
        self._tables = epoch_tables(Kind.POSTGRESQL.schema, scoped=True)
        self._hot = HotStatements.compiled(self._tables, engine.dialect)
        try:
            self.control.ensure_schema(clock)
        except LedgerError:
            self.control.dispose()
            raise

    def flow(self, flow: str) -> FlowDatabase | None:
        """The shared tables are always there."""
        return self.create(flow)

    def create(self, flow: str) -> FlowDatabase:
        """The shared tables, and the names that pick the flow's rows."""
        check_flow_name(flow)
        return FlowDatabase(self.control, self._tables, self._hot, {"env": self.env, "flow": flow})

    def folder_of(self, flow: str) -> Path:
        """The flow's folder under the one that was given."""
        check_flow_name(flow)
        if self.folder is None:
            raise permanent(
                LedgerError(
                    f"the ledger in {self.where} has no folder for rolled up epochs",
                    flow=flow,
                    state_left="nothing was changed",
                    hint="open the ledger with folder=..., the place for Parquet files of old epochs",
                )
            )
        return self.folder / "flows" / flow

    def close(self) -> None:
        """Close every connection."""
        self.control.dispose()


def _sqlite_engine(file: Path, lock_timeout_ms: int) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(file)),
        paramstyle="named",
        connect_args={"check_same_thread": False, "timeout": lock_timeout_ms / 1000},
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # BEGIN and COMMIT are ours, below
        cursor = connection.cursor()
        mode = _write_ahead(cursor, tries=1 + lock_timeout_ms // RETRY_MS)
        if mode != "wal":
            raise permanent(
                LedgerError(
                    f"{file} is on a file system that SQLite's write-ahead log does not work on (mode {mode})",
                    hint="put the ledger on a local disk, or use a PostgreSQL ledger",
                )
            )
        cursor.execute("PRAGMA synchronous = FULL")  # an acknowledged epoch survives a power cut
        cursor.execute("PRAGMA journal_size_limit = 67108864")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # IMMEDIATE takes the write lock before the first read: two writers wait, and never fail half-way.
        options = connection.get_execution_options()
        if options.get("penstock_writes"):
            _set_laziness(connection, lazily=bool(options.get("penstock_lazy")))
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("penstock_writes") else "BEGIN")

    return engine


def _set_laziness(connection: sa.Connection, *, lazily: bool) -> None:
    """Let SQLite's next commit wait for the disk, or not; what a connection is set to is remembered beside it."""
    if connection.info.get("penstock_lazy", False) is not lazily:
        connection.exec_driver_sql(f"PRAGMA synchronous = {'NORMAL' if lazily else 'FULL'}")
        connection.info["penstock_lazy"] = lazily


def _write_ahead(cursor: DBAPICursor, *, tries: int) -> str:
    """Switch to the write-ahead log and give the mode that the file is in then. Raises sqlite3.OperationalError.

    SQLite's own waiting does not cover the switch: of processes that open a new file at the same moment, now and then
    one is told that it is locked.
    """
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            (mode,) = cursor.fetchone() or ("unknown",)
            return str(mode)
        except sqlite3.OperationalError as busy:
            tries -= 1
            if busy.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or tries <= 0:
                raise
            threading.Event().wait(RETRY_MS / 1000)


def _postgres_engine(url: str, lock_timeout_ms: int) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        options = f"-c lock_timeout={lock_timeout_ms} -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_MS}"
        given = parsed.query.get("options")
        if given:
            options = f"{options} {given if isinstance(given, str) else ' '.join(given)}"
        engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
            connect_args={"options": options, "connect_timeout": 5, "application_name": "penstock ledger"},
        )
    except ModuleNotFoundError as problem:
        raise ConfigError(
            "a PostgreSQL ledger needs the psycopg package", hint="pip install 'penstock[postgres]'"
        ) from problem
    except sa.exc.ArgumentError as problem:
        raise ConfigError(
            "the ledger's PostgreSQL address can't be read", hint="write postgresql://user@host:5432/database"
        ) from problem

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("penstock_lazy"):
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")

    return engine
