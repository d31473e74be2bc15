"""The target of the PostgreSQL sink: whether a table fits, how a missing one is made, and what it looked like."""

# ruff: noqa: S608 - SQL is put together from quoted names and integers, never from values of rows

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from penstock.connect.contract import Context
from penstock.connect.postgres_session import NAME_BYTES, Statement, Table
from penstock.connect.postgres_types import column_type, fits
from penstock.connect.sql_epochs import EPOCH, EPOCHS_TABLE, EpochsSql, TableSql
from penstock.connect.sql_text import literal, quoted
from penstock.errors import ConnectorError

__all__ = ["Columns", "Target", "refused"]

NULLS_NOT_DISTINCT = 150000
"""The server version from which a unique index can hold null keys once."""

Columns = Mapping[str, tuple[str, str]]
"""Column -> (type as the catalog spells it, "plain" | "generated" | "identity")."""


@dataclass(frozen=True, slots=True)
class Target:
    """A table in a schema that is known (see `Table.settle`), for rows of these columns."""

    context: Context
    table: Table
    schema: pl.Schema

    @property
    def epochs(self) -> EpochsSql:
        """The statements for the target's row in `penstock_epochs`, which lies in the same schema."""
        return EpochsSql(f"{quoted(self.table.schema)}.{EPOCHS_TABLE}", self.table.full)

    @property
    def before(self) -> str:
        """The table of before-images."""
        return self.table.beside("penstock_before_")

    def statements(self, columns: Columns) -> TableSql:
        """The statements for a table that has these columns."""
        by_itself = any(kind == "identity" for _, kind in columns.values())
        return TableSql(
            target=self.table.sql,
            before=self.before,
            columns=tuple(self.schema),
            key=self.context.key,
            all_columns=tuple(name for name, (_, kind) in columns.items() if kind != "generated"),
            row_id="ctid",
            overriding="overriding system value" if by_itself else "",
        )

    def shape(self) -> str:
        """An expression whose value changes with the columns of the target and its tables; null where one is missing.

        Who has looked at all of them can tell by it, in the statement that it needs anyway, that nothing has changed.
        """
        tables = [self.table.sql, self.epochs.table, *([self.before] if self.context.key else [])]
        found = [f"to_regclass({literal(name)})" for name in tables]
        missing = " or ".join(f"{one} is null" for one in found)
        return (
            f"case when {missing} then null else (select md5(string_agg(concat_ws(' ', a.attrelid, a.attnum, "
            "a.attname, a.atttypid, a.atttypmod, a.attisdropped, a.attgenerated, a.attidentity), ',' "
            f"order by a.attrelid, a.attnum)) from pg_attribute a where a.attnum > 0 and a.attrelid in "
            f"({', '.join(found)})) end"
        )

    def columns(self, connection: Statement) -> Columns:
        """The columns of the table; empty where there is no such table."""
        rows = connection.execute(
            "select a.attname, format_type(case when t.typtype = 'd' then t.typbasetype else a.atttypid end, "
            "case when t.typtype = 'd' then t.typtypmod else a.atttypmod end), a.attgenerated, a.attidentity "
            "from pg_attribute a join pg_type t on t.oid = a.atttypid "
            "where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum",
            [self.table.sql],
        ).fetchall()
        return {
            str(name): (str(spelled), "generated" if generated else "identity" if identity == "a" else "plain")
            for name, spelled, generated, identity in rows
        }

    def create_schema(self, connection: Statement) -> None:
        """Create the schema where it is missing. Asks first: `if not exists` wants the right to create all the same."""
        found = connection.execute("select 1 from pg_namespace where nspname = %s", [self.table.schema]).fetchone()
        if found is None:
            connection.execute(f"create schema {quoted(self.table.schema)}")

    def create(self, connection: Statement) -> None:
        """Create the table, with the index by which an epoch or a key is found."""
        columns = [f"{quoted(name)} {column_type(name, dtype)}" for name, dtype in self._checked_schema().items()]
        columns.append(f"{quoted(EPOCH)} bigint not null")
        # Room in each page lets an update stay in its page and leave the index alone.
        room = " with (fillfactor = 85)" if self.context.key else ""
        connection.execute(f"create table {self.table.sql} ({', '.join(columns)}){room}")
        if not self.context.key:
            # Rows come in the order of this index, so it costs little. A BRIN index costs nothing, but the pages that
            # it has not summarized yet are the very ones in which an epoch is to be replaced.
            connection.execute(f"create index on {self.table.sql} ({quoted(EPOCH)})")
            return
        key = ", ".join(quoted(name) for name in self.context.key)
        if connection.info.server_version >= NULLS_NOT_DISTINCT:
            connection.execute(f"create unique index on {self.table.sql} ({key}) nulls not distinct")
        else:
            connection.execute(f"alter table {self.table.sql} add primary key ({key})")

    def check(self, connection: Statement, existing: Columns) -> None:
        """Raises ConnectorError for the first column that is missing or does not fit, and where a key has no index."""
        alter = f"alter table {self.table.sql} add column"
        for name, dtype in self._checked_schema().items():
            wanted = column_type(name, dtype)
            if name not in existing:
                raise refused(
                    self.context,
                    f"table {self.table.full} has no column {name!r}, the flow writes it as {wanted}",
                    hint=f"{alter} {quoted(name)} {wanted}",
                )
            if not fits(wanted, existing[name][0]):
                raise refused(
                    self.context,
                    f"table {self.table.full}: column {name!r} is {existing[name][0]}, the flow writes {wanted} "
                    f"({dtype})",
                    hint="cast the column in the flow, or alter the table",
                )
        if EPOCH not in existing:
            raise refused(
                self.context,
                f"table {self.table.full} has no column {EPOCH!r}, by which the rows of an epoch are found again",
                hint=f"{alter} {quoted(EPOCH)} bigint",
            )
        if self.context.key and not self._has_unique_index(connection):
            key = ", ".join(quoted(name) for name in self.context.key)
            raise refused(
                self.context,
                f"table {self.table.full} has no unique index on its key ({', '.join(self.context.key)})",
                hint=f"create unique index on {self.table.sql} ({key})",
            )

    def create_before(self, sql: TableSql) -> str:
        """The statements for the table of before-images, with a column for each that the target has got since."""
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
            f'create index on {sql.before} ("_by"); end if; end $$'
        )
        return f"{sql.create_before()}; {missing}; {index}"

    def _checked_schema(self) -> pl.Schema:
        for name in self.schema:
            if len(name.encode()) > NAME_BYTES or "\0" in name:
                raise refused(
                    self.context, f"column {name!r}: a name in PostgreSQL has at most {NAME_BYTES} bytes and no NUL"
                )
            if name == EPOCH:
                raise refused(self.context, f"column {EPOCH!r} is the sink's own", hint="rename the column")
        return self.schema

    def _has_unique_index(self, connection: Statement) -> bool:
        rows = connection.execute(
            "select array_agg(a.attname::text) from pg_index i "
            "cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, nth) "
            "join pg_attribute a on a.attnum = k.attnum and a.attrelid = i.indrelid where nth <= i.indnkeyatts "
            "and i.indrelid = to_regclass(%s) and i.indisunique and i.indisvalid and i.indimmediate "
            "and i.indpred is null and i.indexprs is null group by i.indexrelid",
            [self.table.sql],
        ).fetchall()
        return any(set(columns) == set(self.context.key) for (columns,) in rows if isinstance(columns, list))


def refused(context: Context, message: str, *, epoch: int | None = None, hint: str | None = None) -> ConnectorError:
    """An error that trying again does not heal."""
    error = ConnectorError(
        message, flow=context.flow, step=context.step, epoch=epoch, state_left="nothing was written", hint=hint
    )
    error.heals = False
    return error


def _regclass(name: str) -> str:
    return literal(name) + "::regclass"
