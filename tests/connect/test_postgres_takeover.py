"""PostgreSQL as a sink that is taken over: what may happen between preparing and opening, and in a replacement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from penstock.clock import ManualClock
from penstock.connect import Change, Context
from penstock.connect.postgres import PostgresSink
from penstock.errors import ConnectorError, Fenced
from penstock.flow import Dataset

ROWS = pl.Schema({"id": pl.Int64, "word": pl.String})


class Target:
    """A database with a table `target` for keyed rows, its sinks, and a connection to look at it."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn = dsn
        self.folder = folder
        self.sinks: list[PostgresSink] = []

    def make(self, schema: pl.Schema = ROWS, flow: str = "flow", key: tuple[str, ...] = ("id",)) -> PostgresSink:
        """A sink on the table, not opened."""
        context = Context(flow, "write", self.folder, self.folder, ManualClock(), schema, key)
        dataset = Dataset("postgres", "target", None, key, {"dsn": self.dsn, "table": "target"})
        self.sinks.append(PostgresSink(dataset, context))
        return self.sinks[-1]

    def opened(self, generation: int, **given: Any) -> PostgresSink:
        """A sink on the table, opened."""
        sink = self.make(**given)
        sink.open(generation)
        return sink

    def prepared(self, **given: Any) -> PostgresSink:
        """A sink on the table, prepared."""
        sink = self.make(**given)
        sink.prepare()
        return sink

    def do(self, query: str) -> list[tuple[Any, ...]]:
        """Run a statement, give its rows."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def target(postgres_dsn: str, tmp_path: Path) -> Iterator[Target]:
    """An empty database."""
    made = Target(postgres_dsn, tmp_path)
    yield made
    for sink in made.sinks:
        sink.close()


def rows(*given: tuple[int | None, str | None]) -> Change:
    """An epoch of rows."""
    return Change(pl.DataFrame(list(given), schema=ROWS, orient="row"))


def test_preparing_creates_nothing(target: Target) -> None:
    """Where there is no table there is none afterwards, nor anything beside it."""
    target.prepared()
    assert target.do("select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace") == []


def test_opening_a_prepared_target_is_one_statement(target: Target) -> None:
    """No look at the catalog, no lock on anything but the target's own row: only that row is written."""
    target.opened(1).write(1, 1, rows((1, "a")))
    sink = target.prepared()
    # Who holds the lock that creating takes would hold up a sink that looks at everything again.
    with psycopg.connect(target.dsn) as other:
        other.execute("select pg_advisory_xact_lock(7362514908)")
        sink.open(2)
    sink.write(2, 2, rows((1, "b")))
    assert target.do("select * from target") == [(1, "b", 2)]


def test_a_connection_that_ended_meanwhile(target: Target) -> None:
    """A server or a network that ends idle connections costs a new connection and nothing else."""
    target.opened(1).write(1, 1, rows((1, "a")))
    sink = target.prepared()
    target.do("select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'penstock'")
    sink.open(2)
    sink.write(2, 2, rows((1, "b")))
    sink.retract(2, 2)
    assert target.do("select id, word from target") == [(1, "a")]


def test_a_table_that_was_dropped_meanwhile(target: Target) -> None:
    """It is made anew, as by a sink that was not prepared."""
    target.opened(1).write(1, 1, rows((1, "a")))
    sink = target.prepared()
    target.do("drop table target, penstock_before_target")
    sink.open(2)
    assert sink.last_epoch() is None
    sink.write(1, 2, rows((1, "b")))
    assert target.do("select * from target") == [(1, "b", 1)]


def test_a_ledger_table_that_was_dropped_meanwhile(target: Target) -> None:
    """`penstock_epochs` is made anew too."""
    target.opened(1)
    sink = target.prepared()
    target.do("drop table penstock_epochs")
    sink.open(2)
    sink.write(1, 2, rows((1, "b")))
    assert target.do("select epoch, generation from penstock_epochs") == [(1, 2)]


