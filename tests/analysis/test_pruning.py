"""Which columns a source need not parse; every doubt counts as need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import analyse, needed_columns
from penstock.flow import Stream
from tests.analysis.flows import ORDERS, shop

ALL = tuple(ORDERS.names())
MINUTE = ps.tumbling("1m")

NEEDS: dict[str, tuple[Callable[[Stream], Any], tuple[str, ...]]] = {
    "all where rows are written whole": (lambda orders: orders, ALL),
    "what select names": (lambda orders: orders.select("id", pl.col("amount") * 2), ("id", "amount", "at")),
    "what a filter before it asks": (
        lambda orders: orders.filter(pl.col("status") == "x").select("id"),
        ("id", "status", "at"),
    ),
    "what new columns are made of": (
        lambda orders: orders.with_columns(twice=pl.col("amount") * 2, one=1).select("twice", "one"),
        ("amount", "at"),
    ),
    "what windows aggregate": (
        lambda orders: orders.group_by("country").window(MINUTE).agg(total=pl.col("amount").sum()),
        ("country", "amount", "at"),
    ),
    "what checks look at": (
        lambda orders: orders.expect(ps.not_null("status"), ps.that(pl.col("tags").is_null(), name="t")).select("id"),
        ("id", "status", "tags", "at"),
    ),
    "all where SQL may look": (lambda orders: orders.sql("select id from self"), ALL),
    "all where a selector may mean any": (lambda orders: orders.select(pl.all()), ALL),
    "all where a pattern may mean any": (lambda orders: orders.select("^a.*$"), ALL),
    "all where a list hides names": (lambda orders: orders.select(["id"]), ALL),
    "what both sides of a union ask": (
        lambda orders: orders.select("id", "at").union(orders.select("id", "at").filter(pl.col("id") > 1)),
        ("id", "at"),
    ),
}


@pytest.mark.parametrize(("build", "expected"), NEEDS.values(), ids=NEEDS)
def test_the_columns_that_are_needed(build: Callable[[Stream], Stream], expected: tuple[str, ...]) -> None:
    """The event time is always among them, in the order of the source."""
    flow, orders = shop()
    build(orders).write(ps.console())
    definition = flow.build()

    assert needed_columns(definition, analyse(definition, {}))["orders"] == expected


def test_running_aggregates_without_time() -> None:
    """Keys and aggregates alone."""
    flow, orders = shop(event_time=None)
    counts = orders.group_by("country").agg(n=pl.col("id").sum())
    counts.write(ps.table("t", key="country"))
    definition = flow.build()

    assert needed_columns(definition, analyse(definition, {}))["orders"] == ("id", "country")


def test_late_rows_are_shown_whole() -> None:
    """Where late rows go somewhere, nothing of them is left out."""
    flow, orders = shop()
    counts = orders.window(MINUTE).agg(n=pl.len())
    counts.write(ps.console())
    counts.late_rows(name="late").write(ps.console())
    definition = flow.build()

    assert needed_columns(definition, analyse(definition, {}))["orders"] == ALL


def test_counting_needs_some_column() -> None:
    """Rows without any column can't be counted."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("rows", schema={"a": int, "b": int}), event_time=ps.PROCESSING_TIME)
    rows.window(MINUTE).agg(n=pl.len(), name="n").write(ps.console())
    definition = flow.build()

    assert needed_columns(definition, analyse(definition, {}))["rows"] == ("a",)


def test_a_table_is_read_whole() -> None:
    """A lookup may give any of its columns."""
    flow, orders = shop()
    names = flow.table(ps.table("names", schema={"id": int, "name": str}), key="id")
    orders.join(names, on="id", name="named").select("id").write(ps.console())
    definition = flow.build()

    assert needed_columns(definition, analyse(definition, {}))["names"] == ("id", "name")
