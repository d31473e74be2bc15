"""PostgreSQL as a source: rows of an append-only table in the order of a cursor column, late commits not missed.

A sequence hands out 41 and 42; 42 commits first. Who reads "everything up to the highest id" now will never see 41.
So an end is offered in two steps: note the highest value and, after it, every transaction that is open and may hold a
lower one; offer the value when all of those have ended. With no such transaction that is at once.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and literals made by us

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from penstock.connect.contract import Backlog, Budget, Context, Offsets, PartitionRead, Reject, Source
from penstock.connect.postgres_session import Session, Statement, Table, option_text
from penstock.connect.postgres_types import as_json, decode, polars_type, undecoded
from penstock.connect.sql_text import literal, quoted
from penstock.errors import ConfigError, ConnectorError, SchemaError, did_you_mean
from penstock.flow import Dataset

__all__ = ["PostgresSource", "read_columns"]

PARTITION = "table"
BACKLOG_ROWS = 100_000
POLL_S = 0.01
INTEGERS = ("smallint", "integer", "bigint")
TIMES = ("timestamp", "date")

_WRITERS = """
with recursive parts as (
    select {table}::regclass::oid as relid
    union select inhrelid from pg_inherits join parts on inhparent = relid
)
select distinct virtualtransaction from pg_locks where granted and pid is distinct from pg_backend_pid() and (
    locktype = 'relation' and database = (select oid from pg_database where datname = current_database())
    and relation in (select relid from parts)
    and mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    or locktype = 'transactionid' and mode = 'ExclusiveLock'
    and (pid is null or pid in (select pid from pg_stat_activity where datname = current_database()))
)
"""
_EVERYBODY = """
select virtualtransaction from pg_locks l left join pg_stat_activity a on a.pid = l.pid
where granted and locktype = 'virtualxid' and l.pid <> pg_backend_pid() and a.datname = current_database()
and coalesce(a.backend_type, '') not in ('autovacuum worker', 'walsender')
union select distinct virtualtransaction from pg_locks where pid is null and locktype = 'transactionid'
"""
_ON_STANDBY = "union select pg_snapshot_xip(pg_current_snapshot())::text where pg_is_in_recovery()"


def read_columns(connection: Statement, table: Table) -> dict[str, str]:
    """Column -> type as the catalog spells it (of a domain: what it is made of). Raises ConnectorError for no table."""
    rows = connection.execute(
        "select a.attname, format_type(case when t.typtype = 'd' then t.typbasetype else a.atttypid end, "
        "case when t.typtype = 'd' then t.typtypmod else a.atttypmod end) "
        "from pg_attribute a join pg_type t on t.oid = a.atttypid "
        "where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum",
        [table.sql],
    ).fetchall()
    if not rows:
        raise ConnectorError(f"there is no table {table.full}, or this user may not see it")
    return {str(name): str(spelled) for name, spelled in rows}


class PostgresSource(Source):
    """The rows of a table with a column that only grows (`cursor`), read as they are committed.

    Offsets: the value of the last row read (an integer, or the value's text); rows with `cursor` > start and <= end.
    Rows with the same value are never torn apart, so a range may exceed the budget by the rows of one value. Rows
    where `cursor` is null are never read.

    What it rests on: rows are not changed or deleted before they were read, and a row gets its value while the
    transaction that writes it has its locks: by a sequence in the insert, or (times) from the start of the
    transaction on. So for integers and text it waits for the transactions that wrote something, for times and for
    views for all that are open in the database; the option `wait_for` (`writers`, `all`) says otherwise. A value that
    was drawn in an earlier transaction, or given by a client's clock, may be missed: read those by
    `postgres_changes`, as updated rows. Nobody can tell that rows were deleted: undo and replay read what is left.
    """

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        self._cursor = option_text(dataset, "cursor")
        self._table = Table(option_text(dataset, "table"))
        self._wait_for = dataset.options.get("wait_for")
        if self._wait_for not in (None, "writers", "all"):
            raise ConfigError(f"dataset {dataset.name!r}: wait_for is {self._wait_for!r}, not 'writers' or 'all'")
        # `read` may run beside `offer`, so each has its own connection.
        self._offers = Session(dataset, context, state_left="nothing was read, nothing is lost")
        self._reads = Session(dataset, context, state_left="nothing was read, nothing is lost")
        self._columns: dict[str, str] = {}
        self._spelled = ""
        self._unique = False
        self._open_query = ""
        self._bound: str | None = None
        self._candidate: str | None = None
        self._open: frozenset[str] = frozenset()

    def schema(self) -> pl.Schema:
        """The declared columns, or those of the table. Raises SchemaError, ConnectorError."""
        self._offers.run(self._look, table=self._table.full)
        if self.context.schema is None:
            return pl.Schema({name: polars_type(spelled) for name, spelled in self._columns.items()})
        return self.context.schema

    def initial(self) -> Offsets:
        """Before the first row."""
        return {PARTITION: None}

    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """Up to the highest value below which nothing can be committed any more, within `budget.rows`."""

        def work(connection: Statement) -> Offsets:
            self._look(connection)
            self._settle(connection)
            if self._bound is None:
                return start
            inside = self._between(start[PARTITION], self._bound)
            row = connection.execute(
                f"select part.v::text from (select {self._key} as v from {self._table.sql} where {inside} order by v "
                f"limit {max(1, budget.rows):d}) part order by part.v desc limit 1"
            ).fetchone()
            return {PARTITION: self._as_json(str(row[0]))} if row else start

        return self._offers.run(work, table=self._table.full)

    def read(self, start: Offsets, end: Offsets) -> Sequence[PartitionRead]:
        """The rows of the range by COPY. Values that Polars has no place for (`infinity`) are rejects."""
        if start == end or end[PARTITION] is None:
            return []
        raw = self._reads.run(lambda connection: self._copy(connection, start, end), table=self._table.full)
        return [] if raw.is_empty() else [self._decoded(raw)]

    def backlog(self, at: Offsets) -> Backlog:
        """Rows after `at`, counted up to 100,000."""

        def work(connection: Statement) -> Backlog:
            self._look(connection)
            row = connection.execute(
                f"select count(*) from (select 1 from {self._table.sql} where {self._between(at[PARTITION], None)} "
                f"limit {BACKLOG_ROWS}) part"
            ).fetchone()
            return Backlog(rows=int(str(row[0])) if row else None)

        return self._offers.run(work, table=self._table.full)

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """A short sleep: a look at the table costs a query."""
        self.context.clock.sleep(min(timeout_s, POLL_S))

    def close(self) -> None:
        """Close both connections."""
        self._offers.close()
        self._reads.close()

    # --- which end is complete ----------------------------------------------------------------------------------------

    def _settle(self, connection: Statement) -> None:
        """Move the bound as far as it is known to be complete."""
        if self._candidate is not None:
            self._open &= self._open_now(connection)
            if self._open:
                return
            self._bound, self._candidate = self._candidate, None
        above = "true" if self._bound is None else f"{self._key} > {self._literal(self._bound)}"
        row = connection.execute(
            f"select {self._key}::text from {self._table.sql} where {self._key} is not null and {above} "
            f"order by {self._key} desc limit 1"
        ).fetchone()
        if row is None:
            return
        # The order matters: who holds a lower value than the one just seen is either open now or has committed, and
        # what has committed will be read.
        self._candidate, self._open = str(row[0]), self._open_now(connection)
        if not self._open:
            self._bound, self._candidate = self._candidate, None

    def _open_now(self, connection: Statement) -> frozenset[str]:
        return frozenset(str(row[0]) for row in connection.execute(self._open_query).fetchall())

    # --- reading ------------------------------------------------------------------------------------------------------

    def _copy(self, connection: Statement, start: Offsets, end: Offsets) -> pl.DataFrame:
        self._look(connection)
        names = list(self.context.schema or self._columns)
        taken = [*names, self._cursor] if self._cursor not in names else names
        columns = ", ".join(quoted(name) for name in taken)
        inside = self._between(start[PARTITION], str(end[PARTITION]))
        # The copy must say the same each time; rows of one value are ordered by all that they hold.
        query = (
            f"copy (select {columns} from {self._table.sql} where {inside} order by {self._key}{self._ties(names)}) "
            "to stdout (format csv)"
        )
        with connection.cursor().copy(query) as copy:
            data = b"".join(bytes(part) for part in copy)
        raw_schema = dict.fromkeys(taken, pl.String)
        if not data:
            return pl.DataFrame(schema=raw_schema)
        return pl.read_csv(data, has_header=False, schema=raw_schema, infer_schema=False, truncate_ragged_lines=False)

    def _ties(self, names: Sequence[str]) -> str:
        rest = [name for name in names if name != self._cursor]
        return "".join(f', {quoted(name)}::text collate "C"' for name in rest) if not self._unique else ""

    def _decoded(self, raw: pl.DataFrame) -> PartitionRead:
        schema = self.context.schema or pl.Schema({name: polars_type(t) for name, t in self._columns.items()})
        frame = decode(raw, schema)
        wrong = undecoded(raw, frame)
        if not wrong:
            return PartitionRead(PARTITION, frame)
        names = raw.columns
        rejects = [
            Reject(PARTITION, self._as_json(str(raw[self._cursor][index])), as_json(raw.row(index), names), error)
            for index, error in wrong
        ]
        bad = pl.Series([index for index, _ in wrong])
        good = frame.filter(~pl.int_range(pl.len()).is_in(bad.implode()))
        return PartitionRead(PARTITION, good, rejects)

    # --- the table ----------------------------------------------------------------------------------------------------

    def _look(self, connection: Statement) -> None:
        """Read the catalog, once. Raises SchemaError for a column that is not there."""
        if self._columns:
            return
        self._table.settle(connection)
        columns = read_columns(connection, self._table)
        for name in [self._cursor, *(self.context.schema or ())]:
            if name not in columns:
                raise SchemaError(
                    f"table {self._table.full} has no column {name!r}.{did_you_mean(name, list(columns))}",
                    flow=self.context.flow,
                    step=self.context.step,
                    hint=f"its columns are {', '.join(columns)}",
                )
        kind = connection.execute(
            "select relkind::text from pg_class where oid = to_regclass(%s)", [self._table.sql]
        ).fetchone()
        is_table = kind is not None and kind[0] in ("r", "p")
        spelled = columns[self._cursor]
        waits_for_all = self._wait_for == "all" or (
            self._wait_for is None and (spelled.startswith(TIMES) or not is_table)
        )
        query = _EVERYBODY if waits_for_all else _WRITERS.replace("{table}", literal(self._table.sql))
        self._open_query = query + _ON_STANDBY
        unique = connection.execute(
            "select 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] "
            "where i.indrelid = to_regclass(%s) and i.indisunique and i.indnatts = 1 and i.indpred is null "
            "and a.attname = %s",
            [self._table.sql, self._cursor],
        ).fetchone()
        self._unique = unique is not None
        self._spelled = spelled
        self._columns = columns

    @property
    def _key(self) -> str:
        return quoted(self._cursor)

    def _literal(self, value: object) -> str:
        return f"{literal(str(value))}::{self._spelled}"

    def _between(self, start: Any, end: str | None) -> str:
        parts = [f"{self._key} is not null"]
        if start is not None:
            parts.append(f"{self._key} > {self._literal(start)}")
        if end is not None:
            parts.append(f"{self._key} <= {self._literal(end)}")
        return " and ".join(parts)

    def _as_json(self, text: str) -> int | str:
        return int(text) if self._spelled in INTEGERS else text
