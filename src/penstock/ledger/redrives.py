"""What becomes of dead letters: waiting for another try, tried again, given up, taken back with their epoch.

A letter is tried again once: it waits, a plan takes it, and the commit of that plan's epoch makes it `redriven` and
ends the waiting in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from penstock.errors import LedgerError
from penstock.ledger.contract import EpochPlan
from penstock.ledger.databases import FlowDatabase, inserting
from penstock.ledger.failures import permanent
from penstock.ledger.fence import locked_head
from penstock.ledger.formats.records import clean_text, dump_json, load_plan

__all__ = ["check_redrive", "drop_letters", "letters_redriven", "request", "undo_letters", "waiting", "without_undone"]

AT_ONCE = 1_000
"""So many ids in one statement."""


def without_undone(plan: EpochPlan, first: int) -> EpochPlan:
    """The plan as it runs again in an undo of the epochs >= `first`: without letters that fell in one of them.

    Their rows are processed again where they came from, so another try would count them twice.
    """
    kept = tuple(entry for entry in plan.redrive if entry["epoch"] < first)
    return plan if len(kept) == len(plan.redrive) else replace(plan, redrive=kept)


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]


def _letters_of(plan: EpochPlan) -> list[int]:
    return [entry["letter"] for entry in plan.redrive]


def _rows(connection: sa.Connection, db: FlowDatabase, ids: Sequence[int]) -> dict[int, sa.RowMapping]:
    """Status, step, payload and epoch of letters, by id."""
    table = db.tables.dead_letters
    columns = (table.c.id, table.c.status, table.c.step, table.c.payload, table.c.epoch)
    found: dict[int, sa.RowMapping] = {}
    for some in _chunks(ids):
        rows = connection.execute(sa.select(*columns).where(*db.where(table), table.c.id.in_(some))).mappings()
        found |= {row["id"]: row for row in rows}
    return found


def _planned(head: sa.RowMapping | None) -> set[int]:
    """The letters that the plan of the next epoch has taken."""
    return set() if head is None or not head["planned"] else set(_letters_of(load_plan(head["planned"])))


def _refused(flow: str, message: str, hint: str, *, epoch: int | None = None) -> LedgerError:
    return permanent(LedgerError(message, flow=flow, epoch=epoch, state_left="nothing was written", hint=hint))


def check_redrive(connection: sa.Connection, db: FlowDatabase, flow: str, plan: EpochPlan) -> None:
    """Raise where a plan takes letters that are not to be tried again: each is tried once.

    One that a person gave up a moment before is let through: the plan was made already, and it will say `redriven`.
    """
    ids = _letters_of(plan)
    found = _rows(connection, db, ids)
    for letter in ids:
        status = found[letter]["status"] if letter in found else "not there"
        if status not in ("open", "dropped"):
            raise _refused(
                flow,
                f"the plan takes dead letter {letter}, which is {status}",
                "plan again from waiting_redrives",
                epoch=plan.epoch,
            )


def letters_redriven(connection: sa.Connection, db: FlowDatabase, plan: EpochPlan) -> None:
    """The epoch of `plan` is committed: its letters are redriven and wait no more."""
    letters, redrives = db.tables.dead_letters, db.tables.redrives
    done = {"status": "redriven", "detail": dump_json({"epoch": plan.epoch}, what="an epoch")}
    for some in _chunks(_letters_of(plan)):
        connection.execute(sa.update(letters).where(*db.where(letters), letters.c.id.in_(some)).values(**done))
        connection.execute(sa.delete(redrives).where(*db.where(redrives), redrives.c.letter.in_(some)))


def request(
    connection: sa.Connection, db: FlowDatabase, flow: str, asked: Mapping[int, str | None], now_us: int
) -> int:
    """Let open letters wait, all or none; gives how many wait now. Raises LedgerError for one that is not open."""
    planned = _planned(locked_head(connection, db))
    ids = sorted(asked)
    found = _rows(connection, db, ids)
    for letter in ids:
        status = found[letter]["status"] if letter in found else "not there"
        if letter in planned:
            raise _refused(flow, f"dead letter {letter} is being tried again at this moment", "look again in a moment")
        if status != "open":
            raise _refused(flow, f"dead letter {letter} is {status}, not open", "ask for letters that are open")
    redrives = db.tables.redrives
    new = inserting(connection, redrives)
    new = new.on_conflict_do_update(index_elements=[*db.scope, "letter"], set_={"payload": new.excluded.payload})
    rows = [
        {
            **db.scope,
            "letter": letter,
            "step": found[letter]["step"],
            "payload": _payload(asked[letter], found[letter]["payload"]),
            "asked_us": now_us,
        }
        for letter in ids
    ]
    if rows:
        connection.execute(new, rows)
    count = sa.select(sa.func.count()).select_from(redrives).where(*db.where(redrives))
    return connection.execute(count).scalar_one()


def _payload(edited: str | None, original: str) -> str:
    return original if edited is None else clean_text(edited)


def waiting(connection: sa.Connection, db: FlowDatabase, limit: int) -> list[dict[str, Any]]:
    """What waits and is in no plan yet, in the order in which the letters' rows came, as far as that is known."""
    head, redrives, letters = db.tables.head, db.tables.redrives, db.tables.dead_letters
    first = connection.execute(sa.select(head.c.planned).where(*db.where(head))).mappings().first()
    planned = _planned(first)
    chosen = (
        sa.select(redrives.c.letter, letters.c.epoch, redrives.c.step, redrives.c.payload, letters.c.offset)
        .join(letters, letters.c.id == redrives.c.letter)
        .where(*db.where(redrives), *db.where(letters))
        .order_by(redrives.c.letter)
        .limit(limit + len(planned))
    )
    rows = [dict(row) for row in connection.execute(chosen).mappings() if row["letter"] not in planned][:limit]
    return [row for _, fell in groupby(rows, key=itemgetter("epoch")) for row in _in_order_of_coming(list(fell))]


