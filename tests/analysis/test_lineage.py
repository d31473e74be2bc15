"""From which columns each column is made, one step back and back to the sources."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import Analysis, ColumnOrigin, analyse, lineage, sources_of
from tests.analysis.flows import analysed, shop


def handler(context: Any, rows: Any) -> Any:  # noqa: ARG001
    """A process that gives its rows."""
    return rows


def test_expressions_name_their_columns() -> None:
    """Each output comes from the columns that its expression reads; a constant from none."""
    _, orders = shop()
    more = orders.with_columns(pl.col("amount") * pl.col("id"), one=1)
    some = more.select("id", pl.col("country", "status").str.to_uppercase(), c=pl.col("one") + pl.col("id"))
    found = lineage(analysed(some))

    assert found["more"]["amount"] == ColumnOrigin((("orders", "amount"), ("orders", "id")))
    assert found["more"]["one"] == ColumnOrigin()
    assert found["more"]["country"] == ColumnOrigin((("orders", "country"),))
    assert found["some"]["id"] == ColumnOrigin((("more", "id"),))
    assert found["some"]["status"] == ColumnOrigin((("more", "status"),))
    assert found["some"]["c"] == ColumnOrigin((("more", "one"), ("more", "id")))
    assert found["orders"]["id"] == ColumnOrigin()


def test_renamed_selections_could_be_anything() -> None:
    """Where many columns get new names at once, each is taken to come from all."""
    _, orders = shop()
    more = orders.select(pl.col("id", "amount").name.suffix("_x"))
    places = lineage(analysed(more))["more"]["id_x"].places

    assert set(places) == {("orders", column) for column in orders_columns()}


def orders_columns() -> list[str]:
    """The columns of the stream that the tests begin with."""
    return ["id", "country", "status", "amount", "tags", "at"]


@pytest.mark.parametrize("kind", ["sql", "map", "flat_map", "map_batches", "process"])
def test_code_is_opaque(kind: str) -> None:
    """SQL and the author's functions may use any column, and this is said."""
    _, orders = shop({"id": int, "b": int}, event_time=None)
    step = {
        "sql": lambda: orders.sql("select id from self", name="x"),
        "map": lambda: orders.map(dict, schema={"id": int}, name="x"),
        "flat_map": lambda: orders.flat_map(list, schema={"id": int}, name="x"),
        "map_batches": lambda: orders.map_batches(lambda frame: frame.select("id"), name="x"),
        "process": lambda: orders.group_by("id").process(handler, schema={"id": int}, state={"n": int}, name="x"),
    }[kind]()

    assert lineage(analysed(step))["x"] == {"id": ColumnOrigin((("orders", "id"), ("orders", "b")), opaque=True)}


def test_aggregates_and_windows() -> None:
    """Keys come from keys, aggregates from what they read, windows from the event time."""
    flow, orders = shop()
    windowed = orders.group_by("country").window(ps.tumbling("1m")).agg(n=pl.len(), total=pl.col("amount").sum())
    windowed.write(ps.console())
    top = orders.window(ps.tumbling("1m")).top_n(1, by="amount")
    top.write(ps.console())
    running = orders.group_by("country").agg(total=pl.col("amount").sum() / pl.col("amount").len())
    running.write(ps.table("running", key="country"))
    best = orders.group_by("country").top_n(2, by="amount")
    best.write(ps.table("best", key=["country", "rank"]))
    newest = orders.group_by("country").top_n(1, by=[], rank="place")
    newest.write(ps.table("newest", key=["country", "place"]))
    found = lineage(analyse(flow.build(), {}))

    assert found["windowed"] == {
        "country": ColumnOrigin((("orders", "country"),)),
        "window_start": ColumnOrigin((("orders", "at"),)),
        "window_end": ColumnOrigin((("orders", "at"),)),
        "n": ColumnOrigin(),
        "total": ColumnOrigin((("orders", "amount"),)),
    }
    assert found["top"]["window_end"] == ColumnOrigin((("orders", "at"),))
    assert found["top"]["id"] == ColumnOrigin((("orders", "id"),))
    assert found["running"]["total"] == ColumnOrigin((("orders", "amount"),))
    assert found["best"]["rank"] == ColumnOrigin((("orders", "amount"),))
    assert found["newest"]["place"] == ColumnOrigin((("orders", "at"),))


def joined() -> Analysis:
    """A flow with each kind of join."""
    flow, orders = shop({"id": int, "a": int, "at": pl.Datetime})
    other = flow.read(ps.topic("other", schema={"key": int, "a": str, "at": pl.Datetime}), event_time="at")
    names = flow.table(ps.table("names", schema={"id": int, "name": str}), key="id")
    window = orders.join(other, on={"id": "key"}, window=ps.tumbling("1m"))
    looked = orders.join(names, on="id")
    semi = orders.join(names, on="id", how="semi")
    both = looked.select("id", "at").union(semi.select("id", "at"))
    return analysed(window, looked, semi, both, window.late_rows(name="late"))


def test_joins_unions_and_late_rows() -> None:
    """A key comes from both sides, other columns from theirs; a union from all; late rows from before the join."""
    found = lineage(joined())

    assert found["window"]["id"] == ColumnOrigin((("orders", "id"), ("other", "key")))
    assert found["window"]["a"] == ColumnOrigin((("orders", "a"),))
    assert found["window"]["a_right"] == ColumnOrigin((("other", "a"),))
    assert found["window"]["window_start"] == ColumnOrigin((("orders", "at"), ("other", "at")))
    assert found["looked"]["name"] == ColumnOrigin((("names", "name"),))
    assert "name" not in found["semi"]
    assert found["both"]["id"] == ColumnOrigin((("both.select", "id"), ("both.select_2", "id")))
    assert found["late"]["a"] == ColumnOrigin((("orders", "a"),))


def test_sources_are_found_through_all_steps() -> None:
    """Back to the reads, each place once, and opaque where something on the way was."""
    _, orders = shop()
    vat = orders.with_columns(vat=pl.col("amount") * 0.21)
    total = vat.with_columns(total=pl.col("amount") + pl.col("vat"))
    asked = total.sql("select total from self")
    analysis = analysed(asked)

    assert sources_of(analysis, "total", "total") == ColumnOrigin((("orders", "amount"),))
    assert sources_of(analysis, "asked", "total") == ColumnOrigin(
        tuple(("orders", column) for column in sorted(orders_columns())), opaque=True
    )
    assert sources_of(analysis, "orders", "id") == ColumnOrigin((("orders", "id"),))
    with pytest.raises(KeyError):
        sources_of(analysis, "total", "nobody")
