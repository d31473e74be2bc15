"""The ledger in SQL: SQLite files in a folder, or PostgreSQL, behind the one contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from penstock.clock import Clock
from penstock.errors import ConfigError, LedgerError
from penstock.ledger.claims import claim_head, facts_of, forget, register
from penstock.ledger.contract import DeadLetter, EpochPlan, EpochRecord, FlowFacts, Ledger, Resume, SegmentRef
from penstock.ledger.databases import NAME, Databases, FlowDatabase, FolderDatabases, PostgresDatabases
from penstock.ledger.failures import permanent
from penstock.ledger.fence import check_generation, resolve_commit, resolve_plan
from penstock.ledger.formats.records import clean_text, dump_json, dump_plan, dump_record, load_plan
from penstock.ledger.reading import load_dead_letter, read_epochs, read_segments
from penstock.ledger.rollup import roll_up
from penstock.ledger.tables import NO_SEGMENT

__all__ = ["SqlLedger", "open_ledger"]

LOCK_TIMEOUT_MS = 5_000


def open_ledger(
    url_or_folder: str | Path,
    *,
    env: str,
    clock: Clock,
    folder: Path | None = None,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
) -> Ledger:
    """Open the ledger of an environment, and create or migrate it where needed.

    A folder: SQLite files in it. `postgresql://...`: tables in that database; `folder` then says where rolled up epochs
    go. `lock_timeout_ms`: how long a transaction waits for another process's. Raises ConfigError, LedgerError.
    """
    if not NAME.fullmatch(env):
        raise ConfigError(
            f"{env!r:.120} can't be the name of an environment: it takes letters, digits, '_', '-' and '.'",
            hint="rename it in penstock.toml",
        )
    text = str(url_or_folder)
    if text.startswith(("postgresql:", "postgresql+psycopg:", "postgres:")):
        url = "postgresql:" + text.split(":", 1)[1]
        return SqlLedger(
            PostgresDatabases(url, env=env, clock=clock, folder=folder, lock_timeout_ms=lock_timeout_ms), clock
        )
    if "://" in text:
        raise ConfigError(
            f"a ledger can't be in {text.split(':', 1)[0]!r}", hint="name a folder, or a postgresql:// address"
        )
    return SqlLedger(FolderDatabases(Path(url_or_folder), env=env, clock=clock, lock_timeout_ms=lock_timeout_ms), clock)


class SqlLedger(Ledger):
    """Facts in SQL tables. Safe to use from several threads; every transaction takes a connection of its own."""

    def __init__(self, databases: Databases, clock: Clock) -> None:
        self._databases = databases
        self._clock = clock

    def claim(self, flow: str, *, version: str, holder: str) -> Resume:
        """Become the newest generation of `flow`, and learn where it stands.

        The generation is one more than the highest that either the flow's file or the control tables ever saw: sinks
        remember generations too, so a lost file must not make them begin again.
        """
        db = self._databases.create(flow)
        known = register(self._databases, flow)

        def work(connection: sa.Connection) -> Resume:
            head = claim_head(connection, db, at_least=known + 1, version=version, holder=holder)
            last = read_epochs(connection, db, self._databases, flow, limit=1, newest=True).records()
            planned = load_plan(head["planned"]) if head["planned"] else None
            return Resume(head["generation"], last[-1] if last else None, planned, read_segments(connection, db))

        resume = db.database.write(work, flow=flow, left="the flow was not claimed; an older generation may go on")
        now_us = self._clock.now_us()
        register(self._databases, flow, generation=resume.generation, version=version, holder=holder, now_us=now_us)
        return resume

    def plan(self, flow: str, generation: int, plan: EpochPlan) -> None:
        """Make the plan of the next epoch durable; the same plan again is accepted. Raises Fenced, LedgerError."""
        db = self._claimed(flow)
        text = dump_plan(plan)
        values = {**db.scope, "generation": generation, "before": plan.epoch - 1, "next": text}

        def work(connection: sa.Connection) -> None:
            if connection.exec_driver_sql(db.hot.plan, values).rowcount != 1:
                resolve_plan(connection, db, flow, generation=generation, plan=plan, text=text)

        left = f"epoch {plan.epoch - 1} is committed; epoch {plan.epoch} is not planned"
        db.database.write(work, flow=flow, epoch=plan.epoch, left=left)

    def commit(
        self,
        flow: str,
        record: EpochRecord,
        *,
        next_plan: EpochPlan | None = None,
        dead: Sequence[DeadLetter] = (),
    ) -> None:
        """Make an epoch a fact, in one transaction with all that belongs to it. Raises Fenced, LedgerError.

        The same record again is accepted as done: the answer to the first call may have been lost. Trap: only the last
        committed epoch is recognised so.
        """
        db = self._claimed(flow)
        values = self._commit_values(flow, record, next_plan, len(dead))
        segment = record.segment
        letters = [_letter_values(letter, record) for letter in dead]

        def work(connection: sa.Connection) -> None:
            parameters = {**db.scope, **values}
            advanced = connection.exec_driver_sql(db.hot.advance, parameters).rowcount == 1
            if not advanced and not resolve_commit(connection, db, flow, record, parameters):
                return
            connection.exec_driver_sql(db.hot.insert_epoch, parameters)
            if segment is not None:
                if segment.first == 0:  # a whole state takes the place of all before it
                    connection.execute(sa.delete(db.tables.segments).where(*db.where(db.tables.segments)))
                connection.exec_driver_sql(db.hot.insert_segment, {**db.scope, **asdict(segment)})
            if letters:
                connection.exec_driver_sql(db.hot.insert_dead, [{**db.scope, **letter} for letter in letters])

        left = f"epoch {record.epoch} is planned and will run again with the same ranges"
        db.database.write(work, flow=flow, epoch=record.epoch, left=left)

    def _commit_values(self, flow: str, record: EpochRecord, next_plan: EpochPlan | None, dead: int) -> dict[str, Any]:
        """The parameters of a commit's statements; raises LedgerError where the record contradicts itself."""
        segment = record.segment
        wrong = None
        if record.plan.epoch != record.epoch:
            wrong = f"carries the plan of epoch {record.plan.epoch}"
        elif next_plan is not None and next_plan.epoch != record.epoch + 1:
            wrong = f"brings a plan of epoch {next_plan.epoch} as the next"
        elif segment is not None and (segment.last != record.epoch or not 0 <= segment.first <= segment.last):
            wrong = f"brings a state file of the epochs {segment.first}..{segment.last}"
        if wrong:
            raise permanent(LedgerError(f"the record {wrong}", flow=flow, epoch=record.epoch))
        state_after = NO_SEGMENT
        if segment is not None:
            state_after = segment.first or segment.last
        return {
            "generation": record.generation,
            "before": record.epoch - 1,
            "epoch": record.epoch,
            "version": record.version,
            "committed_us": record.committed_us or self._clock.now_us(),
            "record": dump_record(record),
            "done": dump_plan(record.plan),
            "next": None if next_plan is None else dump_plan(next_plan),
            "state_after": state_after,
            "state_epoch": None if segment is None else segment.last,
            "dead": dead,
        }

    def replace_segments(self, flow: str, generation: int, old: Sequence[SegmentRef], new: SegmentRef | None) -> None:
        """Put one merged segment in the place of several neighbours. Raises Fenced, LedgerError.

        Done already is accepted. `new` covers exactly what `old` covered; where `old` begins with the oldest segment,
        it may be a whole state (`first == 0`). None drops them.
        """
        db = self._claimed(flow)
        table = db.tables.segments

        def work(connection: sa.Connection) -> None:
            check_generation(connection, db, flow, generation)
            live = list(read_segments(connection, db))
            if new is not None and new in live and not any(segment in live for segment in old):
                return
            problem = _misfit(live, list(old), new)
            if problem:
                raise permanent(LedgerError(f"segments can't be replaced: {problem}", flow=flow))
            gone = [segment.last for segment in old]
            connection.execute(sa.delete(table).where(*db.where(table), table.c.last.in_(gone)))
            if new is not None:
                connection.exec_driver_sql(db.hot.insert_segment, {**db.scope, **asdict(new)})

        db.database.write(work, flow=flow, left="the state files are those of before; the merged one will be pruned")

    def segments(self, flow: str) -> Sequence[SegmentRef]:
        """The state files of a flow, in the order of their epochs."""
        db = self._databases.flow(flow)
        return () if db is None else db.database.read(lambda c: read_segments(c, db), flow=flow)

    def epochs(
        self, flow: str, *, first: int = 0, last: int | None = None, limit: int | None = None, newest: bool = False
    ) -> Sequence[EpochRecord]:
        """Records in the order of their epochs, rolled up ones too; with `newest`, the last `limit` of them."""
        db = self._databases.flow(flow)
        if db is None:
            return []
        found = db.database.read(
            lambda c: read_epochs(c, db, self._databases, flow, first=first, last=last, limit=limit, newest=newest),
            flow=flow,
        )
        return found.records()

    def dead_letters(self, flow: str, *, first: int = 0, limit: int = 1000) -> Sequence[DeadLetter]:
        """Dead letters whose id is at least `first`, in the order in which they fell. Next page: the last id + 1."""
        db = self._databases.flow(flow)
        if db is None:
            return []
        table = db.tables.dead_letters
        page = sa.select(table).where(*db.where(table), table.c.id >= first).order_by(table.c.id).limit(limit)
        rows = db.database.read(lambda c: c.execute(page).mappings().all(), flow=flow)
        return [load_dead_letter(row) for row in rows]

    def count_dead_letters(self, flow: str) -> int:
        """How many there are; kept with every commit, so that asking costs one row."""
        db = self._databases.flow(flow)
        if db is None:
            return 0
        head = db.tables.head
        total = sa.select(head.c.dead_total).where(*db.where(head))
        return db.database.read(lambda c: c.execute(total).scalar(), flow=flow) or 0

    def flows(self) -> Sequence[FlowFacts]:
        """All flows that ever ran in this environment, by name."""
        return facts_of(self._databases)

    def forget_flow(self, flow: str) -> None:
        """Drop every fact of a flow but its generation; its state files become garbage (`StateStore.prune`)."""
        db = self._databases.flow(flow)
        if db is not None:
            forget(self._databases, db, flow)

    def roll_up(self, flow: str, before_epoch: int) -> int:
        """Move the records of epochs < `before_epoch` to Parquet; gives how many. The last committed one always stays.

        May run beside the flow: it holds its lock for a few milliseconds at a time. Killed anywhere, nothing is lost
        and nothing is read twice; the next call finishes the work.
        """
        db = self._databases.flow(flow)
        return 0 if db is None else roll_up(db, self._databases.folder_of(flow), flow, before_epoch)

    def close(self) -> None:
        """Give back connections."""
        self._databases.close()

    def _claimed(self, flow: str) -> FlowDatabase:
        db = self._databases.flow(flow)
        if db is None:
            raise permanent(LedgerError("nobody has claimed the flow", flow=flow, hint="claim the flow first"))
        return db


def _letter_values(letter: DeadLetter, record: EpochRecord) -> dict[str, Any]:
    return {
        "epoch": letter.epoch,
        "step": letter.step,
        "error": clean_text(letter.error),
        "message": clean_text(letter.message),
        "signature": clean_text(letter.signature),
        "payload": clean_text(letter.payload),
        "offset": dump_json(letter.offset, what=f"the offset of a dead letter of step {letter.step}"),
        "version": letter.version or record.version,
    }


def _misfit(live: list[SegmentRef], old: list[SegmentRef], new: SegmentRef | None) -> str | None:
    """What is wrong with putting `new` in the place of `old` among `live`; None where nothing is."""
    if not old or old[0] not in live:
        return "the ledger does not have the first of them"
    start = live.index(old[0])
    if live[start : start + len(old)] != old:
        return "they are not neighbours in the ledger"
    if new is None:
        return None
    begins = new.first == old[0].first or (new.first == 0 and start == 0)
    if not begins or new.last != old[-1].last:
        return f"the new one covers {new.first}..{new.last}, the old ones {old[0].first}..{old[-1].last}"
    return None
