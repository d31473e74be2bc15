"""PostgreSQL as a sink, beyond the contract: tables of others, refused rows, servers that go away, frozen writers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from penstock.clock import ManualClock
from penstock.connect import Change, Context
from penstock.connect.postgres import PostgresSink
from penstock.errors import ConfigError, ConnectorError, Fenced
from penstock.flow import Dataset
from penstock.testing import servers

ROWS = pl.Schema({"id": pl.Int64, "word": pl.String})


class Target:
    """A database with a table `target`, its sinks, and a connection to look at it."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn = dsn
        self.folder = folder
        self.clock = ManualClock()
        self.sinks: list[PostgresSink] = []

    def sink(
        self,
        generation: int = 1,
        *,
        key: tuple[str, ...] = (),
        schema: pl.Schema = ROWS,
        flow: str = "flow",
        **options: Any,
    ) -> PostgresSink:
        """A sink on the table, opened."""
        context = Context(flow, "write", self.folder, self.folder, self.clock, schema, key)
        dataset = Dataset("postgres", "target", None, key, {"dsn": self.dsn, "table": "target", **options})
        made = PostgresSink(dataset, context)
        self.sinks.append(made)
        made.open(generation)
        return made

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


# --- tables that others made ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "key", "said", "hint"),
    [
        (
            "id bigint, word integer, _epoch bigint",
            (),
            r"column 'word' is integer, the flow writes text \(String\)",
            None,
        ),
        ("id integer, word text, _epoch bigint", (), r"column 'id' is integer, the flow writes bigint \(Int64\)", None),
        ("id bigint, _epoch bigint", (), "has no column 'word'", 'add column "word" text'),
        ("id bigint, word text", (), "has no column '_epoch'", 'add column "_epoch" bigint'),
        ("id bigint, word text, _epoch bigint", ("id",), r"no unique index on its key \(id\)", "create unique index"),
        ("id bigint, word text, _epoch bigint, unique (id, word)", ("id",), "no unique index", "create unique index"),
    ],
)
def test_a_table_that_does_not_fit(
    target: Target, columns: str, key: tuple[str, ...], said: str, hint: str | None
) -> None:
    """The error names the column and both types, or the statement that makes the table fit; nothing is created."""
    target.do(f"create table target ({columns})")
    with pytest.raises(ConnectorError, match=said) as caught:
        target.sink(key=key)
    assert hint is None or hint in str(caught.value.hint)
    assert target.do("select to_regclass('penstock_epochs')") == [(None,)]


def test_a_table_with_more_columns_is_restored_whole(target: Target) -> None:
    """Columns of which the flow knows nothing keep their values through an overwrite and a retraction."""
    target.do(
        "create table target (id bigint primary key, number int generated always as identity, "
        "word varchar(20) not null, note text default 'new', "
        "twice int generated always as (length(word) * 2) stored, _epoch bigint)"
    )
    target.do("insert into target (id, word, note) values (1, 'one', 'by hand'), (2, 'two', null)")
    before = target.do("select * from target order by id")
    sink = target.sink(key=("id",))
    sink.write(1, 1, Change(rows((1, "uno"), (3, "tre")).rows, pl.DataFrame({"id": [2]})))
    assert target.do("select id, word, note, twice from target order by id") == [
        (1, "uno", "by hand", 6),
        (3, "tre", "new", 6),
    ]
    sink.retract(1, 1)
    assert target.do("select * from target order by id") == before


def test_a_column_that_is_added_later_is_restored_too(target: Target) -> None:
    """Before-images get the columns that the table has got since they were made."""
    sink = target.sink(key=("id",))
    sink.write(1, 1, rows((1, "a")))
    sink.close()
    target.do("alter table target add column price numeric(10, 2) default 9.99")
    sink = target.sink(2, key=("id",), schema=pl.Schema({**ROWS, "price": pl.Decimal(10, 2)}))
    frame = pl.DataFrame({"id": [1], "word": ["b"], "price": ["5.00"]}).cast({"price": pl.Decimal(10, 2)})
    sink.write(2, 2, Change(frame))
    sink.retract(2, 2)
    assert target.do("select id, word, price::text from target") == [(1, "a", "9.99")]


def test_a_table_has_one_flow(target: Target) -> None:
    """A second flow can't write the table: its epochs would take away those of the first."""
    target.sink().write(1, 1, rows((1, "a")))
    with pytest.raises(ConnectorError, match="written by flow 'flow'"):
        target.sink(flow="other")


