"""The filter language against answers that were worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from penstock.observe import compile_filter
from tests.observe.corpus import NOW_US, connection
from tests.observe.golden import GOLDEN, ids


@pytest.fixture(scope="module")
def logs() -> Iterator[duckdb.DuckDBPyConnection]:
    """The corpus as the table `logs`."""
    with connection() as database:
        yield database


def matched(database: duckdb.DuckDBPyConnection, text: str) -> list[int]:
    """The ids of the entries that a filter matches, rising."""
    condition = compile_filter(text, now_us=NOW_US)
    rows = database.execute(f"select insert_id from logs where {condition.sql}", list(condition.parameters)).fetchall()
    return sorted(int(number) for (number,) in rows)


@pytest.mark.parametrize(("text", "expected"), GOLDEN)
def test_a_filter_matches_what_it_says(logs: duckdb.DuckDBPyConnection, text: str, expected: str) -> None:
    """The filter matches the entries that a person finds by reading the corpus."""
    assert matched(logs, text) == ids(expected)


def test_there_are_enough_golden_filters() -> None:
    """At least 200 different filters have an answer worked out by hand."""
    assert len({text for text, _ in GOLDEN}) == len(GOLDEN) >= 200


def test_a_condition_and_its_negation_split_the_log(logs: duckdb.DuckDBPyConnection) -> None:
    """No condition is null for any entry: the entries of a filter and those of its NOT are all entries, each once."""
    for text, _ in GOLDEN:
        if text.strip() and not text.startswith("--"):
            both = matched(logs, text) + matched(logs, f"NOT (\n{text}\n)")
            assert sorted(both) == list(range(1, 31)), text


def test_values_are_bound_and_never_part_of_the_text() -> None:
    """Whatever a person writes as a value or as a key of JSON is a parameter; equal filters have equal SQL."""
    evil = "x' or 1=1 --"
    for form in ('message="{}"', '"{}"', 'jsonPayload."{}"="y"', 'SEARCH("{}")', 'flow:("{}" OR "b")'):
        given, other = (compile_filter(form.format(value), now_us=NOW_US) for value in (evil, "x or 1 1"))
        assert given.sql == other.sql
        assert "1=1" not in given.sql


def test_times_start_from_the_time_that_is_given(logs: duckdb.DuckDBPyConnection) -> None:
    """A relative time moves with `now_us`, so that a test and a saved filter can hold it."""
    earlier = compile_filter("timestamp>=-1h", now_us=NOW_US - 3_600_000_000)
    query = f"select count(*) from logs where {earlier.sql}"

    assert logs.execute(query, list(earlier.parameters)).fetchall() == [(7,)]
