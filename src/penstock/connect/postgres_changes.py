"""The changes of a PostgreSQL table, by logical replication: every insert, update and delete, in the order of commits.

A replication slot makes the server keep its log from the last place that was forgotten, and `peek` reads the log
without moving the slot: so a range can be read again until it is forgotten, by another process too, such as one that
follows the flow. Each look holds the slot for as long as it takes; who comes meanwhile tries again. **A slot that
nobody reads makes the server keep its log until the disk is full**: when a flow is gone for good, drop the slot with
`select pg_drop_replication_slot('...')` and the publication with `drop publication ...`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

import polars as pl
import psycopg

from penstock.connect.complaints import forgotten, naming
from penstock.connect.contract import Backlog, Budget, Context, Offsets, PartitionRead, Reject, Source
from penstock.connect.pgoutput import UNCHANGED, RowChange, Transaction, lsn_number, lsn_text, transactions
from penstock.connect.postgres_cursor import read_columns
from penstock.connect.postgres_session import NAME_BYTES, Session, Statement, Table, option_text
from penstock.connect.postgres_types import as_json, decode, polars_type, undecoded
from penstock.connect.sql_text import quoted
from penstock.errors import ConfigError, ConnectorError, SchemaError, did_you_mean
from penstock.flow import Dataset

__all__ = ["PostgresChangesSource"]

T = TypeVar("T")

PARTITION = "changes"
POLL_S = 0.02
SLOT_WAIT_S = 10.0
SLOT_PAUSE_S = 0.001
QUIET_BYTES = 16 * 1024 * 1024
"""So much log without a change of the table is passed over with an empty range, so that the server can drop it."""
MORE_MESSAGES = 4

EXTRA = pl.Schema({"_op": pl.String(), "_lsn": pl.String(), "_committed_at": pl.Datetime("us", "UTC")})
"""What a row has beside the table's columns: insert, update, delete or truncate; where and when it was committed."""


