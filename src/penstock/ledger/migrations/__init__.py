"""The numbered steps from an empty database to today's tables, and the runner that takes the missing ones.

A step is a module `vNNNN_what_changed` with the SQL of each kind of database; it is never edited once it was released.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import sqlalchemy as sa

from penstock.errors import LedgerError
from penstock.ledger.migrations import v0001_initial, v0002_handover, v0003_documents

__all__ = ["LATEST", "STEPS", "Kind", "migrate", "version_of"]

SCHEMA = "penstock"
PG_LOCK = 0x70656E73
"""The advisory lock of PostgreSQL that lets one process migrate at a time."""


class Kind(StrEnum):
    """Which of the ledger's databases."""

    CONTROL = "control"
    FLOW = "flow"
    POSTGRESQL = "postgresql"

    @property
    def schema(self) -> str | None:
        """The PostgreSQL schema of its tables; None in a SQLite file."""
        return SCHEMA if self is Kind.POSTGRESQL else None


STEPS: Mapping[int, Mapping[Kind, Sequence[str]]] = {
    1: {
        Kind.CONTROL: v0001_initial.CONTROL,
        Kind.FLOW: v0001_initial.FLOW,
        Kind.POSTGRESQL: v0001_initial.POSTGRESQL,
    },
    2: {
        Kind.CONTROL: v0002_handover.CONTROL,
        Kind.FLOW: v0002_handover.FLOW,
        Kind.POSTGRESQL: v0002_handover.POSTGRESQL,
    },
    3: {
        Kind.CONTROL: v0003_documents.CONTROL,
        Kind.FLOW: v0003_documents.FLOW,
        Kind.POSTGRESQL: v0003_documents.POSTGRESQL,
    },
}
LATEST = max(STEPS)


def version_of(connection: sa.Connection, kind: Kind, where: str) -> int:
    """The schema version of a database, 0 for an empty one.

    Raises LedgerError where a newer Penstock wrote it, or where it is a database of something else.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table("schema_version", schema=kind.schema):
        strangers = inspector.get_table_names(schema=kind.schema) if kind is not Kind.POSTGRESQL else []
        if strangers:
            raise _refused(
                f"{where} is a database of something else (it has a table {strangers[0]!r}), not a ledger",
                hint="name another folder for the ledger",
            )
        return 0
    table = f"{kind.schema}.schema_version" if kind.schema else "schema_version"
    found = connection.exec_driver_sql(f"SELECT max(version) FROM {table}").scalar()  # noqa: S608 - our own name
    version = int(found or 0)
    if version > LATEST:
        raise _refused(
            f"{where} has schema version {version}, and this Penstock knows versions up to {LATEST}",
            hint="use the newer Penstock that wrote it",
        )
    return version


def _refused(message: str, *, hint: str) -> LedgerError:
    error = LedgerError(message, state_left="nothing was changed", hint=hint)
    error.heals = False
    return error


def migrate(connection: sa.Connection, kind: Kind, where: str, *, now_us: int) -> int:
    """Take the steps that are missing, in the transaction of `connection`; gives how many.

    Several processes may try at once: the others wait (SQLite: the write lock, which `connection` holds; PostgreSQL:
    an advisory lock) and find nothing left to do.
    """
    table = f"{kind.schema}.schema_version" if kind.schema else "schema_version"
    if kind is Kind.POSTGRESQL:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({PG_LOCK})")
        connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    before = version_of(connection, kind, where)
    if before == 0:
        connection.exec_driver_sql(
            f"CREATE TABLE IF NOT EXISTS {table} (version INTEGER NOT NULL PRIMARY KEY, applied_us BIGINT NOT NULL)"
        )
    missing = [number for number in sorted(STEPS) if number > before]
    for number in missing:
        for statement in STEPS[number][kind]:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({number}, {now_us})")  # noqa: S608 - two integers
    return len(missing)
