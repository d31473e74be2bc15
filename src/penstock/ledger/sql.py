"""The ledger in SQL: SQLite files in a folder, or PostgreSQL, behind the one contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from penstock.clock import Clock, new_id
from penstock.errors import ConfigError, LedgerError
from penstock.ledger.claims import check_successor, claim_head, facts_of, forget, register
from penstock.ledger.contract import (
    DeadLetter,
    EpochPlan,
    EpochRecord,
    FlowFacts,
    Ledger,
    LetterCounts,
    Member,
    Resume,
    Rewrite,
    Savepoint,
    SegmentRef,
    Standing,
    Takeover,
)
from penstock.ledger.databases import NAME, Databases, FlowDatabase, FolderDatabases, PostgresDatabases
from penstock.ledger.failures import permanent
from penstock.ledger.fence import check_generation, resolve_commit, resolve_plan
from penstock.ledger.formats.records import clean_text, dump_json, dump_plan, dump_record
from penstock.ledger.handing_over import standing_of, take_over_head
from penstock.ledger.members import Members
from penstock.ledger.operations import Operations
from penstock.ledger.reading import load_dead_letter, read_epochs, read_resume, read_segments
from penstock.ledger.redrives import check_redrive, drop_letters, letters_redriven, request, waiting
from penstock.ledger.rewriting import finish, read_undone
from penstock.ledger.rollup import roll_up, unroll
from penstock.ledger.savepoints import drop, make_savepoint, read_savepoints
from penstock.ledger.sql_operations import SqlOperations
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
        self._members = Members(databases, clock)
        self._operations = SqlOperations(databases, clock)
        self._stood: dict[str, tuple[tuple[Any, ...], Standing]] = {}

    def claim(self, flow: str, *, version: str, holder: str, after: int | None = None) -> Resume:
        """Become the newest generation of `flow`, and learn where it stands.

        The generation is one more than the highest that either the flow's file or the control tables ever saw: sinks
        remember generations too, so a lost file must not make them begin again.
        """
        db = self._databases.create(flow)
        known = register(self._databases, flow)

        def work(connection: sa.Connection) -> Resume:
            if after is not None:
                check_successor(connection, db, flow, version=version, after=after)
            head = claim_head(connection, db, at_least=known + 1, version=version, holder=holder)
            return read_resume(connection, db, self._databases, flow, head)

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
            if plan.redrive:
                check_redrive(connection, db, flow, plan)

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
        letters = [_letter_values(letter, record.version) for letter in dead]

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
            if record.plan.redrive:
                letters_redriven(connection, db, record.plan)
            if next_plan is not None and next_plan.redrive:
                check_redrive(connection, db, flow, next_plan)

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

    def open_dead_letters(self, flow: str) -> LetterCounts:
        """What is open among them, counted by class of error; nothing is read where none ever fell."""
        db = self._databases.flow(flow)
        if db is None or not self.count_dead_letters(flow):
            return LetterCounts()
        table = db.tables.dead_letters
        counted = (
            sa.select(table.c.error, sa.func.count(), sa.func.min(table.c.epoch))
            .where(*db.where(table), table.c.status == "open")
            .group_by(table.c.error)
        )
        rows = db.database.read(lambda c: [tuple(row) for row in c.execute(counted)], flow=flow)
        return LetterCounts({row[0]: row[1] for row in rows}, min((row[2] for row in rows), default=None))

    def request_redrive(self, flow: str, letters: Sequence[tuple[int, str | None]]) -> int:
        """Ask for another try of open letters, all or none of them; gives how many are waiting now.

        Raises LedgerError for a letter that is not open, or that the plan of the next epoch has taken.
        """
        db, now_us, asked = self._claimed(flow), self._clock.now_us(), dict(letters)
        return db.database.write(
            lambda c: request(c, db, flow, asked, now_us), flow=flow, left="no letter was asked for"
        )

    def waiting_redrives(self, flow: str, *, limit: int = 10_000) -> Sequence[Mapping[str, Any]]:
        """What waits and is in no plan yet, in the order in which the letters fell, for `EpochPlan.redrive`."""
        db = self._databases.flow(flow)
        return [] if db is None else db.database.read(lambda c: waiting(c, db, limit), flow=flow)

    def drop_dead_letters(self, flow: str, letters: Sequence[int], detail: Mapping[str, Any]) -> int:
        """Give up open letters, but none that the plan of the next epoch has taken. Gives how many."""
        db, text = self._claimed(flow), dump_json(detail, what="why a dead letter was given up")
        return db.database.write(lambda c: drop_letters(c, db, letters, text), flow=flow, left="no letter was dropped")

    def flows(self) -> Sequence[FlowFacts]:
        """All flows that ever ran in this environment, by name."""
        return facts_of(self._databases)

    def standing(self, flow: str) -> Standing | None:
        """Where the flow stands; None where nobody ever claimed it. One read of one row."""
        db = self._databases.flow(flow)
        row = None if db is None else db.database.look(db.hot.standing, db.scope, flow=flow)
        if row is None:
            return None
        seen, standing = self._stood.get(flow, (None, None))
        if standing is None or seen != row:
            standing = standing_of(row)
            self._stood[flow] = (row, standing)
        return standing

    def take_over(self, flow: str, *, version: str, holder: str, takeover: Takeover) -> Resume:
        """Become the newest generation with a state of one's own. Raises FlowBusy, LedgerError.

        The same takeover again is accepted as done, as long as nothing was committed after it. Epochs that are to be
        written anew and are rolled up are brought back before, while the flow goes on.
        """
        db = self._claimed(flow)
        if takeover.rewrite is not None:
            unroll(db, lambda: self._databases.folder_of(flow), flow, takeover.rewrite.first)
        known = register(self._databases, flow)
        now_us = self._clock.now_us()
        savepoint = new_id()

        def work(connection: sa.Connection) -> Resume:
            head = take_over_head(
                connection,
                db,
                flow,
                at_least=known + 1,
                version=version,
                holder=holder,
                takeover=takeover,
                savepoint=savepoint,
                now_us=now_us,
            )
            return read_resume(connection, db, self._databases, flow, head)

        resume = db.database.write(work, flow=flow, left="the flow was not taken over; the one before leads it")
        register(self._databases, flow, generation=resume.generation, version=version, holder=holder, now_us=now_us)
        return resume

    def finish_rewrite(
        self,
        flow: str,
        generation: int,
        rewrite: Rewrite,
        records: Sequence[EpochRecord],
        segments: Sequence[SegmentRef],
        *,
        dead: Sequence[DeadLetter] = (),
    ) -> None:
        """Put `records` in the place of the epochs of a rewrite, in one transaction. Raises Fenced, LedgerError."""
        db, now_us = self._claimed(flow), self._clock.now_us()
        letters = [_letter_values(letter, rewrite.version) for letter in dead]

        def work(connection: sa.Connection) -> None:
            finish(
                connection,
                db,
                flow,
                generation=generation,
                rewrite=rewrite,
                records=records,
                segments=segments,
                letters=letters,
                now_us=now_us,
            )

        db.database.write(work, flow=flow, left="the undo is under way, and the old records are there")

    def undone_epochs(self, flow: str, *, rewrite: str | None = None) -> Sequence[tuple[Rewrite, EpochRecord]]:
        """The records that undos put aside, oldest undo first."""
        db = self._databases.flow(flow)
        return [] if db is None else db.database.read(lambda c: read_undone(c, db, rewrite), flow=flow)

    @property
    def operations(self) -> Operations:
        """What is wished of the environment's flows, and done with them."""
        return self._operations

    def savepoint(self, flow: str, *, why: str, pinned: bool = False, of: str | None = None) -> Savepoint:
        """Name the state as it is after the last committed epoch. Raises LedgerError where nothing was committed.

        While an interrupted takeover or an undo is under way, it is the state that the live files hold.
        """
        db = self._claimed(flow)
        savepoint, now_us = new_id(), self._clock.now_us()
        return db.database.write(
            lambda c: make_savepoint(c, db, flow, savepoint, now_us=now_us, why=why, pinned=pinned, of=of),
            flow=flow,
            left="there is no new savepoint",
        )

    def savepoints(self, flow: str) -> Sequence[Savepoint]:
        """All savepoints, by epoch, older ones of an epoch first."""
        db = self._databases.flow(flow)
        return [] if db is None else db.database.read(lambda c: read_savepoints(c, db), flow=flow)

    def drop_savepoints(self, flow: str, ids: Sequence[str]) -> None:
        """Let go of savepoints, but not of the one that an undo under way began from."""
        db = self._databases.flow(flow)
        if db is None or not ids:
            return
        db.database.write(lambda c: drop(c, db, ids), flow=flow, left="the savepoints are as they were")

    def join(self, member: Member) -> None:
        """Note a process of a flow. The same id again replaces what was noted."""
        self._members.join(member)

    def wish(self, flow: str, member: str, wish: Mapping[str, Any]) -> None:
        """Say what a process should be and do. Raises LedgerError where it never joined."""
        self._members.wish(flow, member, wish)

    def wish_of(self, flow: str, member: str) -> Mapping[str, Any]:
        """What is wished of a process, {} where it never joined."""
        return self._members.wish_of(flow, member)

    def tell(self, flow: str, member: str, facts: Mapping[str, Any]) -> None:
        """Say what a process is and does. A power cut may take the newest facts back; a killed process does not."""
        self._members.tell(flow, member, facts)

    def leave(self, flow: str, member: str, ended: str) -> None:
        """Note that a process has ended, and how."""
        self._members.leave(flow, member, ended)

    def members(self, flow: str | None = None, *, ended: bool = False) -> Sequence[Member]:
        """The processes that are believed to be there; with `ended`, the last hundred that are not, too."""
        return self._members.members(flow, ended=ended)

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


def _letter_values(letter: DeadLetter, version: str) -> dict[str, Any]:
    return {
        "epoch": letter.epoch,
        "step": letter.step,
        "error": clean_text(letter.error),
        "message": clean_text(letter.message),
        "signature": clean_text(letter.signature),
        "payload": clean_text(letter.payload),
        "offset": dump_json(letter.offset, what=f"the offset of a dead letter of step {letter.step}"),
        "version": letter.version or version,
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
