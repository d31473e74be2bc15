"""Old epochs leave the tables for Parquet files, so that a ledger does not grow without bound, and stay readable there.

A file is durable before it is *registered*, and registering it (one short transaction that also raises the head's
`rolled_epoch`) is the moment from which its epochs are read there and not in the table. Only then are rows deleted, a
few at a time, so that the flow never waits long. Killed between any two of these, each epoch is still read once.

An undo writes epochs anew, and that is done in the table: `unroll` goes the same way back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from penstock.errors import LedgerError
from penstock.ledger.databases import FlowDatabase
from penstock.ledger.durable import TEMPORARY, make_folder, write_file
from penstock.ledger.failures import disk_failure, permanent
from penstock.ledger.fence import locked_head
from penstock.ledger.formats.records import load_record
from penstock.ledger.frames import epoch_frame

__all__ = ["read_rolled", "roll_up", "unroll"]

FILE_EPOCHS = 50_000
DELETE_ROWS = 2_000
ROW_GROUP = 5_000
NAME = re.compile(r"epochs-(\d+)-(\d+)\.parquet")


def roll_up(db: FlowDatabase, folder: Path, flow: str, before_epoch: int) -> int:
    """Move the records of epochs < `before_epoch`, but never the last one; gives how many. Raises LedgerError."""
    make_folder(folder)
    moved = 0
    rolled, last, undos = _ends(db, flow)
    _delete_rows(db, flow, rolled)  # what a killed call left behind
    for start, stop in _chunks(rolled + 1, min(before_epoch, last)):
        rows = _rows(db, flow, start, stop)
        if len(rows) != stop - start:
            break  # somebody else is rolling up too, and was here first
        file = folder / f"epochs-{start}-{stop - 1}.parquet"
        _write(file, rows, flow)
        if not _register(db, flow, start, stop - 1, file.name, undos):
            break
        _delete_rows(db, flow, stop - 1)
        moved += len(rows)
    _remove_orphans(db, folder, flow)
    return moved


def unroll(db: FlowDatabase, folder: Callable[[], Path], flow: str, first: int) -> None:
    """Bring the epochs from `first` on back to the table, where they can be written anew.

    Whole files come, so some epochs before `first` do too. The files are what is read until all rows are there; a call
    that is killed before leaves rows that the next roll-up deletes. Where a roll-up was at work meanwhile, the files
    stay what is read. Raises LedgerError where a file is missing or damaged.
    """
    rolled, _, _ = _ends(db, flow)
    if first > rolled:
        return
    rollups = db.tables.rollups
    statement = sa.select(rollups.c.first, rollups.c.last, rollups.c.file).where(*db.where(rollups))
    chosen = statement.where(rollups.c.last >= first).order_by(rollups.c.last)
    files = db.database.read(lambda c: c.execute(chosen).all(), flow=flow)
    for start, stop, name in files:
        rows = read_rolled(folder() / name, start, stop)
        for at in range(0, len(rows), DELETE_ROWS):
            some = partial(_bring_back, db=db, rows=rows[at : at + DELETE_ROWS])
            db.database.write(some, flow=flow, left="the epochs are in their files as before")
    _unregister(db, flow, files[0].first, rolled)


def _bring_back(connection: sa.Connection, *, db: FlowDatabase, rows: Sequence[tuple[int, int, str]]) -> None:
    """Put rows into the table, over those that a roll-up has not deleted yet, as long as nobody reads them there."""
    now, epochs = locked_head(connection, db), db.tables.epochs
    if now is None or rows[-1][0] > now["rolled_epoch"]:
        return
    there = epochs.c.epoch.between(rows[0][0], rows[-1][0])
    connection.execute(sa.delete(epochs).where(*db.where(epochs), there))
    connection.execute(sa.insert(epochs), [{**db.scope, **_values(*row)} for row in rows])


def _values(epoch: int, committed_us: int, text: str) -> dict[str, Any]:
    record = load_record(text, committed_us)
    return {
        "epoch": epoch,
        "generation": record.generation,
        "version": record.version,
        "committed_us": committed_us,
        "record": text,
    }


def _unregister(db: FlowDatabase, flow: str, first: int, rolled: int) -> None:
    """Let the rows take the place of their files; not where a roll-up has deleted some of them, or rolled up more."""
    head, rollups, epochs = db.tables.head, db.tables.rollups, db.tables.epochs
    mine = (*db.where(epochs), epochs.c.epoch.between(first, rolled))

    def work(connection: sa.Connection) -> None:
        now = locked_head(connection, db)
        count = connection.execute(sa.select(sa.func.count()).select_from(epochs).where(*mine)).scalar()
        if now is None or now["rolled_epoch"] != rolled or count != rolled - first + 1:
            return
        connection.execute(sa.delete(rollups).where(*db.where(rollups), rollups.c.first >= first))
        connection.execute(sa.update(head).where(*db.where(head)).values(rolled_epoch=first - 1))

    db.database.write(work, flow=flow, left="the epochs are in their files as before")


def _chunks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of epochs, one for each file."""
    yield from pairwise([*range(start, stop, FILE_EPOCHS), stop] if start < stop else [])


