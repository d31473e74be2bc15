"""The processes of flows: what is wished of each, what each tells of itself.

They are in the control tables, so telling never waits for a commit of the flow, nor the other way round. A wish is
looked at between two epochs, by one statement that was compiled once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from penstock.clock import Clock
from penstock.errors import LedgerError
from penstock.ledger.contract import Member
from penstock.ledger.databases import Databases, check_flow_name, inserting
from penstock.ledger.failures import permanent
from penstock.ledger.formats.records import clean_text, dump_json

__all__ = ["Members"]

ENDED_KEPT = 100
"""So many members that have ended stay readable, by flow."""


class Members:
    """The members of all flows of an environment."""

    def __init__(self, databases: Databases, clock: Clock) -> None:
        self._control = databases.control
        self._table = databases.control_tables.members
        self._env = databases.env
        self._clock = clock
        one = sa.select(self._table.c.wish).where(
            self._table.c.env == sa.bindparam("env"),
            self._table.c.flow == sa.bindparam("flow"),
            self._table.c.id == sa.bindparam("member"),
        )
        self._wish = str(one.compile(dialect=self._control.engine.dialect))
        self._last_wish: dict[tuple[str, str], tuple[str, Mapping[str, Any]]] = {}

    def join(self, member: Member) -> None:
        """Note a member; the same id again replaces what was noted."""
        check_flow_name(member.flow)
        key = {"env": self._env, "flow": member.flow, "id": member.id}
        values: dict[str, Any] = {
            "version": member.version,
            "pid": member.pid,
            "host": clean_text(member.host),
            "started": clean_text(member.started),
            "wish": dump_json(member.wish, what="a wish"),
            "facts": dump_json(member.facts, what="the facts of a process"),
            "joined_us": member.joined_us or self._clock.now_us(),
            "facts_us": member.facts_us,
            "ended_us": member.ended_us,
            "ended": clean_text(member.ended),
        }

        def work(connection: sa.Connection) -> None:
            new = inserting(connection, self._table).values(**key, **values)
            connection.execute(new.on_conflict_do_update(index_elements=list(key), set_=values))

        self._control.write(work, flow=member.flow, left="the process is not noted")

    def wish(self, flow: str, member: str, wish: Mapping[str, Any]) -> None:
        """Replace what is wished of a member. Raises LedgerError where it never joined."""
        values = {"wish": dump_json(wish, what="a wish")}
        self._change(flow, member, values, left="the last wish is as it was", lazily=False)

    def wish_of(self, flow: str, member: str) -> Mapping[str, Any]:
        """What is wished of a member, {} where it never joined. One read of one row."""
        row = self._control.look(self._wish, {"env": self._env, "flow": flow, "member": member}, flow=flow)
        if row is None:
            return {}
        text, wish = self._last_wish.get((flow, member), ("", {}))
        if text != row[0]:
            text, wish = row[0], json.loads(row[0])
            self._last_wish[flow, member] = (text, wish)
        return wish

    def tell(self, flow: str, member: str, facts: Mapping[str, Any]) -> None:
        """Replace the facts of a member; a power cut may take them back. Raises LedgerError where it never joined.

        One that was given up, and is there all the same, changes nothing: how it ended is part of its last facts.
        """
        table = self._table
        told: dict[str, Any] = {
            "facts": dump_json(facts, what="the facts of a process"),
            "facts_us": self._clock.now_us(),
        }
        values = {name: sa.case((table.c.ended_us.is_(None), new), else_=table.c[name]) for name, new in told.items()}
        self._change(flow, member, values, left="its last facts are as they were", lazily=True)

    def leave(self, flow: str, member: str, ended: str) -> None:
        """Note that a member has ended, and let go of those that ended long ago. Ended already: nothing changes."""
        table, mine = self._table, (self._table.c.env == self._env, self._table.c.flow == flow)
        over = {"ended_us": self._clock.now_us(), "ended": clean_text(ended)}
        note = sa.update(table).where(*mine, table.c.id == member, table.c.ended_us.is_(None)).values(**over)
        kept = (
            sa.select(table.c.id)
            .where(*mine, table.c.ended_us.is_not(None))
            .order_by(table.c.ended_us.desc(), table.c.joined_us.desc(), table.c.id)
            .limit(ENDED_KEPT)
        )
        forget = sa.delete(table).where(*mine, table.c.ended_us.is_not(None), table.c.id.not_in(kept))

        def work(connection: sa.Connection) -> None:
            connection.execute(note)
            connection.execute(forget)

        self._control.write(work, flow=flow, left="the process counts as one that is there")

    def members(self, flow: str | None, *, ended: bool) -> Sequence[Member]:
        """Those that are there, by the time they joined; with `ended`, after them the last hundred that are not."""
        table = self._table
        mine = [table.c.env == self._env, *([] if flow is None else [table.c.flow == flow])]
        there = sa.select(table).where(*mine, table.c.ended_us.is_(None)).order_by(table.c.joined_us, table.c.id)
        gone = (
            sa.select(table)
            .where(*mine, table.c.ended_us.is_not(None))
            .order_by(table.c.ended_us.desc(), table.c.joined_us.desc(), table.c.id)
            .limit(ENDED_KEPT if ended else 0)
        )
        rows = self._control.read(
            lambda c: [*c.execute(there).mappings(), *reversed(c.execute(gone).mappings().all())], flow=flow
        )
        return [_member_of(row) for row in rows]

    def _change(self, flow: str, member: str, values: Mapping[str, Any], *, left: str, lazily: bool) -> None:
        table = self._table
        change = (
            sa.update(table)
            .where(table.c.env == self._env, table.c.flow == flow, table.c.id == member)
            .values(**values)
        )
        found = self._control.write(lambda c: c.execute(change).rowcount, flow=flow, left=left, lazily=lazily)
        if found != 1:
            raise permanent(
                LedgerError(
                    f"no process {member!r} has joined the flow",
                    flow=flow,
                    state_left="nothing was written",
                    hint="join first",
                )
            )


def _member_of(row: sa.RowMapping) -> Member:
    values = {name: row[name] for name in row if name not in ("env", "wish", "facts")}
    return Member(**values, wish=json.loads(row["wish"]), facts=json.loads(row["facts"]))
