"""Expectations that can't be held are refused before anything runs."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.flow import Check
from tests.analysis.flows import COLUMNS, analysed, shop, told


def test_right_expectations_pass() -> None:
    """One of each kind, on columns of fitting types."""
    _, orders = shop()
    checked = orders.expect(
        ps.not_null("id", "country"),
        ps.unique("id"),
        ps.between("amount", 0, 1e6),
        ps.one_of("status", ["paid", "open"]),
        ps.matches("country", "^[A-Z]{2}$"),
        ps.that(pl.col("amount") < pl.col("id"), name="small"),
        ps.that(pl.lit(None), name="unknown"),
    )

    assert "checked" in analysed(checked).steps


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (ps.not_null("idd"), "there is no column 'idd' for not_null(idd). Did you mean 'id'?"),
        (ps.not_null(), "not_null() names no column"),
        (ps.unique(), "unique() names no column"),
        (
            ps.between("country", 1, 5),
            "between(country, 1, 5): column 'country' is String and can't be compared with 1",
        ),
        (
            ps.between("amount", 1, "z"),
            "between(amount, 1, z): column 'amount' is Float64 and can't be compared with 'z'",
        ),
        (ps.one_of("id", ["a"]), "one_of(id): column 'id' is Int64 and can't be any of ['a']"),
        (ps.matches("amount", "1"), "matches(amount, 1): column 'amount' is Float64, not text"),
        (ps.matches("country", "("), "matches(country, (): the regular expression is not right"),
        (ps.that(pl.col("amount"), name="x"), "the check 'x' is Float64, not true or false"),
        (
            ps.that(pl.col("amuont") > 1, name="x"),
            "there is no column 'amuont' for the check 'x'. Did you mean 'amount'?",
        ),
        (ps.that("amount > 1", name="x"), "the check 'x' is 'amount > 1', not a Polars expression"),
    ],
)
def test_wrong_expectations_are_told(check: Check, expected: str) -> None:
    """The check, the column, its type and the value that does not fit."""
    _, orders = shop()
    checked = orders.expect(check)

    assert told(checked).splitlines()[0] == f"flow shop, step checked: {expected}"


def test_a_check_that_is_none() -> None:
    """A bare expression has to be wrapped, and `expect` needs something to expect."""
    wrong: Any = pl.col("id") > 1

    assert "is no check" in told(shop()[1].expect(wrong, name="x"))
    assert ".expect(...) has no checks" in told(shop()[1].expect(name="x"))


def test_a_regular_expression_is_shown_with_its_fault() -> None:
    """The engine's own explanation with its caret stands below."""
    _, orders = shop()
    checked = orders.expect(ps.matches("country", "("))

    assert told(checked) == (
        "flow shop, step checked: matches(country, (): the regular expression is not right\n"
        '  at:      FILE:N: checked = orders.expect(ps.matches("country", "("))\n'
        "  cause:   regex error: regex parse error:\n"
        "               (\n"
        "               ^\n"
        "           error: unclosed group"
    )


def test_a_value_of_another_type_shows_the_columns() -> None:
    """Beside the sentence: the line, the columns, the words of Polars."""
    _, orders = shop()
    checked = orders.expect(ps.one_of("id", ["a"]))

    assert told(checked) == (
        "flow shop, step checked: one_of(id): column 'id' is Int64 and can't be any of ['a']\n"
        '  at:      FILE:N: checked = orders.expect(ps.one_of("id", ["a"]))\n'
        f"  columns: {COLUMNS}\n"
        "  cause:   'is_in' cannot check for Int64 values in List(String) data"
    )
