"""The changes of a PostgreSQL table: all of them, in order, again until forgotten; and what goes wrong with slots."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from penstock.clock import SystemClock
from penstock.connect import Budget, Context
from penstock.connect.pgoutput import UNCHANGED, lsn_number, lsn_text, transactions
from penstock.connect.postgres_changes import PostgresChangesSource
from penstock.errors import ConfigError, ConnectorError
from penstock.flow import Dataset
from penstock.testing import servers

ALL = Budget()


class Origin:
    """A database with a table `events`, and sources of its changes."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn = dsn
        self.folder = folder
        self.sources: list[PostgresChangesSource] = []

    def source(self, schema: pl.Schema | None = None, **options: Any) -> PostgresChangesSource:
        """A source of the table's changes."""
        given = {"dsn": self.dsn, "table": "events", **options}
        context = Context("My flow", "read", self.folder, self.folder, SystemClock(), schema)
        self.sources.append(PostgresChangesSource(Dataset("postgres_changes", "events", options=given), context))
        return self.sources[-1]

    def do(self, *queries: str) -> None:
        """Run statements in one transaction."""
        with psycopg.connect(self.dsn) as connection:
            for query in queries:
                connection.execute(query)


@pytest.fixture
def origin(postgres_dsn: str, tmp_path: Path) -> Iterator[Origin]:
    """A database with an empty table `events`."""
    made = Origin(postgres_dsn, tmp_path)
    made.do("create table events (id int primary key, word text)")
    yield made
    for source in made.sources:
        source.close()


def test_changes_come_in_the_order_of_commits(origin: Origin) -> None:
    """Inserts, updates, deletes and truncation, each once, with what was done and when; nothing of other tables."""
    source = origin.source()
    at = source.initial()
    assert source.offer(at, ALL) == at
    origin.do("insert into events values (1, 'a'), (2, null), (3, '')", "update events set word = 'é' where id = 1")
    origin.do("create table other (id int)", "insert into other values (1)")
    origin.do("update events set id = 9 where id = 2", "delete from events where id = 3")
    origin.do("truncate events")
    end = source.offer(at, ALL)
    (read,) = source.read(at, end)
    assert read.frame.schema == source.schema()
    assert read.frame.select("_op", "id", "word").rows() == [
        ("insert", 1, "a"),
        ("insert", 2, None),
        ("insert", 3, ""),
        ("update", 1, "é"),
        ("update", 9, None),
        ("delete", 3, None),
        ("truncate", None, None),
    ]
    assert read.frame["_lsn"][-1] == end["changes"]
    assert read.frame["_committed_at"].is_sorted()
    assert source.offer(end, ALL) == end


def test_ranges_can_be_read_again_until_forgotten(origin: Origin) -> None:
    """Another source gives the same rows for the same ranges; after `forget` an error says that they are gone."""
    source = origin.source()
    at, ranges = source.initial(), []
    for n in range(6):
        origin.do(f"insert into events values ({n}, 'x'), ({n + 100}, 'y')")
    while (end := source.offer(at, Budget(rows=4))) != at:
        ranges.append((at, end, source.read(at, end)[0].frame))
        at = end
    assert [n for _, _, frame in ranges for n in frame["id"]] == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104, 5, 105]
    assert len(ranges) >= 3
    again = origin.source()
    for start, end, frame in ranges:
        assert again.read(start, end)[0].frame.equals(frame)
    again.forget(ranges[0][1])
    again.forget(ranges[0][0])
    assert again.read(*ranges[1][:2])[0].frame.equals(ranges[1][2])
    with pytest.raises(ConnectorError, match="were forgotten"):
        origin.source().read(*ranges[0][:2])
    with pytest.raises(ConnectorError, match="were forgotten"):
        again.offer(ranges[0][0], ALL)


