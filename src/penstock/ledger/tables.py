"""The tables of the ledger, as SQLAlchemy Core sees them, and the few statements that every commit runs.

The *control* tables list flows, generations, versions and processes, and what is wished of them. The *epoch* tables
hold what one flow did; in PostgreSQL they are shared by all flows (columns `env`, `flow` in front), in SQLite each flow
has a file of its own and needs neither.
Migrations create them (`penstock.ledger.migrations`); a test holds both descriptions against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

__all__ = ["ControlTables", "EpochTables", "HotStatements", "control_tables", "epoch_tables"]

NO_SEGMENT = 2**62
"""Stands for "no state file" where a commit says after which epoch its state file must begin."""


@dataclass(frozen=True, slots=True)
class ControlTables:
    """Which flows there are, who claimed them when, with which version of the code; what is wished and done."""

    metadata: sa.MetaData
    flows: sa.Table
    generations: sa.Table
    versions: sa.Table
    members: sa.Table
    desired: sa.Table
    deployments: sa.Table
    events: sa.Table
    leases: sa.Table
    documents: sa.Table


@dataclass(frozen=True, slots=True)
class EpochTables:
    """What one flow did. `head` is the fence and the end of the log in one row: the only row that is ever edited."""

    metadata: sa.MetaData
    head: sa.Table
    epochs: sa.Table
    segments: sa.Table
    dead_letters: sa.Table
    rollups: sa.Table
    savepoints: sa.Table
    rewrites: sa.Table
    undone: sa.Table
    redrives: sa.Table
    scoped: bool

    def of_flow(self, table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
        """The conditions that pick one flow's rows: `env` and `flow` are bound by `params`, none where it is alone."""
        if not self.scoped:
            return ()
        return (table.c.env == sa.bindparam("env"), table.c.flow == sa.bindparam("flow"))

    def columns(self, table: sa.Table, *names: str) -> dict[str, Any]:
        """Values for an insert: each named column bound to a parameter of its name, and the scope in front."""
        scope = ("env", "flow") if self.scoped else ()
        return {name: sa.bindparam(name, type_=table.c[name].type) for name in (*scope, *names)}


def control_tables(schema: str | None) -> ControlTables:
    """The control tables, in a PostgreSQL schema or (None) in a file of their own."""
    metadata = sa.MetaData(schema=schema)
    return ControlTables(
        metadata,
        sa.Table(
            "flows",
            metadata,
            *_scope(scoped=True),
            sa.Column("generation", sa.BigInteger, nullable=False),
            *_claimed(),
        ),
        sa.Table(
            "generations",
            metadata,
            *_scope(scoped=True),
            sa.Column("generation", sa.BigInteger, primary_key=True),
            *_claimed(),
        ),
        sa.Table(
            "versions",
            metadata,
            *_scope(scoped=True),
            sa.Column("version", sa.Text, primary_key=True),
            sa.Column("first_us", sa.BigInteger, nullable=False),
            sa.Column("manifest", sa.Text),
        ),
        _members(metadata),
        sa.Table(
            "desired",
            metadata,
            *_scope(scoped=True),
            *_texts("want", "version", "options", "who", "why"),
            sa.Column("changed_us", sa.BigInteger, nullable=False),
        ),
        _deployments(metadata),
        sa.Table(
            "events",
            metadata,
            sa.Column("id", _row_id(), primary_key=True),
            *_texts("env", "flow", "kind", "body", "who"),
            sa.Column("at_us", sa.BigInteger, nullable=False),
        ),
        sa.Table(
            "leases",
            metadata,
            sa.Column("env", sa.Text, primary_key=True),
            sa.Column("name", sa.Text, primary_key=True),
            *_texts("holder"),
            sa.Column("fence", sa.BigInteger, nullable=False),
            sa.Column("until_us", sa.BigInteger, nullable=False),
        ),
        sa.Table(
            "documents",
            metadata,
            *(sa.Column(name, sa.Text, primary_key=True) for name in ("env", "kind", "id")),
            *_texts("body", "who"),
            sa.Column("changed_us", sa.BigInteger, nullable=False),
        ),
    )


def _members(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "members",
        metadata,
        *_scope(scoped=True),
        sa.Column("id", sa.Text, primary_key=True),
        *_texts("version", "host", "started", "wish", "facts", "ended"),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("joined_us", sa.BigInteger, nullable=False),
        sa.Column("facts_us", sa.BigInteger, nullable=False),
        sa.Column("ended_us", sa.BigInteger),
    )


def _deployments(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "deployments",
        metadata,
        sa.Column("number", _row_id(), primary_key=True),
        *_texts("env", "id", "flow", "kind", "old_version", "new_version", "plan", "stage", "status"),
        *_texts("facts", "receipt", "who", "why"),
        sa.Column("made_us", sa.BigInteger, nullable=False),
        sa.Column("ended_us", sa.BigInteger),
    )


def _texts(*names: str) -> tuple[sa.Column[str], ...]:
    return tuple(sa.Column(name, sa.Text, nullable=False) for name in names)


def _row_id() -> sa.types.TypeEngine[int]:
    """A number that SQLite takes for its row id, which is a primary key of the type INTEGER only."""
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _claimed() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("claimed_us", sa.BigInteger, nullable=False),
    )


def _scope(*, scoped: bool) -> tuple[sa.Column[str], ...]:
    if not scoped:
        return ()
    return (sa.Column("env", sa.Text, primary_key=True), sa.Column("flow", sa.Text, primary_key=True))


