"""Handing a flow over: one transaction that fences the old process and takes its place; and the end of an undo.

Everything about a flow that must change together is in the database of the flow, so a process that dies inside leaves
what was before, or what is after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from penstock.errors import FlowBusy, LedgerError
from penstock.ledger.contract import Rewrite, SegmentRef, Standing, Takeover
from penstock.ledger.databases import FlowDatabase
from penstock.ledger.failures import permanent
from penstock.ledger.fence import locked_head
from penstock.ledger.formats.records import dump_rewrite, load_plan, load_rewrite
from penstock.ledger.reading import read_segments, state_epoch_of
from penstock.ledger.savepoints import keep_state

__all__ = ["misplaced", "standing_of", "swap_segments", "take_over_head"]


def standing_of(row: Sequence[Any]) -> Standing:
    """Where a flow stands, from the row of `HotStatements.standing`."""
    generation, version, holder, last_epoch, planned, branch, undos, rewrite = row
    return Standing(
        generation,
        version,
        holder,
        last_epoch,
        load_plan(planned) if planned else None,
        branch,
        undos,
        load_rewrite(rewrite) if rewrite else None,
    )


def take_over_head(
    connection: sa.Connection,
    db: FlowDatabase,
    flow: str,
    *,
    at_least: int,
    version: str,
    holder: str,
    takeover: Takeover,
    savepoint: str,
    now_us: int,
) -> sa.RowMapping:
    """Raise the fence, and put the new state, or the rewrite, in its place; gives the head as it is now.

    Done already (an answer was lost) is accepted. `savepoint`: the id for the state that was live.
    """
    head = locked_head(connection, db)
    if head is None:
        raise _refused(flow, "nobody has claimed the flow, so there is nothing to take over", "start the flow first")
    alone = takeover.segments is None and takeover.rewrite is None
    other_line = alone and takeover.branch not in (None, head["branch"])
    if head["generation"] != takeover.expected or takeover.undos not in (None, head["undos"]) or other_line:
        if _is_repeated(connection, db, head, version=version, holder=holder, takeover=takeover):
            return head
        raise _changed(flow, head, takeover)
    wrong = _misfit(head, takeover)
    if wrong:
        raise _refused(flow, f"the flow can't be taken over: {wrong}", "let the new process catch up, then plan again")
    values: dict[str, Any] = {
        "generation": max(head["generation"] + 1, at_least),
        "version": version,
        "holder": holder,
    }
    if takeover.rewrite is not None:
        values["rewrite"] = dump_rewrite(_effective(flow, head, takeover.rewrite))
    elif takeover.segments is not None:
        if state_epoch_of(head) > 0:
            keep_state(connection, db, head, savepoint, now_us=now_us, why=f"handed over to {version}")
        swap_segments(connection, db, takeover.segments)
        values |= {
            "branch": head["branch"] + 1,
            "state_upto": takeover.state_epoch,
            "state_epoch": takeover.segments[-1].last if takeover.segments else 0,
            "state_version": version,
        }
    table = db.tables.head
    raised = sa.update(table).where(*db.where(table)).values(**values)
    return connection.execute(raised.returning(table)).mappings().one()


def _refused(flow: str, message: str, hint: str) -> LedgerError:
    left = "nothing was changed; the flow goes on as it is"
    return permanent(LedgerError(message, flow=flow, state_left=left, hint=hint))


def _changed(flow: str, head: sa.RowMapping, takeover: Takeover) -> LedgerError:
    """The error for a flow that is not the one that the takeover was planned for."""
    if head["generation"] < takeover.expected:
        return _refused(flow, f"generation {takeover.expected} was never claimed", "ask where the flow stands now")
    leads = f"version {head['version']} ({head['holder']}) leads as generation {head['generation']}"
    found = f"{leads}, the takeover was planned for generation {takeover.expected}"
    if head["generation"] == takeover.expected:
        what = "a takeover by" if takeover.undos in (None, head["undos"]) else "an undo of"
        found = f"{what} version {head['version']} ({head['holder']}) has ended since the takeover was planned"
    return permanent(
        FlowBusy(
            f"production has changed: {found}",
            flow=flow,
            state_left="nothing was changed; the flow goes on as it is",
            hint="look at what leads now, and plan again",
        )
    )


def _misfit(head: sa.RowMapping, takeover: Takeover) -> str | None:
    """What is wrong with the state that the takeover brings; None where nothing is."""
    last, epoch = head["last_epoch"], takeover.epoch
    if epoch > last:
        planned = load_plan(head["planned"]).epoch if head["planned"] else None
        if epoch != last + 1 or planned != epoch:
            return f"its state is of epoch {epoch}, the last committed is {last} and planned is {planned or 'none'}"
    if takeover.rewrite is not None:
        return None
    if takeover.segments is not None:
        if head["rewrite"]:
            return f"the undo {load_rewrite(head['rewrite']).id} is under way, and its end will change the state"
        if takeover.state_epoch > min(epoch, last):
            return f"its files are said to hold the state of epoch {takeover.state_epoch}, after {min(epoch, last)}"
        return misplaced(takeover.segments, takeover.state_epoch)
    return None


def _effective(flow: str, head: sa.RowMapping, rewrite: Rewrite) -> Rewrite:
    """The rewrite with the last epoch as it is at this moment; raises where it can't be done."""
    last, rolled = head["last_epoch"], head["rolled_epoch"]
    if not rolled < rewrite.first <= last + 1:
        is_rolled = rewrite.first <= rolled  # they were brought back a moment ago
        where = "rolled up at this very moment" if is_rolled else "not there yet"
        hint = "undo again" if is_rolled else f"undo to an epoch from 0 to {last}"
        raise _refused(flow, f"epochs from {rewrite.first} on can't be written anew: {rewrite.first} is {where}", hint)
    pending = load_rewrite(head["rewrite"]) if head["rewrite"] else None
    if pending is not None and pending.first < rewrite.first:
        raise _refused(
            flow,
            f"the undo {pending.id} is under way, and may have replaced epochs from {pending.first} on in some sinks",
            f"finish it, or undo to epoch {pending.first - 1} or an earlier one",
        )
    return replace(rewrite, upto=last)


