"""The end of an undo: in one transaction the epochs that were written anew take the place of the old ones.

The old records are put aside and stay readable, because facts are never edited: an undo is one more fact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from penstock.errors import LedgerError
from penstock.ledger.contract import EpochRecord, Rewrite, SegmentRef
from penstock.ledger.databases import FlowDatabase
from penstock.ledger.failures import permanent
from penstock.ledger.fence import check_generation
from penstock.ledger.formats.records import (
    dump_plan,
    dump_record,
    dump_rewrite,
    load_plan,
    load_record,
    load_rewrite,
)
from penstock.ledger.handing_over import misplaced, swap_segments
from penstock.ledger.redrives import undo_letters, without_undone

__all__ = ["finish", "read_undone"]


def finish(
    connection: sa.Connection,
    db: FlowDatabase,
    flow: str,
    *,
    generation: int,
    rewrite: Rewrite,
    records: Sequence[EpochRecord],
    segments: Sequence[SegmentRef],
    letters: Sequence[Mapping[str, Any]],
    now_us: int,
) -> None:
    """Put `records` in the place of the epochs of the pending rewrite. Done already is accepted. Raises Fenced."""
    head = check_generation(connection, db, flow, generation)
    if head["rewrite"] is None and _is_done(connection, db, rewrite):
        return
    pending = load_rewrite(head["rewrite"]) if head["rewrite"] else None
    wrong = _misfit(head, pending, rewrite, records, segments) or _other_plan(connection, db, records)
    if wrong:
        raise permanent(
            LedgerError(
                f"the undo {rewrite.id} can't end: {wrong}",
                flow=flow,
                state_left="nothing was changed; the undo is under way, and the old records are there",
                hint="claim the flow again, and write the epochs of Resume.rewrite anew",
            )
        )
    assert pending is not None
    _put_aside(connection, db, pending, number=head["undos"] + 1, now_us=now_us)
    if records:
        rows = [{**db.scope, **_row(record, now_us)} for record in records]
        connection.exec_driver_sql(db.hot.insert_epoch, rows)
    undo_letters(connection, db, first=pending.first, upto=pending.upto, rewrite=pending.id)
    if letters:
        connection.exec_driver_sql(db.hot.insert_dead, [{**db.scope, **letter} for letter in letters])
    _drop_savepoints(connection, db, pending)
    swap_segments(connection, db, segments)
    table = db.tables.head
    values: dict[str, Any] = {
        "branch": head["branch"] + 1,
        "undos": head["undos"] + 1,
        "rewrite": None,
        "state_upto": pending.upto,
        "state_epoch": segments[-1].last if segments else 0,
        "state_version": pending.version,
        "dead_total": head["dead_total"] + len(letters),
        "planned": _planned(head["planned"], pending.first),
    }
    if records:
        values["last_us"] = records[-1].committed_us or now_us
    connection.execute(sa.update(table).where(*db.where(table)).values(**values))


def _is_done(connection: sa.Connection, db: FlowDatabase, rewrite: Rewrite) -> bool:
    table = db.tables.rewrites
    found = sa.select(table.c.id).where(*db.where(table), table.c.id == rewrite.id)
    return connection.execute(found).first() is not None


def _misfit(
    head: sa.RowMapping,
    pending: Rewrite | None,
    rewrite: Rewrite,
    records: Sequence[EpochRecord],
    segments: Sequence[SegmentRef],
) -> str | None:
    """What is wrong with what the end of an undo brings; None where nothing is."""
    if pending is None:
        return "none is under way"
    if pending.id != rewrite.id:
        return f"the one that is under way is {pending.id}"
    if pending.first <= head["rolled_epoch"]:
        return f"the epochs up to {head['rolled_epoch']} are rolled up, and are not written anew"
    if [record.epoch for record in records] != list(range(pending.first, pending.upto + 1)):
        found = f"{records[0].epoch}..{records[-1].epoch}" if records else "none"
        return f"it must bring the epochs {pending.first}..{pending.upto}, each once and in order, not {found}"
    if any(record.generation != head["generation"] for record in records):
        return f"the new records are not all of generation {head['generation']}, which writes them"
    return misplaced(segments, pending.upto)


def _other_plan(connection: sa.Connection, db: FlowDatabase, records: Sequence[EpochRecord]) -> str | None:
    """Which epoch was run on another input than before; None where none was."""
    if not records:
        return None
    epochs = db.tables.epochs
    first, last = records[0].epoch, records[-1].epoch
    old = sa.select(epochs.c.record).where(*db.where(epochs), epochs.c.epoch.between(first, last))
    texts = connection.execute(old.order_by(epochs.c.epoch)).scalars()
    for record, text in zip(records, texts, strict=True):
        expected = without_undone(load_record(text, 0).plan, first)
        if dump_plan(record.plan) != dump_plan(expected):
            return f"epoch {record.epoch} was run on other ranges, or at another time, than before"
    return None


def _put_aside(connection: sa.Connection, db: FlowDatabase, rewrite: Rewrite, *, number: int, now_us: int) -> None:
    """Move the old records to `undone`."""
    epochs, undone = db.tables.epochs, db.tables.undone
    db.insert(
        connection, db.tables.rewrites, id=rewrite.id, number=number, rewrite=dump_rewrite(rewrite), ended_us=now_us
    )
    names = [*db.scope, "epoch", "generation", "version", "committed_us", "record"]
    mine = (*db.where(epochs), epochs.c.epoch.between(rewrite.first, rewrite.upto))
    old = sa.select(sa.literal(rewrite.id), *(epochs.c[name] for name in names)).where(*mine)
    connection.execute(sa.insert(undone).from_select(["rewrite", *names], old))
    connection.execute(sa.delete(epochs).where(*mine))


def _row(record: EpochRecord, now_us: int) -> dict[str, Any]:
    return {
        "epoch": record.epoch,
        "generation": record.generation,
        "version": record.version,
        "committed_us": record.committed_us or now_us,
        "record": dump_record(record),
    }


def _drop_savepoints(connection: sa.Connection, db: FlowDatabase, rewrite: Rewrite) -> None:
    """The states of the history that was taken back are states of nothing."""
    table = db.tables.savepoints
    stale = (table.c.epoch >= rewrite.first, table.c.id != rewrite.savepoint)
    connection.execute(sa.delete(table).where(*db.where(table), *stale))


def _planned(text: str | None, first: int) -> str | None:
    """The plan of the next epoch; it stays, but for letters of the epochs that were taken back."""
    if text is None:
        return None
    plan = load_plan(text)
    kept = without_undone(plan, first)
    return text if kept is plan else dump_plan(kept)


def read_undone(connection: sa.Connection, db: FlowDatabase, rewrite: str | None) -> list[tuple[Rewrite, EpochRecord]]:
    """What undos put aside, oldest undo first, each in the order of its epochs."""
    rewrites, undone = db.tables.rewrites, db.tables.undone
    chosen = (
        sa.select(rewrites.c.rewrite, undone.c.committed_us, undone.c.record)
        .join(undone, undone.c.rewrite == rewrites.c.id)
        .where(*db.where(rewrites), *db.where(undone))
        .order_by(rewrites.c.number, undone.c.epoch)
    )
    if rewrite is not None:
        chosen = chosen.where(rewrites.c.id == rewrite)
    rows = connection.execute(chosen).all()
    return [(load_rewrite(row.rewrite), load_record(row.record, row.committed_us)) for row in rows]
