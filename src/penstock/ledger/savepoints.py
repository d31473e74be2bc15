"""Savepoints: names for the state of a flow after an epoch, which one to start from, and which ones may go.

A savepoint is a list of files that are there anyway. It costs the space of what compaction would have merged away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from penstock.errors import LedgerError
from penstock.ledger.contract import Savepoint
from penstock.ledger.databases import FlowDatabase, inserting
from penstock.ledger.failures import permanent
from penstock.ledger.fence import locked_head
from penstock.ledger.formats.records import clean_text, dump_segments, load_rewrite, load_segments
from penstock.ledger.reading import read_segments, state_epoch_of

__all__ = ["BEGINNING", "drop", "keep_state", "make_savepoint", "read_savepoints", "restore_point", "thinned"]

HOUR_US = 3_600_000_000

BEGINNING = Savepoint("nothing", 0, "", (), 0, "before the first epoch")
"""The state of a flow that never ran. It is in no ledger, and always there."""


def restore_point(savepoints: Sequence[Savepoint], epoch: int) -> Savepoint | None:
    """The savepoint to begin with where the state after `epoch` is wanted: the nearest one that is not after it."""
    before = [savepoint for savepoint in savepoints if savepoint.epoch <= epoch]
    return max(before, key=lambda savepoint: (savepoint.epoch, savepoint.made_us), default=None)


def thinned(savepoints: Sequence[Savepoint], now_us: int, keep_s: float) -> list[str]:
    """The ids of the savepoints that may go, never those of pinned ones.

    Stays: what is younger than an hour, then the oldest of each hour up to `keep_s`, then the newest of all older ones.
    """
    oldest_us = now_us - round(keep_s * 1e6)
    seen: set[int] = set()
    passed: list[str] = []
    gone: list[str] = []
    for savepoint in sorted(savepoints, key=lambda savepoint: (savepoint.made_us, savepoint.epoch)):
        hour = savepoint.made_us // HOUR_US
        if savepoint.pinned or savepoint.made_us > now_us - HOUR_US:
            continue
        if savepoint.made_us <= oldest_us:
            passed.append(savepoint.id)
        elif hour in seen:
            gone.append(savepoint.id)
        else:
            seen.add(hour)
    return passed[:-1] + gone


def keep_state(
    connection: sa.Connection,
    db: FlowDatabase,
    head: sa.RowMapping,
    savepoint: str,
    *,
    now_us: int,
    why: str,
    pinned: bool = False,
) -> None:
    """Name the live state files of a locked head as a savepoint; the same id again changes nothing."""
    table = db.tables.savepoints
    values = {
        "id": savepoint,
        "epoch": state_epoch_of(head),
        "version": head["state_version"],
        "segments": dump_segments(read_segments(connection, db)),
        "made_us": now_us,
        "why": clean_text(why),
        "pinned": pinned,
    }
    connection.execute(inserting(connection, table).values(**db.scope, **values).on_conflict_do_nothing())


def make_savepoint(
    connection: sa.Connection,
    db: FlowDatabase,
    flow: str,
    savepoint: str,
    *,
    now_us: int,
    why: str,
    pinned: bool,
    of: str | None,
) -> Savepoint:
    """Name the state as it is, or that of the savepoint `of`. Raises LedgerError where nothing was committed.

    The head is locked, so a compaction comes wholly before or wholly after: its files are not pruned without knowing.
    """
    head = locked_head(connection, db)
    if head is None or head["last_epoch"] == 0:
        raise permanent(
            LedgerError(
                "no epoch was committed yet, so there is no state to keep",
                flow=flow,
                state_left="nothing was written",
                hint="start the flow first",
            )
        )
    if of is None:
        keep_state(connection, db, head, savepoint, now_us=now_us, why=why, pinned=pinned)
    else:
        _keep_again(connection, db, of, savepoint, now_us=now_us, why=why, pinned=pinned)
    made = next((found for found in read_savepoints(connection, db) if found.id == savepoint), None)
    if made is None:
        raise permanent(
            LedgerError(
                f"there is no savepoint {of}",
                flow=flow,
                state_left="nothing was written",
                hint="look which there are, and plan again",
            )
        )
    return made


def _keep_again(
    connection: sa.Connection,
    db: FlowDatabase,
    of: str,
    savepoint: str,
    *,
    now_us: int,
    why: str,
    pinned: bool,
) -> None:
    """Name the state of a savepoint once more, where it is there."""
    table = db.tables.savepoints
    own = {"id": savepoint, "made_us": now_us, "why": clean_text(why), "pinned": pinned}
    names = [column.name for column in table.columns]
    values: list[sa.ColumnElement[Any]] = [
        sa.literal(own[name], table.c[name].type) if name in own else table.c[name] for name in names
    ]
    found = sa.select(*values).where(*db.where(table), table.c.id == of)
    connection.execute(sa.insert(table).from_select(names, found))


def drop(connection: sa.Connection, db: FlowDatabase, ids: Sequence[str]) -> None:
    """Let go of savepoints, but not of the one that an undo under way began from."""
    head = locked_head(connection, db)
    needed = load_rewrite(head["rewrite"]).savepoint if head is not None and head["rewrite"] else None
    table = db.tables.savepoints
    gone = [one for one in ids if one != needed]
    connection.execute(sa.delete(table).where(*db.where(table), table.c.id.in_(gone)))


def read_savepoints(connection: sa.Connection, db: FlowDatabase) -> list[Savepoint]:
    """All savepoints of a flow, by epoch, older ones of an epoch first."""
    table = db.tables.savepoints
    ordered = sa.select(table).where(*db.where(table)).order_by(table.c.epoch, table.c.made_us, table.c.id)
    return [
        Savepoint(
            id=row["id"],
            epoch=row["epoch"],
            version=row["version"],
            segments=load_segments(row["segments"]),
            made_us=row["made_us"],
            why=row["why"],
            pinned=row["pinned"],
        )
        for row in connection.execute(ordered).mappings()
    ]