def _in_order_of_coming(fell: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Letters of one epoch, without their offsets: by the places of their rows where those are known of all.

    Else by step, as they fell.
    """
    offsets = [json.loads(row.pop("offset")) for row in fell]
    places = [(offset.get("source"), offset.get("partition"), offset.get("row")) for offset in offsets]
    if any(not isinstance(row, int) or partition is None for _, partition, row in places):
        return list(fell)
    return [fell[number] for number in sorted(range(len(fell)), key=places.__getitem__)]


def drop_letters(connection: sa.Connection, db: FlowDatabase, ids: Sequence[int], detail: str) -> int:
    """Give up open letters that no plan has taken; gives how many."""
    planned = _planned(locked_head(connection, db))
    letters, redrives = db.tables.dead_letters, db.tables.redrives
    dropped = 0
    for some in _chunks([letter for letter in dict.fromkeys(ids) if letter not in planned]):
        mine = (*db.where(letters), letters.c.id.in_(some), letters.c.status == "open")
        dropped += connection.execute(sa.update(letters).where(*mine).values(status="dropped", detail=detail)).rowcount
        connection.execute(sa.delete(redrives).where(*db.where(redrives), redrives.c.letter.in_(some)))
    return dropped


def undo_letters(connection: sa.Connection, db: FlowDatabase, *, first: int, upto: int, rewrite: str) -> None:
    """The epochs first..upto were taken back: their letters are `undone`, and wait no more."""
    letters, redrives = db.tables.dead_letters, db.tables.redrives
    mine = (*db.where(letters), letters.c.epoch.between(first, upto))
    fell = sa.select(letters.c.id).where(*mine)
    connection.execute(sa.delete(redrives).where(*db.where(redrives), redrives.c.letter.in_(fell)))
    others = sa.select(letters.c.id, letters.c.status, letters.c.detail).where(
        *mine, letters.c.status.in_(("redriven", "dropped"))
    )
    for row in connection.execute(others).all():
        detail = dump_json({"rewrite": rewrite, "was": row.status, "detail": json.loads(row.detail)}, what="a rewrite")
        one = sa.update(letters).where(*db.where(letters), letters.c.id == row.id)
        connection.execute(one.values(status="undone", detail=detail))
    plain = dump_json({"rewrite": rewrite}, what="a rewrite")
    rest = sa.update(letters).where(*mine, letters.c.status == "open").values(status="undone", detail=plain)
    connection.execute(rest)
