"""What is no filter is refused with its place and a way out, and no text does anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import QueryError
from penstock.observe import LOG_COLUMNS, Condition, compile_filter, log_schema
from penstock.observe.filters.compiling import WORDS_MAX
from penstock.observe.filters.condition import Parameter
from penstock.observe.filters.grammar import DEPTH_MAX, LEAVES_MAX
from penstock.observe.filters.tokens import TEXT_MAX
from tests.observe.corpus import NOW_US, connection

SEARCHED = " ".join(f"a{number}" for number in range(WORDS_MAX + 1))

WRONG = [
    # filter, what stands over the carets, words of the message
    ("severity>=WARN", "WARN", "Did you mean 'WARNING'?"),
    ("severity=450.5", "450.5", "no severity"),
    ('severity=~"ERR"', "severity", "compares text"),
    ("resource.labels.flw=a", "resource.labels.flw", "Did you mean 'resource.labels.flow'?"),
    ("httpRequest.status=500", "httpRequest.status", "no field"),
    ("resource=x", "resource", "no field"),
    ("epoch=many", "many", "no number"),
    ('epoch=~"1"', "epoch", "compares text"),
    ("timestamp>yesterday", "yesterday", "no time"),
    ('timestamp>"2026-13-01"', '"2026-13-01"', "no time"),
    ('timestamp>"-99999999w"', '"-99999999w"', "no time"),
    ('timestamp:"2026"', "timestamp", "compares text"),
    ("flow=NULL_VALUE", "NULL_VALUE", "value of JSON"),
    ("labels.a>NULL_VALUE", "NULL_VALUE", "not compared by"),
    ('message=~"("', '"("', "missing )"),
    ('message=~"(?=a)"', '"(?=a)"', "no regular expression"),
    ('flow="revenue', '"', "never closed"),
    ("(flow=a OR (flow=b)", "(", "never closed"),
    ("flow=a)", ")", "closes nothing"),
    ("()", "(", "nothing in these parentheses"),
    ("flow=()", "(", "nothing in these parentheses"),
    ("insertId = abc:def", ":", "can't stand after a value"),
    ("flow==a", "==", "no operator"),
    ("a && b", "&&", "no operator"),
    ("a || b", "||", "no operator"),
    ("!flow=a", "!", "no operator"),
    ("flow~a", "~", "no operator"),
    ("flow=*", "*", "can't stand after"),
    ("*", "*", "can't stand here"),
    ("flow=a@b", "@", "outside quotes"),
    ("flow=[a]", "[", "outside quotes"),
    ("=a", "=", "no field stands before"),
    ('"flow"=a', '"flow"', "a name was expected"),
    ("flow=", "", "missing"),
    ("flow=AND", "AND", "missing"),
    ("flow=- a", "-", "missing"),
    ("a AND", "", "missing at the end"),
    ("a OR", "", "missing at the end"),
    ("NOT", "", "missing at the end"),
    ("OR a", "OR", "lacks what it joins"),
    ("a AND OR b", "OR", "lacks what it joins"),
    ("a, b", ",", "can't stand here"),
    ("labels..a=1", "labels..a", "is empty"),
    ('labels."a b"', 'labels."a b"', "says nothing"),
    ('flow=a."b"', 'a."b"', "as a whole"),
    ("ip_at(a, b)", "ip_at", "no function"),
    ("SERCH(a)", "SERCH", "Did you mean 'SEARCH'?"),
    ('SEARCH("--")', '"--"', "no word"),
    (f'SEARCH("{SEARCHED}")', f'"{SEARCHED}"'[:93], "more than 50 words"),
    ("SEARCH()", "SEARCH", "lacks a value"),
    ("SEARCH(a b)", "b", "can't stand here"),
    ("sample(insertId)", "sample", "a field and a share"),
    ("sample(insertId, 2)", "2", "no share"),
    ("sample(insertId, half)", "half", "no number"),
    ("ip_in_net(message)", "ip_in_net", "a field and a network"),
    ("ip_in_net(message, 10.0.0.0/33)", "10.0.0.0/33", "no network of IPv4"),
    ('ip_in_net(message, "::1")', '"::1"', "no network of IPv4"),
    ("ip_in_nets(message, 10.0.0.1)", "ip_in_nets", "Did you mean 'ip_in_net'?"),
    (r'"\ud800"', r'"\ud800"', "half of a surrogate pair"),
    ("flow=\ud800", "?", "half of a surrogate pair"),
    ("flow=a\nstep=b\nepoch=c", "c", "line 3, column 7"),
]


@pytest.mark.parametrize(("text", "place", "words"), WRONG)
def test_what_is_wrong_is_said_with_its_place(text: str, place: str, words: str) -> None:
    """The message says what is wrong, and its carets stand under the text that is."""
    with pytest.raises(QueryError) as caught:
        compile_filter(text, now_us=NOW_US)
    message = caught.value.message
    line, carets = message.split("\n")[-2:]

    assert words in message
    assert line[carets.index("^") :][: len(carets.strip())] == place


def test_a_message_is_whole() -> None:
    """What a person sees: the sentence, the place, the line with carets, the next edit."""
    with pytest.raises(QueryError) as caught:
        compile_filter("flow=revenue\nAND severity>=WARN", now_us=NOW_US)

    assert str(caught.value) == (
        "the filter is wrong at line 2, column 15: 'WARN' is no severity. Did you mean 'WARNING'?\n"
        "    AND severity>=WARN\n"
        "                  ^^^^\n"
        "  next:  one of DEFAULT, DEBUG, INFO, NOTICE, WARNING, ERROR, CRITICAL, ALERT, EMERGENCY"
    )


def test_of_a_long_line_a_window_is_shown() -> None:
    """The line in a message stays readable however long the filter is, and the caret stands under its place."""
    with pytest.raises(QueryError) as caught:
        compile_filter(f"{'a ' * 400}flow==b {'c ' * 400}", now_us=NOW_US)
    line, carets = caught.value.message.split("\n")[-2:]

    assert len(line) <= 110
    assert line[carets.index("^") :].startswith("==b")


@pytest.mark.parametrize(
    "text",
    ["(" * 30_000, "a " * 9_000, "NOT " * 4_000, "(" * 5_000, "-" + "(-" * 5_000, f"epoch={'9' * 19_000}x"],
    ids=["long", "wide", "nots", "deep", "minuses", "digits"],
)
def test_limits_are_refused(text: str) -> None:
    """A filter that is too long, too wide or too deep is refused before the database sees it."""
    with pytest.raises(QueryError):
        compile_filter(text, now_us=NOW_US)


@pytest.fixture(scope="module")
def logs() -> Iterator[duckdb.DuckDBPyConnection]:
    """The corpus as the table `logs`."""
    with connection() as database:
        yield database


def run(database: duckdb.DuckDBPyConnection, condition: Condition) -> list[object]:
    """The condition of every entry."""
    rows = database.execute(f"select {condition.sql} from logs", list(condition.parameters)).fetchall()
    return [held for (held,) in rows]


@pytest.mark.parametrize(
    "text",
    [
        " OR ".join(f"labels.a{number}=1" for number in range(LEAVES_MAX)),
        "NOT " * (DEPTH_MAX - 1) + "a",
        "(" * (DEPTH_MAX - 1) + "jsonPayload.tags=late" + ")" * (DEPTH_MAX - 1),
        f'"{"a" * (TEXT_MAX - 2)}"',
        f"epoch={'9' * 10_000}",
        f"labels.a={'9' * 10_000}",
        f"flow={'9' * 10_000}",
        "epoch=9223372036854775807 OR epoch=9223372036854775808 OR epoch=-1e999",
        f'message=~"{"a?" * 4_000}"',
        f'SEARCH("{" ".join(f"a{number}" for number in range(WORDS_MAX))}")',
        'labels."\u0000"="\u0000" OR "\u0000" OR message=~"\u0000"',
        r'labels."\"$*#-1[0]~/"="x"',
    ],
    ids=lambda text: text[:20],
)
def test_what_is_at_the_limit_runs(logs: duckdb.DuckDBPyConnection, text: str) -> None:
    """A filter at a limit, or with values at the ends of their types, runs and is true or false of each entry."""
    held = run(logs, compile_filter(text, now_us=NOW_US))

    assert set(held) <= {True, False}


PIECES = [
    *("AND", "OR", "NOT", "-", "--", "(", ")", ",", "*", ":", "=", "!=", ">", ">=", "<", "<=", "=~", "!~", " ", "\n"),
    *("severity", "ERROR", "timestamp", '"-1h"', '"2026-11-26"', "now", "flow", "resource.labels.step", "epoch", "3"),
    *("jsonPayload.rows", 'labels."k8s.io/pod"', "jsonPayload", "labels.", "trace", "NULL_VALUE", "true", "-5", "1e9"),
    *(
        '"',
        "'",
        "\\",
        '"a"',
        '"("',
        '"[a-z]+"',
        "SEARCH(",
        "sample(",
        "insertId",
        "0.5",
        "message",
        "a.b",
        ".",
        "~",
        "é",
    ),
]


@settings(max_examples=600)
@given(text=st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_garbage_is_refused_or_runs(logs: duckdb.DuckDBPyConnection, text: str) -> None:
    """No text raises anything but QueryError with a caret line, and what is not refused runs."""
    said, condition = refused(text)
    if condition is None:
        assert re.search(r"\n    .*\n +\^+$", said)
    else:
        assert set(run(logs, condition)) <= {True, False}
        assert all(isinstance(parameter, get_args(Parameter)) for parameter in condition.parameters)


def refused(text: str) -> tuple[str, Condition | None]:
    """The message of the error, or the condition where there is none."""
    try:
        return "", compile_filter(text, now_us=NOW_US)
    except QueryError as error:
        return error.message, None


def test_the_columns_are_those_of_the_schema() -> None:
    """The Arrow schema has the columns of the table in their order, and says of each what it means."""
    schema = log_schema()

    assert schema.names == [column.name for column in LOG_COLUMNS]
    assert [field.nullable for field in schema] == [column.nullable for column in LOG_COLUMNS]
    assert all((field.metadata or {}).get(b"meaning") for field in schema)
    assert str(schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
