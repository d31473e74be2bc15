"""A PostgreSQL table, read by cursor and by its changes, under the source contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import psycopg

from penstock.connect import Offsets, Source
from penstock.flow import Dataset
from tests.contracts.sources import SourceCase, numbered


class CursorCase(SourceCase):
    """Rows in the order of their ids."""

    kind: ClassVar[str] = "postgres"
    name: ClassVar[str] = "postgres-cursor"
    needs: ClassVar[tuple[str, ...]] = ("postgres_dsn",)

    def set_up(self, fixtures: Mapping[str, Any]) -> None:
        """An empty table in a fresh database."""
        self.dsn = str(fixtures["postgres_dsn"])
        with psycopg.connect(self.dsn) as connection:
            connection.execute("create table events (id bigint primary key, word text)")

    def dataset(self) -> Dataset:
        """The table."""
        return Dataset("postgres", "events", None, (), {"dsn": self.dsn, "table": "events", "cursor": "id"})

    def fill(self, first: int, count: int) -> None:
        """Each row in a transaction of its own; the last commit brings all of them to the disk."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("set synchronous_commit = off")
            for row in numbered(first, count).rows():
                connection.execute("insert into events values (%s, %s)", row)
            connection.execute("set synchronous_commit = on")
            connection.execute("create table if not exists flushed ()")


class ChangesCase(CursorCase):
    """Inserts as the server's log tells them."""

    kind: ClassVar[str] = "postgres_changes"
    name: ClassVar[str] = "postgres-changes"
    count: ClassVar[int] = 100
    """Each look decodes the log from the slot's position on."""
    forgets: ClassVar[bool] = True

    def set_up(self, fixtures: Mapping[str, Any]) -> None:
        """A slot holds what is committed after it was made."""
        super().set_up(fixtures)
        source = self.make()
        source.initial()
        source.close()

    def lose(self, source: Source, end: Offsets) -> None:
        """As the source itself forgets."""
        source.forget(end)

    def dataset(self) -> Dataset:
        """The table's changes."""
        return Dataset("postgres_changes", "events", None, (), {"dsn": self.dsn, "table": "events"})