def _ends(db: FlowDatabase, flow: str) -> tuple[int, int, int]:
    """The last epoch that is rolled up, the last one that there is, and how many undos have ended."""
    head = db.tables.head
    statement = sa.select(head.c.rolled_epoch, head.c.last_epoch, head.c.undos).where(*db.where(head))
    row = db.database.read(lambda c: c.execute(statement).first(), flow=flow)
    return (0, 0, 0) if row is None else (row.rolled_epoch, row.last_epoch, row.undos)


def _rows(db: FlowDatabase, flow: str, start: int, stop: int) -> list[tuple[int, int, str]]:
    epochs = db.tables.epochs
    statement = (
        sa.select(epochs.c.epoch, epochs.c.committed_us, epochs.c.record)
        .where(*db.where(epochs), epochs.c.epoch >= start, epochs.c.epoch < stop)
        .order_by(epochs.c.epoch)
    )
    return [
        (row.epoch, row.committed_us, row.record)
        for row in db.database.read(lambda c: c.execute(statement).all(), flow=flow)
    ]


def _write(file: Path, rows: list[tuple[int, int, str]], flow: str) -> None:
    """Write the flat columns of `epoch_frame`, for people and their tools, and the exact record as JSON beside them."""
    frame = epoch_frame([load_record(text, committed_us) for _, committed_us, text in rows])
    frame = frame.with_columns(pl.Series("record", [text for _, _, text in rows], dtype=pl.String))
    try:
        write_file(file, lambda opened: frame.write_parquet(opened, compression="zstd", row_group_size=ROW_GROUP))
    except OSError as problem:
        left = "the epochs are in the ledger's table as before"
        raise disk_failure(problem, file, left=left, flow=flow) from problem


def _register(db: FlowDatabase, flow: str, first: int, last: int, file: str, undos: int) -> bool:
    """Let the file take the place of its rows. False where another process has rolled up or forgotten meanwhile.

    Also while an undo is under way, and where one has ended since the rows were read: they are not the facts any more.
    """
    head, rollups = db.tables.head, db.tables.rollups

    def work(connection: sa.Connection) -> bool:
        now = locked_head(connection, db)
        if now is None or now["last_epoch"] <= last or now["rewrite"] is not None or now["undos"] != undos:
            return False
        if now["rolled_epoch"] != first - 1:
            mine = sa.select(rollups.c.file).where(*db.where(rollups), rollups.c.first == first, rollups.c.last == last)
            return connection.execute(mine).scalar() == file  # the answer to this very call was lost
        db.insert(connection, rollups, first=first, last=last, file=file)
        connection.execute(sa.update(head).where(*db.where(head)).values(rolled_epoch=last))
        return True

    return db.database.write(work, flow=flow, left="the epochs are in the ledger's table as before")


def _delete_rows(db: FlowDatabase, flow: str, upto: int) -> None:
    """Delete the rows of epochs <= `upto`, which nobody reads any more, in short transactions."""
    epochs = db.tables.epochs
    lowest = sa.select(sa.func.min(epochs.c.epoch)).where(*db.where(epochs))
    while True:
        start = db.database.read(lambda c: c.execute(lowest).scalar(), flow=flow)
        if start is None or start > upto:
            return
        stop = min(start + DELETE_ROWS, upto + 1)
        if not db.database.write(partial(_delete_before, db=db, stop=stop), flow=flow):
            return


def _delete_before(connection: sa.Connection, *, db: FlowDatabase, stop: int) -> bool:
    """Delete the rows of epochs < `stop`. False, and none is, where some of them are read in the table again."""
    now, epochs = locked_head(connection, db), db.tables.epochs
    if now is None or stop > now["rolled_epoch"] + 1:
        return False
    connection.execute(sa.delete(epochs).where(*db.where(epochs), epochs.c.epoch < stop))
    return True


def _remove_orphans(db: FlowDatabase, folder: Path, flow: str) -> None:
    """Remove what killed calls left: files that were never registered and whose epochs are in others by now."""
    rollups = db.tables.rollups
    rolled, _, _ = _ends(db, flow)
    statement = sa.select(rollups.c.file).where(*db.where(rollups))
    registered = set(db.database.read(lambda c: c.execute(statement).scalars().all(), flow=flow))
    for file in folder.glob(f"epochs-*.parquet*{TEMPORARY}"):
        with suppress(OSError):
            file.unlink()
    for file in folder.glob("epochs-*.parquet"):
        named = NAME.fullmatch(file.name)
        if named and int(named[2]) <= rolled and file.name not in registered:
            with suppress(OSError):
                file.unlink()


def read_rolled(file: Path, first: int, last: int) -> list[tuple[int, int, str]]:
    """Epoch, time of commit and record of the epochs first..last in a file. Raises LedgerError."""
    try:
        frame = (
            pl.scan_parquet(file, glob=False)
            .filter(pl.col("epoch").is_between(first, last))
            .select("epoch", pl.col("committed_at").dt.epoch("us"), "record")
            .collect()
        )
    except (OSError, pl.exceptions.PolarsError) as problem:
        raise permanent(
            LedgerError(
                f"{file}: rolled up epochs can't be read ({str(problem).splitlines()[0]})",
                state_left=f"the epochs after this file can be read; those of {file.name} need it",
                hint="restore the file from a copy",
            )
        ) from problem
    return frame.rows()
