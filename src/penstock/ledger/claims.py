"""Who runs a flow: claiming a generation, the list of flows, and forgetting a flow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from penstock.errors import DefinitionError, FlowBusy
from penstock.ledger.contract import FlowFacts
from penstock.ledger.databases import Databases, FlowDatabase, inserting
from penstock.ledger.failures import permanent
from penstock.ledger.fence import locked_head

__all__ = ["check_successor", "claim_head", "facts_of", "forget", "register"]


def _insert_missing(connection: sa.Connection, table: sa.Table, values: dict[str, Any]) -> None:
    """Insert a row unless its key is there."""
    connection.execute(inserting(connection, table).values(**values).on_conflict_do_nothing())


def claim_head(
    connection: sa.Connection, db: FlowDatabase, *, at_least: int, version: str, holder: str
) -> sa.RowMapping:
    """Raise the fence to a new generation in the flow's own database, and give the head as it is now."""
    head = db.tables.head
    empty: dict[str, Any] = {
        "generation": 0,
        "version": "",
        "holder": "",
        "last_epoch": 0,
        "state_epoch": 0,
        "rolled_epoch": 0,
        "dead_total": 0,
        "branch": 0,
        "undos": 0,
        "state_upto": 0,
        "state_version": "",
    }
    alone = {} if db.tables.scoped else {"one": 1}
    _insert_missing(connection, head, {**db.scope, **alone, **empty})
    before = locked_head(connection, db)
    generation = max((before["generation"] if before else 0) + 1, at_least)
    raised = sa.update(head).where(*db.where(head)).values(generation=generation, version=version, holder=holder)
    return connection.execute(raised.returning(head)).mappings().one()


def check_successor(connection: sa.Connection, db: FlowDatabase, flow: str, *, version: str, after: int) -> None:
    """Raise FlowBusy where another version leads as a generation newer than `after`."""
    head = locked_head(connection, db)
    if head is None or head["generation"] <= after or head["version"] == version:
        return
    raise permanent(
        FlowBusy(
            f"version {head['version']} ({head['holder']}) leads as generation {head['generation']} since version "
            f"{version} was to be started",
            flow=flow,
            state_left="nothing was changed; the flow goes on as it is",
            hint="look at what leads now, and deploy this version where it should lead",
        )
    )


def register(databases: Databases, flow: str, **claim: Any) -> int:
    """The highest generation of a flow that the control tables know (0: none); with a `claim`, note it there first.

    The control tables are a list for people and a second memory of the generation: the fence is in the flow's own
    database. Raises DefinitionError for a name that differs from another flow's by case only.
    """
    tables = databases.control_tables
    flows = tables.flows
    scope = {"env": databases.env, "flow": flow}

    def known(connection: sa.Connection) -> int:
        rows = connection.execute(
            sa.select(flows.c.flow, flows.c.generation).where(
                flows.c.env == databases.env, sa.func.lower(flows.c.flow) == flow.lower()
            )
        ).all()
        twins = [row.flow for row in rows if row.flow != flow]
        if twins:
            raise DefinitionError(
                f"there is a flow {twins[0]!r}; on some systems {flow!r} would be the same folder",
                flow=flow,
                hint="give one of the two another name",
            )
        return max((row.generation for row in rows), default=0)

    def note(connection: sa.Connection) -> int:
        newest = {name: claim[name] for name in ("generation", "version", "holder")}
        newest["claimed_us"] = claim["now_us"]
        _insert_missing(connection, tables.generations, {**scope, **newest})
        _insert_missing(
            connection, tables.versions, {**scope, "version": claim["version"], "first_us": claim["now_us"]}
        )
        _insert_missing(connection, flows, {**scope, **newest})
        # Two claims may arrive here in the other order.
        connection.execute(
            sa.update(flows)
            .where(flows.c.env == databases.env, flows.c.flow == flow, flows.c.generation < claim["generation"])
            .values(**newest)
        )
        return int(claim["generation"])

    if claim:
        return databases.control.write(note, flow=flow, left="the flow is claimed; only the list of claims lacks it")
    return databases.control.read(known, flow=flow)


def facts_of(databases: Databases) -> Sequence[FlowFacts]:
    """Every flow of the environment, with the head of its own database."""
    flows = databases.control_tables.flows
    listed = databases.control.read(
        lambda c: c.execute(sa.select(flows).where(flows.c.env == databases.env)).mappings().all()
    )
    facts = []
    for row in sorted(listed, key=lambda row: str(row["flow"])):
        head = _head_of(databases, row["flow"]) or {**row, "last_epoch": 0, "last_us": None}
        facts.append(
            FlowFacts(
                flow=row["flow"],
                generation=max(head["generation"], row["generation"]),
                holder=head["holder"],
                version=head["version"],
                last_epoch=head["last_epoch"] or None,
                committed_us=head["last_us"],
            )
        )
    return facts


def _head_of(databases: Databases, flow: str) -> dict[str, Any] | None:
    db = databases.flow(flow)
    if db is None:
        return None
    statement = sa.select(db.tables.head).where(*db.where(db.tables.head))
    head = db.database.read(lambda c: c.execute(statement).mappings().first(), flow=flow)
    return None if head is None else dict(head)


def forget(databases: Databases, db: FlowDatabase, flow: str) -> None:
    """Drop a flow's facts and put its head back to the beginning; the generation and its holder stay."""
    tables = db.tables

    def work(connection: sa.Connection) -> list[str]:
        head = locked_head(connection, db)
        rollups = sa.select(tables.rollups.c.file).where(*db.where(tables.rollups))
        files = list(connection.execute(rollups).scalars())
        for table in tables.metadata.sorted_tables:
            if table is not tables.head:
                connection.execute(sa.delete(table).where(*db.where(table)))
        beginning: dict[str, Any] = dict.fromkeys(("last_us", "planned", "rewrite"))
        zero = dict.fromkeys(("last_epoch", "state_epoch", "state_upto", "rolled_epoch", "dead_total"), 0)
        beginning["state_version"] = ""
        if head is not None:
            beginning["branch"] = head["branch"] + 1  # whoever follows sees that the history ended
        connection.execute(sa.update(tables.head).where(*db.where(tables.head)).values(**beginning, **zero))
        return files

    files = db.database.write(work, flow=flow, left="the flow was not forgotten")
    for file in files:
        with suppress(OSError):  # it is not registered any more: nobody reads it
            (databases.folder_of(flow) / file).unlink(missing_ok=True)