def test_a_column_that_was_added_meanwhile(target: Target) -> None:
    """Its values come back with the rows that are taken back."""
    target.opened(1).write(1, 1, rows((1, "a")))
    sink = target.prepared()
    target.do("alter table target add column note text default 'kept'")
    sink.open(2)
    sink.write(2, 2, rows((1, "b")))
    target.do("update target set note = 'changed'")
    sink.retract(2, 2)
    assert target.do("select id, word, note from target") == [(1, "a", "kept")]


def test_a_column_that_before_images_lack(target: Target) -> None:
    """Preparing sees that the table has got a column since it was opened; opening then looks at everything."""
    target.opened(1).write(1, 1, rows((1, "a")))
    target.do("alter table target add column note text default 'kept'")
    sink = target.prepared()
    sink.open(2)
    sink.write(2, 2, rows((1, "b")))
    sink.retract(2, 2)
    assert target.do("select id, word, note from target") == [(1, "a", "kept")]


def test_a_table_that_does_not_fit_is_told_ahead(target: Target) -> None:
    """The error of `open` comes before anything stops, and does not heal."""
    target.opened(1).write(1, 1, rows((1, "a")))
    with pytest.raises(ConnectorError, match="has no column 'price'") as caught:
        target.prepared(schema=pl.Schema([*ROWS.items(), ("price", pl.Float64())]))
    assert not caught.value.heals


def test_a_table_of_another_flow_is_refused_when_prepared(target: Target) -> None:
    """The quick way in checks whose table it is, too."""
    target.opened(1).write(1, 1, rows((1, "a")))
    with pytest.raises(ConnectorError, match="written by flow 'flow'"):
        target.prepared(flow="other").open(2)


def test_a_takeover_does_not_wait_for_a_frozen_writer(target: Target) -> None:
    """A process that was stopped in the middle of a transaction loses its session; when it wakes up it is fenced."""
    frozen = target.opened(1)
    frozen.write(1, 1, rows((1, "a")))
    sink = target.prepared()
    frozen._session._connected().execute("begin; select * from penstock_epochs for update")
    sink.open(2)
    sink.write(2, 2, rows((2, "b")))
    with pytest.raises(Fenced):
        frozen.write(2, 1, rows((2, "zombie")))
    assert target.do("select id, word from target order by id") == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("key", [(), ("id",)])
def test_a_connection_that_ends_in_a_replacement(target: Target, key: tuple[str, ...]) -> None:
    """The changes that were taken are not begun in their middle: nothing is changed, and it heals by another call."""
    sink = target.opened(1, key=key)
    sink.write(1, 1, rows((1, "a")))
    sink.write(2, 1, rows((2, "bad")))
    ends = [True]

    def changes() -> Iterator[tuple[int, Change]]:
        yield 2, rows((2, "good"))
        if ends:
            ends.clear()
            target.do("select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name ~ '^pens'")
        yield 3, rows((3, "good"))

    with pytest.raises(ConnectorError) as caught:
        sink.replace(2, 1, changes())
    assert caught.value.heals
    assert target.do("select id, word from target order by id") == [(1, "a"), (2, "bad")]
    sink.replace(2, 1, changes())
    assert target.do("select id, word from target order by id") == [(1, "a"), (2, "good"), (3, "good")]


def test_many_epochs_are_replaced_in_one_transaction(target: Target) -> None:
    """The rows of all epochs were written by one transaction, each with its own epoch and before-images."""
    sink = target.opened(1)
    sink.write(1, 1, rows((0, "first")))
    sink.replace(2, 1, ((epoch, rows((epoch % 7, str(epoch)))) for epoch in range(2, 202)))
    assert target.do("select count(distinct xmin::text) from target where _epoch > 1") == [(1,)]
    assert target.do("select count(*), min(_by), max(_by) from penstock_before_target") == [(201, 1, 201)]
    sink.retract(100, 1)
    assert target.do("select max(_epoch), count(*) from target") == [(99, 7)]
