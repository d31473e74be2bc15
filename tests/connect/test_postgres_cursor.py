"""PostgreSQL as a source: ranges by a cursor column, late commits, ties, values, and a server that goes away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from penstock.clock import SystemClock, seeded
from penstock.connect import Backlog, Budget, Context, Offsets
from penstock.connect.postgres import PostgresSource
from penstock.errors import ConfigError, ConnectorError, SchemaError
from penstock.flow import Dataset
from penstock.testing import servers

ALL = Budget()


class Origin:
    """A database with a table `events`, sources on it, and connections that write to it."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn = dsn
        self.folder = folder
        self.sources: list[PostgresSource] = []
        self.writers: list[psycopg.Connection] = []

    def source(self, cursor: str = "id", schema: pl.Schema | None = None, **options: Any) -> PostgresSource:
        """A source on the table."""
        given = {"dsn": self.dsn, "table": "events", "cursor": cursor, **options}
        context = Context("flow", "read", self.folder, self.folder, SystemClock(), schema)
        self.sources.append(PostgresSource(Dataset("postgres", "events", options=given), context))
        return self.sources[-1]

    def writer(self) -> psycopg.Connection:
        """A connection whose transaction is open until `commit`."""
        self.writers.append(psycopg.connect(self.dsn))
        return self.writers[-1]

    def do(self, query: str) -> None:
        """Run a statement and commit."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(query)

    def close(self) -> None:
        """Close everything."""
        for source in self.sources:
            source.close()
        for writer in self.writers:
            writer.close()


@pytest.fixture
def origin(postgres_dsn: str, tmp_path: Path) -> Iterator[Origin]:
    """An empty database."""
    made = Origin(postgres_dsn, tmp_path)
    yield made
    made.close()


def taken(source: PostgresSource, start: Offsets, budget: Budget = ALL) -> tuple[list[Any], Offsets]:
    """The first column of the next range, and where it ends."""
    end = source.offer(start, budget)
    return [value for read in source.read(start, end) for value in read.frame.to_series().to_list()], end


def test_rows_are_read_in_ranges(origin: Origin) -> None:
    """Ranges within the budget, in order, each row once; the same range again gives the same, to a new source too."""
    origin.do("create table events (id bigserial primary key, word text)")
    source = origin.source()
    assert source.offer(source.initial(), ALL) == source.initial()
    origin.do("insert into events (word) select 'w' || n from generate_series(1, 10) n")
    at, ranges = source.initial(), []
    while (end := source.offer(at, Budget(rows=4))) != at:
        ranges.append((at, end, source.read(at, end)[0].frame))
        at = end
    assert [frame["id"].to_list() for _, _, frame in ranges] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    again = origin.source()
    for start, end, frame in ranges:
        assert again.read(start, end)[0].frame.equals(frame)
    assert at == {"table": 10}
    assert source.backlog(source.initial()) == Backlog(rows=10)
    assert source.backlog(at) == Backlog(rows=0)


def test_a_transaction_that_commits_late_is_not_missed(origin: Origin) -> None:
    """Row 2 is committed before row 1: neither is offered before both are there."""
    origin.do("create table events (id bigserial primary key, word text)")
    source = origin.source()
    late, early = origin.writer(), origin.writer()
    late.execute("insert into events (word) values ('late')")
    early.execute("insert into events (word) values ('early')")
    early.commit()
    assert taken(source, source.initial()) == ([], source.initial())
    assert taken(source, source.initial()) == ([], source.initial())
    late.commit()
    assert taken(source, source.initial())[0] == [1, 2]


def test_a_late_transaction_that_began_after_the_last_look_holds_only_what_comes_after(origin: Origin) -> None:
    """What was complete stays on offer while newer transactions are open; a rollback lets go as a commit does."""
    origin.do("create table events (id bigserial primary key, word text)")
    origin.do("insert into events (word) values ('a'), ('b')")
    source = origin.source()
    first, at = taken(source, source.initial(), Budget(rows=1))
    assert first == [1]
    open_one = origin.writer()
    open_one.execute("insert into events (word) values ('c')")
    origin.do("insert into events (word) values ('d')")
    second, at = taken(source, at)
    assert second == [2]
    assert taken(source, at)[0] == []
    open_one.rollback()
    assert taken(source, at)[0] == [4]


def test_a_writer_that_never_pauses_does_not_starve_the_source(origin: Origin) -> None:
    """Transactions that overlap without end hold back a value only until those end that were open with it."""
    origin.do("create table events (id bigserial primary key)")
    source = origin.source()
    at, seen = source.initial(), []
    previous = origin.writer()
    previous.execute("insert into events default values")
    for _ in range(10):
        following = origin.writer()
        following.execute("insert into events default values")
        previous.commit()
        rows, at = taken(source, at)
        seen += rows
        previous = following
    assert len(seen) >= 5
    previous.commit()
    for _ in range(2):
        rows, at = taken(source, at)
        seen += rows
    assert seen == list(range(1, 12))


def test_times_of_transactions_that_wrote_nothing_yet_are_not_missed(origin: Origin) -> None:
    """`now()` is the start of the transaction: who began earlier and writes later holds back what is newer."""
    origin.do("create table events (at timestamptz default now(), word text)")
    source = origin.source("at", pl.Schema({"word": pl.String}))
    late = origin.writer()
    late.execute("select now()")
    origin.do("insert into events (word) values ('early')")
    assert taken(source, source.initial())[0] == []
    late.execute("insert into events (word) values ('late')")
    late.commit()
    assert taken(source, source.initial())[0] == ["late", "early"]


def test_a_prepared_transaction_is_not_missed(tmp_path: Path) -> None:
    """A transaction between the two phases of its commit has no session, and still counts."""
    with servers.postgres({"max_prepared_transactions": "2"}) as server:
        origin = Origin(server.dsn, tmp_path)
        origin.do("create table events (id bigserial primary key)")
        origin.do("begin; insert into events default values; prepare transaction 'p'")
        origin.do("insert into events default values")
        source = origin.source()
        assert taken(source, source.initial())[0] == []
        origin.do("commit prepared 'p'")
        assert taken(source, source.initial())[0] == [1, 2]
        origin.close()


def test_partitions_count_as_their_table(origin: Origin) -> None:
    """A late row that goes to a partition directly is waited for."""
    origin.do("create table events (id bigint) partition by range (id)")
    origin.do("create table part partition of events for values from (0) to (100)")
    source = origin.source()
    late = origin.writer()
    late.execute("insert into part values (1)")
    origin.do("insert into events values (2)")
    assert taken(source, source.initial())[0] == []
    late.commit()
    assert taken(source, source.initial())[0] == [1, 2]


def test_rows_with_one_cursor_value_stay_together(origin: Origin) -> None:
    """A budget in the middle of a tie takes all of it, so that no row of it is lost; null is never read."""
    origin.do("create table events (at timestamp, n int)")
    origin.do(
        "insert into events select timestamp '2026-01-01' + (n / 5) * interval '1 us', n from generate_series(0, 14) n"
    )
    origin.do("insert into events values (null, 99)")
    source = origin.source("at", pl.Schema({"n": pl.Int32}))
    at, seen = source.initial(), []
    for size in (5, 5, 5):
        rows, at = taken(source, at, Budget(rows=3))
        assert len(rows) == size
        seen += rows
    assert sorted(seen) == list(range(15))
    assert at == {"table": "2026-01-01 00:00:00.000002"}
    assert taken(source, at)[0] == []


@pytest.mark.parametrize(
    ("spelled", "values"),
    [
        ("text", ["'a'", "'B'", "''", "'it''s'", "'é'"]),
        ("timestamptz", ["'2026-01-01 00:00:00.000001+05'", "'infinity'", "'-infinity'"]),
        ("numeric", ["1e30", "0.1", "-5"]),
        ("double precision", ["0.1", "1e300", "'NaN'", "'-Infinity'"]),
        ("date", ["'2026-01-01'", "'0044-03-15 BC'"]),
        ("uuid", ["'00000000-0000-0000-0000-000000000001'", "'ffffffff-0000-0000-0000-000000000000'"]),
    ],
)
def test_cursors_of_many_types(origin: Origin, spelled: str, values: list[str]) -> None:
    """Whatever PostgreSQL can sort can be a cursor: one row at a time gives each row once, in its order."""
    origin.do(f"create table events (c {spelled}, n serial)")
    origin.do(f"insert into events (c) values {', '.join(f'({value})' for value in values)}")
    source = origin.source("c", pl.Schema({"n": pl.Int32}))
    at, seen = source.initial(), []
    for _ in values:
        rows, at = taken(source, at, Budget(rows=1))
        seen += rows
    with psycopg.connect(origin.dsn) as connection:
        expected = [n for (n,) in connection.execute("select n from events order by c").fetchall()]
    assert seen == expected


def test_values_of_all_types(origin: Origin) -> None:
    """Columns come with the types of the catalog; what Polars has no type for comes as text; null is not empty."""
    origin.do("create domain positive as int check (value > 0)")
    origin.do("create type mood as enum ('good')")
    origin.do(
        "create table events (id int, i2 smallint, f4 real, f8 double precision, n numeric(10, 2), many numeric, "
        "b bool, s text, c varchar(5), d date, t time, ts timestamp, tz timestamptz, by bytea, u uuid, j jsonb, "
        "m mood, p positive, il int[], sl text[], iv interval)"
    )
    origin.do(
        "insert into events values (1, -5, 0.1, 'NaN', 1.50, 123456789012345678901234567890.123456789012345678, true, "
        "'', 'x', '2026-01-02', '01:02:03.000004', '2026-01-02 03:04:05.000006', '2026-01-02 03:04:05.000006+02', "
        "'\\x00ff', '00000000-0000-0000-0000-000000000001', '{\"a\": 1}', 'good', 7, '{1,null}', "
        "array['a,\"b', null, '', 'NULL'], '1 day')"
    )
    origin.do("insert into events (id) values (2)")
    source = origin.source()
    (read,) = source.read(source.initial(), {"table": 2})
    assert read.frame.schema == source.schema()
    assert [str(dtype) for dtype in source.schema().dtypes()] == [
        *(
            "Int32",
            "Int16",
            "Float32",
            "Float64",
            "Decimal(precision=10, scale=2)",
            "String",
            "Boolean",
            "String",
            "String",
        ),
        *("Date", "Time", "Datetime(time_unit='us', time_zone=None)", "Datetime(time_unit='us', time_zone='UTC')"),
        *("Binary", "String", "String", "String", "Int32", "List(Int32)", "List(String)", "String"),
    ]
    first, second = read.frame.rows()
    assert first[5:9] == ("123456789012345678901234567890.123456789012345678", True, "", "x")
    assert [str(value) for value in first[9:13]] == [
        "2026-01-02",
        "01:02:03.000004",
        "2026-01-02 03:04:05.000006",
        "2026-01-02 01:04:05.000006+00:00",
    ]
    assert first[13:] == (
        b"\x00\xff", "00000000-0000-0000-0000-000000000001", '{"a": 1}', "good", 7, [1, None],
        ['a,"b', None, "", "NULL"], "1 day",
    )  # fmt: skip
    assert second == (2, *[None] * 20)


def test_a_declared_schema_chooses_columns_and_types(origin: Origin) -> None:
    """Only the declared columns are read, as the declared types; a struct out of JSON too."""
    origin.do("create table events (id int, price numeric, data jsonb, other text)")
    origin.do("""insert into events values (1, 1.5, '{"a": 1, "b": ["x"]}', 'unread')""")
    schema = pl.Schema({"data": pl.Struct({"a": pl.Int64, "b": pl.List(pl.String)}), "price": pl.Float64()})
    source = origin.source(schema=schema)
    (read,) = source.read(source.initial(), {"table": 1})
    assert read.frame.schema == schema
    assert read.frame.rows() == [({"a": 1, "b": ["x"]}, 1.5)]


def test_values_that_polars_has_no_place_for_are_rejects(origin: Origin) -> None:
    """`infinity` is no moment: that row goes to the dead letters, whole, and the rows beside it go on."""
    origin.do("create table events (id int, at timestamptz)")
    origin.do("insert into events values (1, '2026-01-01'), (2, 'infinity'), (3, null)")
    source = origin.source()
    (read,) = source.read(source.initial(), {"table": 3})
    assert read.frame["id"].to_list() == [1, 3]
    (reject,) = read.rejects
    assert (reject.offset, reject.raw) == (2, '{"id": "2", "at": "infinity"}')
    assert "column 'at': 'infinity'" in reject.error


def test_many_writers_no_row_is_missed(origin: Origin) -> None:
    """Six writers that commit and roll back in random order; every committed row is read once."""
    origin.do("create table events (id bigserial primary key)")
    source = origin.source()
    chance = seeded(7)
    writers = [origin.writer() for _ in range(6)]
    at, seen = source.initial(), []
    for _ in range(300):
        writer = chance.choice(writers)
        action = chance.random()
        if action < 0.6:
            writer.execute("insert into events default values")
        elif action < 0.9:
            writer.commit()
        else:
            writer.rollback()
        rows, at = taken(source, at, Budget(rows=5))
        seen += rows
    for writer in writers:
        writer.commit()
    while (end := source.offer(at, ALL)) != at:
        seen += source.read(at, end)[0].frame["id"].to_list()
        at = end
    with psycopg.connect(origin.dsn) as connection:
        expected = [n for (n,) in connection.execute("select id from events order by id").fetchall()]
    assert len(expected) > 50
    assert seen == expected


def test_what_is_missing_is_said(origin: Origin) -> None:
    """A table, a column, an option that is not there, each by name."""
    with pytest.raises(ConnectorError, match=r"no table public.events"):
        origin.source().schema()
    origin.do("create table events (id int, word text)")
    with pytest.raises(SchemaError, match=r"no column 'wrod'. Did you mean 'word'"):
        origin.source(schema=pl.Schema({"wrod": pl.String})).schema()
    with pytest.raises(SchemaError, match=r"no column 'ident'"):
        origin.source("ident").schema()
    with pytest.raises(ConfigError, match="cursor"):
        origin.source("")


def test_a_server_that_restarts(tmp_path: Path) -> None:
    """While it is away an offer fails and heals; afterwards the same source goes on from the same place."""
    with servers.postgres() as server:
        origin = Origin(server.dsn, tmp_path)
        origin.do("create table events (id bigserial primary key)")
        origin.do("insert into events default values")
        source = origin.source()
        first, at = taken(source, source.initial())
        server.crash()
        with pytest.raises(ConnectorError) as caught:
            source.offer(at, ALL)
        assert caught.value.heals
        server.start()
        origin.do("insert into events (id) values (100)")
        second, _ = taken(source, at)
        assert (first, second) == ([1], [100])
        origin.close()