def epoch_tables(schema: str | None, *, scoped: bool) -> EpochTables:
    """The epoch tables; `scoped` where flows share them."""
    metadata = sa.MetaData(schema=schema)
    number = _row_id()
    alone = () if scoped else (sa.Column("one", sa.Integer, primary_key=True),)
    head = sa.Table(
        "head",
        metadata,
        *_scope(scoped=scoped),
        *alone,
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("last_epoch", sa.BigInteger, nullable=False),
        sa.Column("last_us", sa.BigInteger),
        sa.Column("planned", sa.Text),
        sa.Column("state_epoch", sa.BigInteger, nullable=False),
        sa.Column("rolled_epoch", sa.BigInteger, nullable=False),
        sa.Column("dead_total", sa.BigInteger, nullable=False),
        sa.Column("branch", sa.BigInteger, nullable=False),
        sa.Column("undos", sa.BigInteger, nullable=False),
        sa.Column("rewrite", sa.Text),
        sa.Column("state_upto", sa.BigInteger, nullable=False),
        *_texts("state_version"),
    )
    epochs = sa.Table(
        "epochs",
        metadata,
        *_scope(scoped=scoped),
        sa.Column("epoch", number, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("committed_us", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    segments = sa.Table(
        "segments",
        metadata,
        *_scope(scoped=scoped),
        sa.Column("last", number, primary_key=True),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("crc32", sa.BigInteger, nullable=False),
    )
    rollups = sa.Table(
        "rollups",
        metadata,
        *_scope(scoped=scoped),
        sa.Column("last", number, primary_key=True),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
    )
    savepoints = _savepoints(metadata, scoped=scoped)
    letters = _dead_letters(metadata, scoped=scoped)
    redrives = sa.Table(
        "redrives",
        metadata,
        *_scope(scoped=scoped),
        sa.Column("letter", number, primary_key=True),
        *_texts("step", "payload"),
        sa.Column("asked_us", sa.BigInteger, nullable=False),
    )
    undone = _undone(metadata, scoped=scoped)
    return EpochTables(metadata, head, epochs, segments, letters, rollups, savepoints, *undone, redrives, scoped)


def _savepoints(metadata: sa.MetaData, *, scoped: bool) -> sa.Table:
    return sa.Table(
        "savepoints",
        metadata,
        *_scope(scoped=scoped),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        *_texts("version", "segments"),
        sa.Column("made_us", sa.BigInteger, nullable=False),
        *_texts("why"),
        sa.Column("pinned", sa.Boolean, nullable=False),
    )


def _undone(metadata: sa.MetaData, *, scoped: bool) -> tuple[sa.Table, sa.Table]:
    """The undos that ended, and the epochs that they put aside."""
    rewrites = sa.Table(
        "rewrites",
        metadata,
        *_scope(scoped=scoped),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        *_texts("rewrite"),
        sa.Column("ended_us", sa.BigInteger, nullable=False),
    )
    undone = sa.Table(
        "undone",
        metadata,
        *_scope(scoped=scoped),
        sa.Column("rewrite", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        *_texts("version", "record"),
        sa.Column("committed_us", sa.BigInteger, nullable=False),
    )
    return rewrites, undone


def _dead_letters(metadata: sa.MetaData, *, scoped: bool) -> sa.Table:
    scope = ("env", "flow") if scoped else ()
    return sa.Table(
        "dead_letters",
        metadata,
        sa.Column("id", _row_id(), primary_key=True),
        *_texts(*scope),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        *_texts("step", "error", "message", "signature", "payload", "offset", "version", "status", "detail"),
    )


@dataclass(frozen=True, slots=True)
class HotStatements:
    """What every epoch and every look runs, as SQL text, compiled once: half of a commit's time would be compiling."""

    advance: str
    plan: str
    insert_epoch: str
    insert_segment: str
    insert_dead: str
    standing: str

    @classmethod
    def compiled(cls, tables: EpochTables, dialect: Dialect) -> HotStatements:
        """Compile for SQLite (`:name` parameters) or PostgreSQL (`%(name)s`)."""
        head = tables.head
        bind, big = sa.bindparam, sa.BigInteger
        fenced = (*tables.of_flow(head), head.c.generation == bind("generation"))
        # One statement asserts the fence, the number, the plan and the place of the state file, and takes the row's
        # lock: where it changes no row, the slow path finds out why.
        advance = (
            sa.update(head)
            .where(
                *fenced,
                head.c.last_epoch == bind("before"),
                head.c.planned == bind("done"),
                head.c.state_epoch < bind("state_after", type_=big),
                head.c.rewrite.is_(None),
            )
            .values(
                last_epoch=bind("epoch"),
                state_upto=bind("epoch"),
                state_version=bind("version"),
                last_us=bind("committed_us"),
                planned=bind("next"),
                state_epoch=sa.func.coalesce(bind("state_epoch", type_=big), head.c.state_epoch),
                dead_total=head.c.dead_total + bind("dead"),
            )
        )
        plan = (
            sa.update(head)
            .where(*fenced, head.c.last_epoch == bind("before"), head.c.planned.is_(None))
            .values(planned=bind("next"))
        )
        names = ("generation", "version", "holder", "last_epoch", "planned", "branch", "undos", "rewrite")
        standing = sa.select(*(head.c[name] for name in names)).where(*tables.of_flow(head))
        epoch = ("epoch", "generation", "version", "committed_us", "record")
        segment = ("last", "first", "file", "size_bytes", "crc32")
        dead = ("epoch", "step", "error", "message", "signature", "payload", "offset", "version")

        def insert(table: sa.Table, names: tuple[str, ...]) -> sa.Insert:
            return sa.insert(table).values(tables.columns(table, *names))

        return cls(
            *(
                str(statement.compile(dialect=dialect))
                for statement in (
                    advance,
                    plan,
                    insert(tables.epochs, epoch),
                    insert(tables.segments, segment),
                    insert(tables.dead_letters, dead),
                    standing,
                )
            )
        )