def _is_repeated(
    connection: sa.Connection,
    db: FlowDatabase,
    head: sa.RowMapping,
    *,
    version: str,
    holder: str,
    takeover: Takeover,
) -> bool:
    """Whether exactly this takeover was made already, and nothing was committed since."""
    if (head["holder"], head["version"]) != (holder, version) or head["generation"] <= takeover.expected:
        return False
    epochs = db.tables.epochs
    last = sa.select(epochs.c.generation).where(*db.where(epochs), epochs.c.epoch == head["last_epoch"])
    if (connection.execute(last).scalar() or 0) >= head["generation"]:
        return False
    if takeover.rewrite is not None:
        return bool(head["rewrite"]) and load_rewrite(head["rewrite"]).id == takeover.rewrite.id
    return takeover.segments is None or tuple(takeover.segments) == read_segments(connection, db)


def misplaced(segments: Sequence[SegmentRef], upto: int) -> str | None:
    """What is wrong with `segments` as the whole state after an epoch; None where nothing is."""
    end = 0
    for number, segment in enumerate(segments):
        if not (number == 0 and segment.first == 0) and not end < segment.first <= segment.last:
            return f"the state file {segment.first}..{segment.last} does not come after epoch {end}"
        end = segment.last
    return f"a state file reaches to epoch {end}, the state to {upto}" if end > upto else None


def swap_segments(connection: sa.Connection, db: FlowDatabase, segments: Sequence[SegmentRef]) -> None:
    """Let these be the live state files, and no others."""
    connection.execute(sa.delete(db.tables.segments).where(*db.where(db.tables.segments)))
    if segments:
        rows = [{**db.scope, **asdict(segment)} for segment in segments]
        connection.exec_driver_sql(db.hot.insert_segment, rows)
