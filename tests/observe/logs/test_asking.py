"""Asking: filters and SQL over the same entries give the same answers, wherever these lie, within their limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from penstock.clock import ManualClock
from penstock.control import LogAnswers, bare_project, log_folder
from penstock.errors import QueryError
from penstock.observe import (
    FlowLogs,
    LogQuery,
    LogReader,
    LogSpan,
    LogTail,
    compact,
    error_signatures,
    log_distribution,
    log_rates,
    matching,
    open_logs,
    time_bounds,
    us_of,
)
from tests.observe.logs.lines import HOUR_US, START_US, put, written

NOW_US = START_US + 10 * HOUR_US
CLOCK = ManualClock(NOW_US)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two flows: `orders` with files of three hours and a live journal, `prices` with a journal only."""
    for hour in range(3):
        lines = [(hour * HOUR_US + number, f"order {number} took {number} ms") for number in range(10)]
        written(tmp_path / "orders", lines, version=f"v{hour // 2 + 1}")
        written(tmp_path / "orders", [(hour * HOUR_US + 50, f"order {hour} failed")], severity=500, worker="w2")
        compact(FlowLogs(tmp_path / "orders"), CLOCK)
    written(tmp_path / "orders", [(3 * HOUR_US, "still live")], seal=False)
    written(tmp_path / "prices", [(HOUR_US, "price of 7 failed")], severity=500)
    return tmp_path


@pytest.fixture
def reader(root: Path) -> Iterator[LogReader]:
    """A reader of both."""
    with LogReader(root, CLOCK) as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("severity>=ERROR", "severity >= 500"),
        ("flow=orders AND message:took", "flow = 'orders' and contains(message, 'took')"),
        ('timestamp>="-8h" severity=ERROR', "timestamp >= to_timestamp({now} - 8 * 3600) and severity = 500"),
        ("NOT version=v1", "coalesce(version, '') != 'v1'"),
        ("worker=w2 OR flow=prices", "worker = 'w2' or flow = 'prices'"),
        ('"still live"', "message = 'still live'"),
    ],
)
def test_a_filter_and_sql_give_the_same(text: str, sql: str, root: Path, reader: LogReader) -> None:
    """What a filter finds, the same condition in SQL over the view `logs` finds: files and journals, all flows."""
    found = {row["insert_id"] for row in reader.newest(LogQuery(filter=text), limit=1_000)}
    with duckdb.connect() as connection:
        open_logs(connection, root)
        where = sql.format(now=NOW_US // 1_000_000)
        asked = {row[0] for row in connection.execute(f"select insert_id from logs where {where}").fetchall()}

    assert found == asked
    assert found


def test_a_filter_opens_the_files_of_its_time_only(root: Path, reader: LogReader) -> None:
    """The times of a filter bound what is read: with the other files gone it is answered all the same."""
    logs = FlowLogs(root / "orders")
    for file in logs.index().files:
        if not file.overlaps(START_US + HOUR_US, START_US + 2 * HOUR_US):
            logs.path_of(file).unlink()

    found = reader.newest(LogQuery(LogSpan(flows=("orders",)), 'timestamp>="-9h" AND timestamp<"-8h" severity>=ERROR'))

    assert [row["message"] for row in found] == ["order 1 failed"]


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("", (None, None)),
        ('timestamp>="-1h"', (NOW_US - HOUR_US, None)),
        ('timestamp>"-2h" AND timestamp>="-1h" AND timestamp<="now"', (NOW_US - HOUR_US, NOW_US + 1)),
        ('timestamp>="-1h" OR severity=ERROR', (None, None)),
        ('NOT timestamp>="-1h"', (None, None)),
        ('timestamp="-1h"', (NOW_US - HOUR_US, NOW_US - HOUR_US + 1)),
    ],
)
def test_only_what_all_entries_meet_is_a_bound(text: str, bounds: tuple[int | None, int | None]) -> None:
    """Times under OR and NOT bound nothing."""
    assert time_bounds(text, now_us=NOW_US) == bounds


def test_pages_go_on_where_the_one_before_ended(root: Path, reader: LogReader) -> None:
    """Pages together are the whole list, once, though more was logged between them and times are the same."""
    whole = [row["insert_id"] for row in reader.newest(LogQuery(), limit=1_000)]
    seen: list[str] = []
    before: tuple[int, str] | None = None
    while page := reader.newest(LogQuery(before=before), limit=7):
        seen += [row["insert_id"] for row in page]
        before = (us_of(page[-1]["timestamp"]), page[-1]["insert_id"])
        written(root / "prices", [(9 * HOUR_US + len(seen), "later")], worker=f"w{len(seen)}")

    assert seen == whole


def test_lines_around_a_match_are_of_its_process(reader: LogReader) -> None:
    """Before and after an entry stand what the same process logged."""
    (row,) = reader.newest(LogQuery(filter='message="order 4 took 4 ms" AND timestamp<"-9h"'), limit=1)

    assert [one["message"] for one in reader.around(row, count=2)] == [
        f"order {number} took {number} ms" for number in range(2, 7)
    ]