def test_a_transaction_is_offered_when_it_has_committed(origin: Origin) -> None:
    """What is open is not there; what is rolled back never was; a large transaction stays whole."""
    source = origin.source()
    at = source.initial()
    with psycopg.connect(origin.dsn) as late:
        late.execute("insert into events select n, 'late' from generate_series(1, 50) n")
        origin.do("insert into events values (1000, 'early')")
        end = source.offer(at, Budget(rows=10))
        assert source.read(at, end)[0].frame["word"].to_list() == ["early"]
        late.commit()
        late.execute("insert into events values (2000, 'never')")
        late.rollback()
    last = source.offer(end, Budget(rows=10))
    assert source.read(end, last)[0].frame["id"].to_list() == list(range(1, 51))
    assert source.offer(last, ALL) == last


def test_values_have_their_types(origin: Origin) -> None:
    """Columns are typed as in the catalog, or as declared, and only those declared."""
    origin.do("drop table events", "create table events (id int primary key, at timestamptz, n numeric(6,2), l text[])")
    source = origin.source(pl.Schema({"at": pl.Datetime("us", "UTC"), "n": pl.Float64(), "l": pl.List(pl.String)}))
    at = source.initial()
    origin.do("insert into events values (1, '2026-01-01 12:00:00.000001+02', 1.25, '{a,\"b,c\",null}')")
    (read,) = source.read(at, source.offer(at, ALL))
    ((moment, number, words),) = read.frame.rows()
    assert (moment.isoformat(), number, words) == ("2026-01-01T10:00:00.000001+00:00", 1.25, ["a", "b,c", None])


def test_a_large_value_that_was_not_sent_is_a_reject(origin: Origin) -> None:
    """The row is not passed on with a null in its place; with `replica identity full` it is whole."""
    origin.do("alter table events add n int", "alter table events alter word set storage external")
    source = origin.source()
    at = source.initial()
    origin.do("insert into events values (1, repeat('x', 100000), 0)")
    origin.do("update events set n = 1", "insert into events values (2, 'b', 2)")
    (read,) = source.read(at, end := source.offer(at, ALL))
    assert read.frame["id"].to_list() == [1, 2]
    (reject,) = read.rejects
    assert "column 'word'" in reject.error
    assert reject.raw == '{"_op": "update", "id": "1", "n": "1"}'
    origin.do("alter table events replica identity full")
    origin.do("update events set n = 3 where id = 1")
    (read,) = source.read(end, source.offer(end, ALL))
    assert read.frame.select("_op", "n", pl.col("word").str.len_chars()).rows() == [("update", 3, 100_000)]


def test_a_slot_that_is_gone_is_said(origin: Origin) -> None:
    """Changes that nobody kept are not passed over in silence."""
    source = origin.source()
    at = source.initial()
    origin.do(f"select pg_drop_replication_slot('{source.slot}')")
    for ask in (lambda: source.offer(at, ALL), lambda: source.read(at, {"changes": "F/0"}), lambda: source.forget(at)):
        with pytest.raises(ConnectorError, match=r"slot 'penstock_my_flow_read_\w+' is gone"):
            ask()


