"""Why a plan or a commit changed no row: fenced, out of order, already done, or not what was planned.

The fast path asserts everything in one statement (`tables.HotStatements.advance`). Only where that changes no row does
this module read the head, under its lock, and say which assertion did not hold.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from penstock.errors import Fenced, LedgerError
from penstock.ledger.contract import EpochPlan, EpochRecord
from penstock.ledger.databases import FlowDatabase
from penstock.ledger.failures import permanent

__all__ = ["check_generation", "locked_head", "resolve_commit", "resolve_plan"]


def locked_head(connection: sa.Connection, db: FlowDatabase) -> sa.RowMapping | None:
    """The head of a flow, locked until the transaction ends (SQLite: the write lock is held already)."""
    statement = sa.select(db.tables.head).where(*db.where(db.tables.head)).with_for_update()
    return connection.execute(statement).mappings().first()


def check_generation(connection: sa.Connection, db: FlowDatabase, flow: str, generation: int) -> sa.RowMapping:
    """The locked head, if `generation` is the newest. Raises Fenced where a higher one has claimed the flow."""
    head = locked_head(connection, db)
    if head is None or head["generation"] < generation:
        claimed = "nobody has claimed it" if head is None else f"the newest is {head['generation']}"
        raise _refused(flow, None, f"generation {generation} was never claimed ({claimed})", "claim the flow first")
    if head["generation"] > generation:
        raise Fenced(
            f"generation {generation} is fenced: {head['holder']} claimed the flow as generation {head['generation']}",
            flow=flow,
            state_left=f"epoch {head['last_epoch']} is the last committed; the newer process goes on from there",
            hint="end this process; it must not write any more",
        )
    return head


def _refused(flow: str, epoch: int | None, message: str, hint: str) -> LedgerError:
    return permanent(LedgerError(message, flow=flow, epoch=epoch, state_left="nothing was written", hint=hint))


UNDO_FIRST = "finish the undo (Resume.rewrite, Ledger.finish_rewrite), then go on"
AGAIN = "claim the flow again and go on from what the ledger says"


def _same(stored: str | None, given: str | None) -> bool:
    """Whether two JSON texts hold equal values; the text may differ where another version wrote it."""
    if stored is None or given is None:
        return stored is given
    return stored == given or bool(json.loads(stored) == json.loads(given))


def resolve_plan(
    connection: sa.Connection, db: FlowDatabase, flow: str, *, generation: int, plan: EpochPlan, text: str
) -> None:
    """Return where exactly this plan is durable already (an answer was lost); raise what is wrong otherwise."""
    head = check_generation(connection, db, flow, generation)
    if plan.epoch != head["last_epoch"] + 1:
        raise _refused(
            flow, plan.epoch, f"the next epoch is {head['last_epoch'] + 1}; another one can't be planned", AGAIN
        )
    if not _same(head["planned"], text):
        raise _refused(
            flow, plan.epoch, "the epoch has a plan with other ranges; a plan is decided once and never changed", AGAIN
        )


def resolve_commit(
    connection: sa.Connection, db: FlowDatabase, flow: str, record: EpochRecord, values: dict[str, Any]
) -> bool:
    """Find out why a commit changed no row. False: exactly this record is committed already (its answer was lost).

    True: it is in order after all, and the head was advanced (another version had written the plan's JSON another
    way). Raises Fenced or LedgerError otherwise.
    """
    head = check_generation(connection, db, flow, record.generation)
    if record.epoch == head["last_epoch"]:
        _check_repeat(connection, db, flow, record=record, values=values, head=head)
        return False
    if record.epoch != head["last_epoch"] + 1:
        raise _refused(
            flow, record.epoch, f"the next epoch to commit is {head['last_epoch'] + 1}, not {record.epoch}", AGAIN
        )
    if head["rewrite"] is not None:
        raise _refused(
            flow, record.epoch, "an undo is under way: its epochs are in the sinks before new ones are", UNDO_FIRST
        )
    if head["planned"] is None:
        raise _refused(flow, record.epoch, "the epoch was never planned, so it can't be committed", AGAIN)
    if not _same(head["planned"], values["done"]):
        raise _refused(flow, record.epoch, "the record's plan is not the one that the ledger holds", AGAIN)
    advanced = connection.exec_driver_sql(db.hot.advance, {**values, "done": head["planned"]})
    if advanced.rowcount != 1:
        raise _refused(
            flow,
            record.epoch,
            f"the state file covers epochs from {record.segment.first if record.segment else '-'} on, and the state "
            f"of epoch {head['state_epoch']} is in another file already",
            "report this: it is a bug of the engine",
        )
    return True


def _check_repeat(
    connection: sa.Connection,
    db: FlowDatabase,
    flow: str,
    *,
    record: EpochRecord,
    values: dict[str, Any],
    head: sa.RowMapping,
) -> None:
    """Raise unless the last committed record, and the plan that came with it, are exactly those of `values`."""
    epochs = db.tables.epochs
    stored = connection.execute(
        sa.select(epochs.c.record).where(*db.where(epochs), epochs.c.epoch == record.epoch)
    ).scalar_one()
    if not _same(stored, values["record"]):
        raise _refused(
            flow, record.epoch, "the epoch is committed already, with another record; a fact is never edited", AGAIN
        )
    if values["next"] is not None and not _same(head["planned"], values["next"]):
        raise _refused(flow, record.epoch, "the epoch is committed already, with another plan after it", AGAIN)