def test_a_histogram_counts_everything_once(reader: LogReader) -> None:
    """Its parts cover the span, and their counts are those of the entries."""
    span = LogSpan(START_US, START_US + 4 * HOUR_US)

    parts = reader.histogram(LogQuery(span), buckets=4)

    assert [part["counts"] for part in parts] == [
        {"INFO": 10, "ERROR": 1},
        {"INFO": 10, "ERROR": 2},
        {"INFO": 10, "ERROR": 1},
        {"INFO": 1},
    ]
    assert parts[0]["start_us"] == START_US
    assert parts[-1]["end_us"] == START_US + 4 * HOUR_US


def test_kinds_of_errors_are_counted_and_new_ones_told(root: Path, reader: LogReader) -> None:
    """Entries that differ in numbers are one kind; one that only the newest version logged is new."""
    written(root / "orders", [(4 * HOUR_US, "unknown country 'XX'")], severity=500, version="v2", worker="w3")

    found = error_signatures(reader, LogQuery(LogSpan(flows=("orders",))))

    assert [(one.signature, one.count, one.versions, one.new_in) for one in found] == [
        ("order # failed", 3, ("v1",), None),
        ("unknown country #", 1, ("v2",), "v2"),
    ]


def test_metrics_from_logs(reader: LogReader) -> None:
    """A filter is counted over time; numbers in messages are a distribution."""
    query = LogQuery(LogSpan(flows=("orders",)), "message:took")

    rates = log_rates(reader, query, every_us=HOUR_US)
    values = log_distribution(reader, query, value=r"took (\d+) ms", every_us=HOUR_US)

    assert [(row["start_us"], row["count"]) for row in rates] == [(START_US + hour * HOUR_US, 10) for hour in range(3)]
    assert [(row["count"], row["sum"], row["min"], row["max"], row["p50"]) for row in values] == [
        (10, 45, 0, 9, 4.5)
    ] * 3


def test_alert_rules_are_answered(root: Path, tmp_path: Path) -> None:
    """Entries of a filter by flow with the newest lines, and rows of SQL."""
    environment = bare_project(tmp_path / "project").environment("dev")
    log_folder(environment).parent.mkdir(parents=True)
    log_folder(environment).symlink_to(root)
    answers = LogAnswers(environment, CLOCK)

    found = answers.by_flow("severity>=ERROR", START_US, START_US + 2 * HOUR_US)

    labels = {"project": "shop", "env": "dev"}
    assert found == [
        ({**labels, "flow": "orders"}, 2, ["order 1 failed", "order 0 failed"]),
        ({**labels, "flow": "prices"}, 1, ["price of 7 failed"]),
    ]
    assert answers.rows("select flow, count(*) as value from logs where severity >= 500 group by 1 order by 1") == [
        {"flow": "orders", "value": 3},
        {"flow": "prices", "value": 1},
    ]


def test_a_query_that_takes_too_long_is_ended(root: Path) -> None:
    """The time limit ends a query, and says so."""
    with LogReader(root, CLOCK, limit_s=0.1) as reader, pytest.raises(QueryError, match=r"ended after 0\.1 s"):
        reader.table(LogQuery(), "select count(*) from range(1000000) a, range(1000000) b where a.range * b.range = 7")


def test_a_tail_sees_new_lines_in_their_order_once(tmp_path: Path) -> None:
    """Lines of two processes of one flow, over journals that are sealed and removed meanwhile, come each once."""
    logs = FlowLogs(tmp_path / "flow")
    first = written(logs.folder, [(0, "before")], seal=False, size_bytes=2_000)
    tail = LogTail(tmp_path)
    second = written(logs.folder, [], seal=False, worker="w2", size_bytes=2_000)
    seen: list[str] = []
    for number in range(100):
        put(first, f"a{number}", time_us=START_US + 2 * number)
        put(second, f"b{number}", time_us=START_US + 2 * number + 1)
        if number % 7 == 0:
            seen += tail.news()["message"].to_list()
        if number % 14 == 0:
            compact(logs, CLOCK)
    first.close()
    second.close()
    seen += tail.news()["message"].to_list()
    compact(logs, CLOCK)
    seen += tail.news()["message"].to_list()
    tail.close()

    assert [one for one in seen if one.startswith("a")] == [f"a{number}" for number in range(100)]
    assert [one for one in seen if one.startswith("b")] == [f"b{number}" for number in range(100)]
    assert len(seen) == 200


def test_what_is_new_is_asked_as_what_is_old(tmp_path: Path) -> None:
    """A condition over rows in memory finds what it finds in the store."""
    journal = written(tmp_path / "flow", [], seal=False)
    tail = LogTail(tmp_path)
    put(journal, "order 7", order=7)
    put(journal, "order 8", order=8)
    news = tail.news()
    tail.close()

    with duckdb.connect() as connection:
        found = matching(connection, news, LogQuery(filter="jsonPayload.order=8").condition(NOW_US))
        none = matching(connection, pl.DataFrame(), LogQuery().condition(NOW_US))

    assert [row["message"] for row in found] == ["order 8"]
    assert none == []