def test_log_without_changes_is_passed_over(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where other tables are busy, an empty range lets the server drop its log; a few bytes are not worth one."""
    source = origin.source()
    at = source.initial()
    origin.do("create table other as select repeat('x', 1000) from generate_series(1, 1000)")
    assert source.offer(at, ALL) == at
    monkeypatch.setattr("penstock.connect.postgres_changes.QUIET_BYTES", 100_000)
    end = source.offer(at, ALL)
    assert lsn_number(end["changes"]) > lsn_number(at["changes"]) + 100_000
    assert source.read(at, end) == []
    source.forget(end)
    origin.do("insert into events values (1, 'a')")
    assert source.read(end, source.offer(end, ALL))[0].frame["id"].to_list() == [1]


def test_wal_level_and_names_are_checked(tmp_path: Path) -> None:
    """A server that keeps no logical log says what to set; so does a slot's name that can't be one."""
    with servers.postgres({"wal_level": "replica"}) as server:
        origin = Origin(server.dsn, tmp_path)
        origin.do("create table events (id int primary key)")
        with pytest.raises(ConnectorError, match="wal_level is replica"):
            origin.source().initial()
        with pytest.raises(ConfigError, match="no name for a slot"):
            origin.source(slot="Not A Slot")
        for source in origin.sources:
            source.close()


def test_a_server_that_crashes_loses_no_change(tmp_path: Path) -> None:
    """What was offered before is read after, and what was committed before the crash comes."""
    with servers.postgres() as server:
        origin = Origin(server.dsn, tmp_path)
        origin.do("create table events (id int primary key)")
        source = origin.source()
        at = source.initial()
        origin.do("insert into events values (1)")
        end = source.offer(at, ALL)
        origin.do("insert into events values (2)")
        server.crash()
        with pytest.raises(ConnectorError):
            source.offer(end, ALL)
        server.start()
        again = origin.source()
        assert again.read(at, end)[0].frame["id"].to_list() == [1]
        assert source.read(end, source.offer(end, ALL))[0].frame["id"].to_list() == [2]
        for each in origin.sources:
            each.close()


def text(value: str | None) -> bytes:
    """A value as pgoutput sends it."""
    if value is None:
        return b"n"
    return b"u" if value == UNCHANGED else b"t" + struct.pack(">i", len(value.encode())) + value.encode()


def row(*values: str | None) -> bytes:
    """A row as pgoutput sends it."""
    return struct.pack(">H", len(values)) + b"".join(text(value) for value in values)


RELATION = b"R" + struct.pack(">I", 7) + b"public\0events\0d" + struct.pack(">H", 2)
RELATION += b"\1id\0" + struct.pack(">Ii", 23, -1) + b"\0word\0" + struct.pack(">Ii", 25, -1)
BEGIN = b"B" + struct.pack(">QqI", 10, 5, 99)
COMMIT = b"C\0" + struct.pack(">QQq", 10, 20, 5)


def test_messages_are_decoded() -> None:
    """Each kind of change, keys and old rows included; what is not ours is passed over."""
    number = struct.pack(">I", 7)
    messages = [
        BEGIN,
        b"O" + struct.pack(">Q", 1) + b"origin\0",
        RELATION,
        b"I" + number + b"N" + row("1", "é"),
        b"U" + number + b"K" + row("1", None) + b"N" + row("2", UNCHANGED),
        b"U" + number + b"O" + row("2", "long") + b"N" + row("3", UNCHANGED),
        b"D" + number + b"K" + row("3", None),
        b"T" + struct.pack(">iB", 1, 0) + number,
        COMMIT,
        BEGIN,
    ]
    (found,) = transactions(messages)
    assert (found.end, found.committed_us) == (20, 946_684_800_000_005)
    assert [(change.op, *change.values.values()) for change in found.changes] == [
        ("insert", "1", "é"),
        ("update", "2", UNCHANGED),
        ("update", "3", "long"),
        ("delete", "3", None),
        ("truncate",),
    ]


@pytest.mark.parametrize("size", range(1, 20))
def test_a_message_that_is_cut_short_is_said(size: int) -> None:
    """Half a message is an error and not half a row."""
    whole = b"I" + struct.pack(">I", 7) + b"N" + row("1", "abc")
    assert len(whole) == 22
    with pytest.raises(ConnectorError, match="cut short"):
        list(transactions([BEGIN, RELATION, whole[:size], COMMIT]))


@pytest.mark.parametrize("message", [b"Z", b"S\0", b"I" + struct.pack(">I", 8) + b"N" + row("1")])
def test_a_message_out_of_place_is_said(message: bytes) -> None:
    """Kinds of other protocol versions and tables that were not described are errors."""
    with pytest.raises(ConnectorError, match="pgoutput"):
        list(transactions([BEGIN, RELATION, message, COMMIT]))


@pytest.mark.parametrize(
    ("number", "spelled"), [(0, "0/0"), (0x16_B374D848, "16/B374D848"), (2**64 - 1, "FFFFFFFF/FFFFFFFF")]
)
def test_log_positions(number: int, spelled: str) -> None:
    """Numbers and texts stand for one another."""
    assert (lsn_text(number), lsn_number(spelled)) == (spelled, number)
