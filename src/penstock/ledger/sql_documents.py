"""Documents in the control tables, SQLite or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from penstock.clock import Clock
from penstock.ledger.databases import Databases, inserting
from penstock.ledger.documents import Document, Documents
from penstock.ledger.formats.records import clean_text, dump_json

__all__ = ["SqlDocuments"]

_KEY = ("env", "kind", "id")


class SqlDocuments(Documents):
    """The documents of an environment. Safe to use from several threads."""

    def __init__(self, databases: Databases, clock: Clock) -> None:
        self._control = databases.control
        self._table = databases.control_tables.documents
        self._env = databases.env
        self._clock = clock

    def keep(self, document: Document, *, over: int | None = None) -> int | None:
        """Keep a document; None where another one was kept since `over`."""
        table = self._table
        # Later than the one before, whatever the clock says: the time is what tells two apart.
        changed_us = max(document.changed_us or self._clock.now_us(), (over or 0) + 1)
        key = {"env": self._env, "kind": document.kind, "id": document.id}
        values: dict[str, Any] = {
            "body": dump_json(document.body, what=f"the document {document.kind} {document.id}"),
            "who": clean_text(document.who),
            "changed_us": changed_us,
        }

        def work(connection: sa.Connection) -> bool:
            new = inserting(connection, table).values(**key, **values)
            # In the statement itself: two servers' transactions may run at once.
            same = None if over is None else table.c.changed_us == over
            kept = (
                new.on_conflict_do_nothing(index_elements=_KEY)
                if over == 0
                else new.on_conflict_do_update(index_elements=_KEY, set_=values, where=same)
            )
            return connection.execute(kept.returning(table.c.id)).first() is not None

        done = self._control.write(work, left="the document is as it was")
        return changed_us if done else None

    def document(self, kind: str, id_: str) -> Document | None:
        """One document."""
        return next(iter(self._found(kind, self._table.c.id == id_)), None)

    def documents(self, kind: str) -> Sequence[Document]:
        """All documents of a kind, by their ids."""
        return self._found(kind)

    def drop(self, kind: str, id_: str) -> bool:
        """Forget a document; whether it was there."""
        table = self._table
        gone = sa.delete(table).where(table.c.env == self._env, table.c.kind == kind, table.c.id == id_)

        def work(connection: sa.Connection) -> bool:
            return connection.execute(gone.returning(table.c.id)).first() is not None

        return self._control.write(work, left="the document is as it was")

    def _found(self, kind: str, *where: sa.ColumnElement[bool]) -> list[Document]:
        table = self._table
        chosen = sa.select(table).where(table.c.env == self._env, table.c.kind == kind, *where).order_by(table.c.id)
        rows = self._control.read(lambda c: c.execute(chosen).mappings().all())
        return [
            Document(row["kind"], row["id"], json.loads(row["body"]), row["who"], row["changed_us"]) for row in rows
        ]
