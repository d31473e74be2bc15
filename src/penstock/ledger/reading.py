"""Reading facts back: epochs from the table and from the Parquet files of rolled up ones, state files, dead letters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from penstock.errors import LedgerError
from penstock.ledger.contract import DeadLetter, EpochRecord, Resume, SegmentRef
from penstock.ledger.databases import Databases, FlowDatabase
from penstock.ledger.failures import permanent
from penstock.ledger.formats.records import load_plan, load_record, load_rewrite
from penstock.ledger.rollup import read_rolled

__all__ = ["FoundEpochs", "load_dead_letter", "read_epochs", "read_resume", "read_segments", "state_epoch_of"]


@dataclass(frozen=True, slots=True)
class FoundEpochs:
    """What one moment of the database says: rows of the table, and the files that hold the epochs before them."""

    where: str
    rows: Sequence[tuple[int, int, str]]
    """Epoch, time of its commit, record; in the order of epochs."""
    files: Sequence[Path]
    first: int
    last: int
    limit: int | None
    newest: bool

    def records(self) -> list[EpochRecord]:
        """Read the files, as far as they are needed, and decode. Raises LedgerError where a file is missing or damaged.

        A file is never changed once it is registered, so the transaction is over by now.
        """
        rows = list(self.rows)
        missing = None if self.limit is None else self.limit - len(rows)
        if self.newest:
            for file in reversed(self.files):
                if missing is not None and missing <= 0:
                    break
                older = read_rolled(file, self.first, self.last)
                kept = older if missing is None else older[-missing:]
                rows[:0] = kept
                missing = None if missing is None else missing - len(kept)
        else:
            older = []
            for file in self.files:
                if self.limit is not None and len(older) >= self.limit:
                    break
                older += read_rolled(file, self.first, self.last)
            rows = (older + rows)[: self.limit]
        return [self._decode(*row) for row in rows]

    def _decode(self, epoch: int, committed_us: int, text: str) -> EpochRecord:
        try:
            return load_record(text, committed_us)
        except (ValueError, KeyError, TypeError) as problem:
            raise permanent(
                LedgerError(
                    f"{self.where}: the record of the epoch is damaged ({problem})",
                    epoch=epoch,
                    state_left="nothing was changed; the other epochs can be read",
                    hint="move the file away and restore a copy",
                )
            ) from problem


def read_epochs(
    connection: sa.Connection,
    db: FlowDatabase,
    databases: Databases,
    flow: str,
    *,
    first: int = 0,
    last: int | None = None,
    limit: int | None = None,
    newest: bool = False,
) -> FoundEpochs:
    """Find the epochs first..last (both inclusive) in the transaction of `connection`; at most `limit` of them."""
    head, epochs, rollups = db.tables.head, db.tables.epochs, db.tables.rollups
    upto = 2**62 if last is None else last
    rolled = connection.execute(sa.select(head.c.rolled_epoch).where(*db.where(head))).scalar() or 0
    chosen = (
        sa.select(epochs.c.epoch, epochs.c.committed_us, epochs.c.record)
        .where(*db.where(epochs), epochs.c.epoch.between(max(first, rolled + 1), upto))
        .order_by(epochs.c.epoch.desc() if newest else epochs.c.epoch)
        .limit(limit)
    )
    rows = [(row.epoch, row.committed_us, row.record) for row in connection.execute(chosen)]
    files: list[Path] = []
    if first <= rolled:
        registered = (
            sa.select(rollups.c.file)
            .where(*db.where(rollups), rollups.c.last >= first, rollups.c.first <= upto)
            .order_by(rollups.c.last)
        )
        files = [databases.folder_of(flow) / name for name in connection.execute(registered).scalars()]
    return FoundEpochs(db.database.where, rows[::-1] if newest else rows, files, first, upto, limit, newest)


def read_segments(connection: sa.Connection, db: FlowDatabase) -> tuple[SegmentRef, ...]:
    """The live state files, oldest first."""
    table = db.tables.segments
    rows = connection.execute(sa.select(table).where(*db.where(table)).order_by(table.c.last)).mappings()
    return tuple(SegmentRef(row["first"], row["last"], row["file"], row["size_bytes"], row["crc32"]) for row in rows)


def state_epoch_of(head: sa.RowMapping) -> int:
    """After which epoch the live state files hold the state.

    An older Penstock that still runs after a migration moves `state_epoch` on, and knows nothing of `state_upto`.
    """
    return int(max(head["state_upto"], head["state_epoch"]))


def read_resume(
    connection: sa.Connection, db: FlowDatabase, databases: Databases, flow: str, head: sa.RowMapping
) -> Resume:
    """Where the flow of `head` stands, for the process that leads it from now on."""
    last = read_epochs(connection, db, databases, flow, limit=1, newest=True).records()
    return Resume(
        head["generation"],
        last[-1] if last else None,
        load_plan(head["planned"]) if head["planned"] else None,
        read_segments(connection, db),
        state_epoch_of(head),
        load_rewrite(head["rewrite"]) if head["rewrite"] else None,
        head["undos"],
    )


def load_dead_letter(row: sa.RowMapping) -> DeadLetter:
    """A dead letter from its row."""
    values: dict[str, Any] = {
        name: row[name]
        for name in ("epoch", "step", "error", "message", "signature", "payload", "version", "id", "status")
    }
    return DeadLetter(**values, offset=json.loads(row["offset"]), detail=json.loads(row["detail"]))