class PostgresChangesSource(Source):
    """Rows as they were changed, with `_op`, `_lsn` and `_committed_at`.

    Options: `dsn`, `table`, `slot` (default: named after flow and step). Offsets: the log position after a commit. It
    begins when it first connects; rows that are there before are read with the `postgres` source. Transactions are
    never torn apart, so a range may exceed the budget by one of them. A `delete` has the columns of the replica
    identity (by default the primary key), the others are null; a `truncate` has none. An update that leaves a large
    value alone does not send it: that row is a reject, unless the table has `replica identity full`.
    """

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        self._table = Table(option_text(dataset, "table"))
        self.slot = _slot_name(dataset, context)
        self._session = Session(dataset, context, state_left="nothing was read, nothing is lost")
        self._lock = threading.Lock()  # a slot serves one reader at a time, and `read` may run beside `offer`
        self._columns: dict[str, str] = {}
        self._peeked: tuple[str, str, list[Transaction]] | None = None

    def schema(self) -> pl.Schema:
        """The declared columns; or those of the table, then `_op`, `_lsn` and `_committed_at`."""
        return self._run(self._known_schema)

    def initial(self) -> Offsets:
        """The slot's position; makes slot and publication where they are missing. Raises ConnectorError."""
        return {PARTITION: self._run(self._made)}

    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """Up to the end of a committed transaction."""

        def work(connection: Statement) -> Offsets:
            self._check(connection, start)
            flushed = connection.execute("select pg_current_wal_flush_lsn()::text").fetchone()
            found = self._next(connection, start, budget.rows)
            if found:
                end = lsn_text(found[-1].end)
                self._peeked = (str(start[PARTITION]), end, found)
                return {PARTITION: end}
            reached = lsn_number(str(flushed[0])) if flushed else 0
            return {PARTITION: lsn_text(reached)} if reached - _position(start) > QUIET_BYTES else start

        return self._run(work)

    def read(self, start: Offsets, end: Offsets) -> Sequence[PartitionRead]:
        """The changes of the range. Raises ConnectorError where the slot is gone or was moved past it."""

        def work(connection: Statement) -> list[Transaction]:
            self._known_schema(connection)
            if self._peeked is not None and self._peeked[:2] == (start[PARTITION], end[PARTITION]):
                return self._peeked[2]
            self._check(connection, start)
            found, _ = self._peek(connection, upto=str(end[PARTITION]))
            return [each for each in found if _position(start) < each.end <= _position(end)]

        if start == end:
            return []
        rows = [(each, change) for each in self._run(work) for change in each.changes]
        return [self._frame(rows)] if rows else []

    def forget(self, end: Offsets) -> None:
        """Let the server drop its log up to `end`."""

        def work(connection: Statement) -> None:
            if _position(end) > self._confirmed(connection):
                connection.execute("select pg_replication_slot_advance(%s, %s::pg_lsn)", [self.slot, end[PARTITION]])

        self._run(work)

    def backlog(self, at: Offsets) -> Backlog:
        """The log after `at`, all tables together."""

        def work(connection: Statement) -> Backlog:
            row = connection.execute(
                "select pg_wal_lsn_diff(pg_current_wal_flush_lsn(), %s::pg_lsn)::bigint", [at[PARTITION]]
            ).fetchone()
            return Backlog(size_bytes=max(0, int(str(row[0]))) if row else None)

        return self._run(work)

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """A short sleep: looking costs the server a decoding of its newest log."""
        self.context.clock.sleep(min(timeout_s, POLL_S))

    def close(self) -> None:
        """Close the connection. The slot stays, and with it the server's log from here on."""
        self._session.close()

    # --- the slot -----------------------------------------------------------------------------------------------------

    def _made(self, connection: Statement) -> str:
        """The position of the slot, made if need be. The publication must be older than the slot."""
        self._known_schema(connection)
        publication = connection.execute("select 1 from pg_publication where pubname = %s", [self.slot]).fetchone()
        slot = connection.execute("select 1 from pg_replication_slots where slot_name = %s", [self.slot]).fetchone()
        if slot is None:
            level = connection.execute("show wal_level").fetchone()
            if level is None or level[0] != "logical":
                raise self._error(
                    f"the server's wal_level is {level[0] if level else 'unknown'}, changes need 'logical'",
                    hint="alter system set wal_level = 'logical', then restart the server",
                )
        if publication is None:
            connection.execute(f"create publication {quoted(self.slot)} for table {self._table.sql}")
        if slot is None:
            connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [self.slot])
        return lsn_text(self._confirmed(connection))

    def _confirmed(self, connection: Statement) -> int:
        row = connection.execute(
            "select confirmed_flush_lsn::text, wal_status, database = current_database() from pg_replication_slots "
            "where slot_name = %s",
            [self.slot],
        ).fetchone()
        if row is None or row[0] is None or row[1] == "lost":
            state = "is gone" if row is None or row[0] is None else "has lost its log (max_slot_wal_keep_size)"
            raise self._error(
                f"the replication slot {self.slot!r} {state}: changes since it was last read can't be had any more",
                hint=f"drop it if it is there (select pg_drop_replication_slot('{self.slot}')), start the flow anew "
                "(`penstock run --reset`), and read the table itself once with the postgres source",
            )
        if not row[2]:
            raise self._error(f"the replication slot {self.slot!r} belongs to another database", hint="set slot")
        return lsn_number(str(row[0]))

    def _check(self, connection: Statement, start: Offsets) -> None:
        """Raises ConnectorError where the slot has moved past `start`."""
        confirmed = self._confirmed(connection)
        if confirmed > _position(start):
            with naming(self.context):
                raise forgotten(
                    f"the replication slot {self.slot!r} stands at {lsn_text(confirmed)}: changes from "
                    f"{start[PARTITION]} to there were forgotten, by this flow or by another reader of the slot",
                    since=f"{lsn_text(confirmed)} of the server's log",
                    hint="give each flow a slot of its own (the option slot)",
                )

    def _peek(
        self, connection: Statement, *, upto: str | None = None, limit: int | None = None
    ) -> tuple[list[Transaction], int]:
        """Transactions from the slot's position on, and how many messages they came in; `limit` counts messages."""
        with connection.cursor(binary=True) as cursor:
            cursor.execute(
                "select data from pg_logical_slot_peek_binary_changes(%s, %s::pg_lsn, %s::int, "
                "'proto_version', '1', 'publication_names', %s)",
                [self.slot, upto, limit, quoted(self.slot)],
            )
            messages = [bytes(data) for (data,) in cursor if isinstance(data, bytes | memoryview)]
        return list(transactions(messages)), len(messages)

    def _next(self, connection: Statement, start: Offsets, rows: int) -> list[Transaction]:
        """Transactions with changes after `start`, at most `rows` rows of them, or one transaction."""
        limit = max(1, rows)
        while True:
            peeked, messages = self._peek(connection, limit=limit)
            found = [each for each in peeked if each.end > _position(start) and each.changes]
            # Ranges that are not forgotten yet come first and count; then ask for more.
            if found or messages < limit:
                break
            limit *= MORE_MESSAGES
        taken: list[Transaction] = []
        count = 0
        for each in found:
            if taken and count + len(each.changes) > rows:
                break
            taken.append(each)
            count += len(each.changes)
        return taken

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _frame(self, rows: list[tuple[Transaction, RowChange]]) -> PartitionRead:
        schema = pl.Schema({name: polars_type(spelled) for name, spelled in self._columns.items()})
        declared = self.context.schema
        if declared is not None:
            schema = pl.Schema({name: dtype for name, dtype in declared.items() if name not in EXTRA})
        values = {name: [change.values.get(name) for _, change in rows] for name in schema}
        raw = pl.DataFrame(values, schema=dict.fromkeys(schema, pl.String))
        extra = pl.DataFrame(
            {
                "_op": [change.op for _, change in rows],
                "_lsn": [lsn_text(each.end) for each, _ in rows],
                "_committed_at": [each.committed_us for each, _ in rows],
            },
            schema={**EXTRA, "_committed_at": pl.Int64},
        ).cast({"_committed_at": EXTRA["_committed_at"]})
        wrong = dict(undecoded(raw, decoded := decode(raw, schema)))
        for name in schema:
            for index in (raw[name] == UNCHANGED).fill_null(value=False).arg_true():
                wrong[index] = (
                    f"column {name!r} was left alone by the update and not sent, because its value is large; "
                    f"alter table {self._table.sql} replica identity full"
                )
        frame = decoded.hstack(extra) if decoded.width else extra
        frame = frame.select(declared.names()) if declared is not None else frame
        rejects = [
            Reject(PARTITION, extra["_lsn"][index], self._raw(raw.row(index), raw.columns, extra["_op"][index]), error)
            for index, error in sorted(wrong.items())
        ]
        if rejects:
            frame = frame.filter(~pl.int_range(pl.len()).is_in(sorted(wrong)))
        return PartitionRead(PARTITION, frame, rejects)

    def _raw(self, row: Sequence[str | None], names: Sequence[str], op: str) -> str:
        kept = [(name, value) for name, value in zip(names, row, strict=True) if value != UNCHANGED]
        return as_json([op, *(value for _, value in kept)], ["_op", *(name for name, _ in kept)])

    # --- small things -------------------------------------------------------------------------------------------------

    def _known_schema(self, connection: Statement) -> pl.Schema:
        if not self._columns:
            self._table.settle(connection)
            columns = read_columns(connection, self._table)
            for name in self.context.schema or ():
                if name not in columns and name not in EXTRA:
                    raise SchemaError(
                        f"table {self._table.full} has no column {name!r}.{did_you_mean(name, list(columns))}",
                        flow=self.context.flow,
                        step=self.context.step,
                        hint=f"its columns are {', '.join(columns)}",
                    )
            self._columns = columns
        if self.context.schema is not None:
            return self.context.schema
        return pl.Schema({**{name: polars_type(spelled) for name, spelled in self._columns.items()}, **EXTRA})

    def _run(self, work: Callable[[Statement], T]) -> T:
        """Work on the connection. A slot serves one session at a time, each for one question: then the next has it."""
        clock = self.context.clock
        until_s = clock.stopwatch_s() + SLOT_WAIT_S
        pause_s = SLOT_PAUSE_S
        while True:
            try:
                with self._lock:
                    return self._session.run(work, table=self._table.full)
            except ConnectorError as error:
                if not isinstance(error.__cause__, psycopg.errors.ObjectInUse):
                    raise
                if clock.stopwatch_s() >= until_s:
                    error.hint = "another process reads this slot all the time; it goes on when that one ends"
                    raise
            clock.sleep(pause_s)
            pause_s = min(2 * pause_s, POLL_S)

    def _error(self, message: str, *, hint: str) -> ConnectorError:
        error = ConnectorError(
            message, flow=self.context.flow, step=self.context.step, state_left="nothing was read", hint=hint
        )
        error.heals = False
        return error


def _position(offsets: Offsets) -> int:
    return lsn_number(str(offsets[PARTITION]))


def _slot_name(dataset: Dataset, context: Context) -> str:
    """The option `slot`, or a name from flow and step in the letters that a slot may have. Raises ConfigError."""
    given = dataset.options.get("slot")
    if given is not None:
        if not isinstance(given, str) or not given or len(given) > NAME_BYTES or not _is_slot_name(given):
            raise ConfigError(f"{given!r} is no name for a slot: small letters, digits and _, at most {NAME_BYTES}")
        return given
    name = context.kept_as
    readable = "".join(letter if _is_slot_name(letter) else "_" for letter in f"{context.flow}_{name}".lower())
    digest = blake2b(f"{context.flow}/{name}".encode(), digest_size=4).hexdigest()
    return f"penstock_{readable[:40]}_{digest}"


def _is_slot_name(text: str) -> bool:
    return all(letter in "abcdefghijklmnopqrstuvwxyz0123456789_" for letter in text)