def test_a_dropped_table_starts_anew(target: Target) -> None:
    """Who drops the table gets an empty one, and the flow's epochs from any number on; the fence stays."""
    sink = target.sink(5, key=("id",))
    sink.write(7, 5, rows((1, "a")))
    sink.close()
    target.do("drop table target")
    with pytest.raises(Fenced):
        target.sink(4, key=("id",))
    sink = target.sink(5, key=("id",))
    assert sink.last_epoch() is None
    sink.write(1, 5, rows((1, "b")))
    assert target.do("select * from target") == [(1, "b", 1)]


def test_names_may_hold_anything(target: Target) -> None:
    """Schemas are made when missing; names with quotes, spaces, capitals and 63 bytes work, in keys too."""
    schema = pl.Schema({'a"b': pl.Int64, "Select %s": pl.String, "x" * 63: pl.Int64})
    sink = target.sink(key=('a"b', "Select %s"), schema=schema, table="Lake House." + "t" * 63)
    frame = pl.DataFrame({'a"b': [1], "Select %s": ["%"], "x" * 63: [2]})
    sink.write(1, 1, Change(frame))
    sink.write(2, 1, Change(frame.with_columns(pl.lit(3).alias("x" * 63))))
    sink.retract(2, 1)
    assert target.do(f'select * from "Lake House".{"t" * 63}') == [(1, "%", 2, 1)]


def test_a_name_that_postgres_would_cut_is_refused(target: Target) -> None:
    """A column of 64 bytes would silently become another one."""
    with pytest.raises(ConnectorError, match="63 bytes"):
        target.sink(schema=pl.Schema({"x" * 64: pl.Int64}))


def test_append_has_an_index_by_which_epochs_are_found(target: Target) -> None:
    """The table has an index on `_epoch`, and the rows say which epoch wrote them."""
    target.sink().write(3, 1, rows((1, "a")))
    ((definition,),) = target.do("select indexdef from pg_indexes where tablename = 'target'")
    assert "USING btree (_epoch)" in definition
    assert target.do("select _epoch from target") == [(3,)]


# --- rows that are refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("word varchar(3)", "too long.*column word"),
        ("word text check (word <> 'long')", "target_word_check"),
        ("word text unique", "already exists"),
        ("word uuid", "column word.*'?long"),
    ],
)
def test_a_refused_row_is_named(target: Target, column: str, said: str) -> None:
    """The error has what the server said of column, value or constraint; nothing of the epoch is there."""
    target.do(f"create table target (id bigint, {column}, _epoch bigint)")
    sink = target.sink()
    with pytest.raises(ConnectorError, match=said) as caught:
        sink.write(1, 1, rows((2, "long"), (3, "long")))
    assert not caught.value.heals
    assert target.do("select count(*) from target") == [(0,)]
    assert sink.last_epoch() is None


def test_times_finer_than_a_microsecond_are_refused(target: Target) -> None:
    """PostgreSQL would round them without a word."""
    schema = pl.Schema({"at": pl.Datetime("ns")})
    sink = target.sink(schema=schema)
    whole = pl.DataFrame({"at": [datetime(2026, 1, 1, 0, 0, 0, 5)]}, schema)  # noqa: DTZ001 - a column without a zone
    sink.write(1, 1, Change(whole))
    with pytest.raises(ConnectorError, match=r"column 'at'.*microseconds"):
        sink.write(2, 1, Change(whole.with_columns(pl.col("at") + pl.duration(nanoseconds=1))))
    assert target.do("select at::text from target") == [("2026-01-01 00:00:00.000005",)]


def test_an_older_epoch_is_refused(target: Target) -> None:
    """A ledger that was set back must not mix its epochs with those that the table holds already."""
    sink = target.sink()
    sink.write(5, 1, rows((1, "a")))
    with pytest.raises(ConnectorError, match="holds epoch 5"):
        sink.write(4, 1, rows((1, "b")))
    assert target.do("select id, word from target") == [(1, "a")]


# --- how long rows can come back --------------------------------------------------------------------------------------


def test_before_images_are_kept_for_a_number_of_epochs(target: Target) -> None:
    """Older ones are deleted now and then, and a retraction that needs them says so."""
    sink = target.sink(key=("id",), keep_epochs=10)
    for epoch in range(1, 202):
        sink.write(epoch, 1, rows((1, str(epoch))))
    assert target.do("select min(_by), max(_by) from penstock_before_target") == [(192, 201)]
    with pytest.raises(ConnectorError, match="before epoch 192"):
        sink.retract(191, 1)
    sink.retract(192, 1)
    assert target.do("select id, word from target") == [(1, "191")]


def test_before_images_are_kept_for_hours(target: Target) -> None:
    """By default a day; those of the last epoch stay however old they are."""
    sink = target.sink(key=("id",))
    for epoch in range(1, 101):
        sink.write(epoch, 1, rows((1, str(epoch))))
    target.clock.sleep(25 * 3600)
    sink.write(101, 1, rows((1, "101")))
    assert target.do("select min(_by), max(_by) from penstock_before_target") == [(101, 101)]
    sink.write(101, 1, rows((1, "again")))
    assert target.do("select word from target") == [("again",)]


@pytest.mark.parametrize("options", [{"keep_epochs": 0}, {"keep_epochs": "ten"}, {"keep_hours": -1}, {"table": "a.b."}])
def test_wrong_options(target: Target, options: dict[str, Any]) -> None:
    """A wrong option is said before anything connects."""
    with pytest.raises(ConfigError):
        target.sink(**options)


# --- servers and writers that go away ---------------------------------------------------------------------------------


def test_a_server_that_is_away_and_comes_back(tmp_path: Path) -> None:
    """While it is away a write fails and can be tried again; then the same sink goes on; nothing is lost or twice."""
    with servers.postgres() as server:
        target = Target(server.dsn, tmp_path)
        sink, keyed = target.sink(), target.sink(key=("id",), table="keyed")
        for each in (sink, keyed):
            each.write(1, 1, rows((1, "a")))
        server.crash()
        for each in (sink, keyed):
            with pytest.raises(ConnectorError) as caught:
                each.write(2, 1, rows((2, "b")))
            assert caught.value.heals
        server.start()
        for each in (sink, keyed):
            each.write(2, 1, rows((2, "b")))
            each.write(3, 1, rows((2, "c")))
        server.stop()
        server.start()
        for each in (sink, keyed):  # the connection is dead, the server is not: nobody has to know
            each.write(4, 1, rows((4, "d")))
        assert target.do("select id, word from target order by 1, 2") == [(1, "a"), (2, "b"), (2, "c"), (4, "d")]
        assert target.do("select id, word from keyed order by 1, 2") == [(1, "a"), (2, "c"), (4, "d")]
        for each in (sink, keyed):
            each.close()


def test_an_error_does_not_show_the_password(tmp_path: Path) -> None:
    """What goes to logs and pages has no secrets."""
    dsn = f"postgresql://me:very-secret@127.0.0.1:{servers.free_port()}/nowhere"
    target = Target(dsn, tmp_path)
    with pytest.raises(ConnectorError) as caught:
        target.sink()
    assert "very-secret" not in str(caught.value)


def test_a_commit_whose_answer_was_lost_is_written_once(target: Target) -> None:
    """The epoch is in the table, the writer does not know: it writes it again, and it is there once."""
    sink = target.sink(key=("id",))
    sink.write(1, 1, rows((1, "a")))
    target.do("create table killed (pid int)")
    # A deferred trigger on the target ends the session when it has committed all but told nobody: here, at commit.
    target.do(
        "create function stop() returns trigger language plpgsql as $$ begin "
        "perform pg_terminate_backend(pg_backend_pid()); return null; end $$"
    )
    target.do(
        "create constraint trigger stop after insert or update on target deferrable initially deferred "
        "for each row when (new.word = 'b') execute function stop()"
    )
    with pytest.raises(ConnectorError):
        sink.write(2, 1, rows((1, "b"), (2, "c")))
    target.do("drop trigger stop on target")
    sink.write(2, 1, rows((1, "b"), (2, "c")))
    assert target.do("select * from target order by id") == [(1, "b", 2), (2, "c", 2)]


def test_a_frozen_writer_holds_nobody_up(target: Target) -> None:
    """A writer that stopped in the middle of a transaction loses its session to a newer generation."""
    frozen = target.sink(1)
    frozen.write(1, 1, rows((1, "a")))
    connection = frozen._session._connected()
    connection.execute("begin; select * from penstock_epochs for update")
    new = target.sink(2)
    new.write(2, 2, rows((2, "b")))
    with pytest.raises(Fenced):
        frozen.write(2, 1, rows((2, "zombie")))
    assert target.do("select id, word from target order by id") == [(1, "a"), (2, "b")]
