"""Faults of keyed and windowed steps, of joins, unions and writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import analyse
from penstock.flow import Definition, Step, Stream, ops
from tests.analysis.flows import COLUMNS, ORDERS, analysed, schema_of, shop, told

MINUTE = ps.tumbling("1m")


def handler(context: Any, rows: Any) -> Any:  # noqa: ARG001
    """A process that gives its rows."""
    return rows


def first_line(stream: Stream, *key: str) -> str:
    """The first line of what is said of a stream, without flow and step."""
    stream.write(ps.table("end", key=key))
    with pytest.raises(ps.PenstockError) as caught:
        analyse(stream.flow.build(), {})
    return str(caught.value).splitlines()[0].split(": ", 1)[1]


WRONG: dict[str, tuple[Callable[[Stream], Stream], str]] = {
    "a key that is not there": (
        lambda orders: orders.deduplicate("idd", name="x"),
        "there is no column 'idd'. Did you mean 'id'?",
    ),
    "a key that is an expression": (
        lambda orders: orders.window(MINUTE).top_n(1, by=[pl.col("id")], name="x"),  # type: ignore[list-item]
        'col("id") is no name of a column',
    ),
    "a key twice": (
        lambda orders: orders.deduplicate("id", "id", name="x"),
        "the key names column 'id' twice",
    ),
    "a list as a key": (
        lambda orders: orders.deduplicate("tags", name="x"),
        "column 'tags' is List[String] and can't be a key",
    ),
    "deduplicate without a key": (lambda orders: orders.deduplicate(name="x"), "deduplicate needs a key"),
    "order by a list": (
        lambda orders: orders.window(MINUTE).top_n(1, by="tags", name="x"),
        "column 'tags' is List[String], which has no order",
    ),
    "no rows": (
        lambda orders: orders.window(MINUTE).top_n(0, by="id", name="x"),
        "the first 0 rows of each key are none",
    ),
    "sessions ranked": (
        lambda orders: orders.window(ps.session("1m")).top_n(1, by="id", name="x"),
        "a top-n needs windows of a fixed size; sessions can only be aggregated",
    ),
    "sessions joined": (
        lambda orders: orders.join(orders.select("id", "at"), on="id", window=ps.session("1m"), name="x"),
        "a join needs windows of a fixed size; sessions can only be aggregated",
    ),
    "no aggregates": (lambda orders: orders.window(MINUTE).agg(name="x"), ".agg(...) has no aggregates"),
    "an aggregate of a key's name": (
        lambda orders: orders.group_by("id").window(MINUTE).agg(id=pl.len(), name="x"),
        "the aggregate 'id' has the name of a key",
    ),
    "an aggregate that is text": (
        lambda orders: orders.window(MINUTE).agg(n="id", name="x"),
        "the aggregate 'n' is 'id', not a Polars expression",
    ),
    "an aggregate that does not aggregate": (
        lambda orders: orders.window(MINUTE).agg(n=pl.col("id") * 2, name="x"),
        "the aggregate 'n' gives many values for each group, not one: [(col(\"id\")) * (dyn int: 2)]",
    ),
    "an aggregate of a list column": (
        lambda orders: orders.window(MINUTE).agg(n=pl.col("tags"), name="x"),
        "the aggregate 'n' gives many values for each group, not one: col(\"tags\")",
    ),
    "an aggregate of a wrong column": (
        lambda orders: orders.window(MINUTE).agg(n=pl.col("amuont").sum(), name="x"),
        "there is no column 'amuont' for the aggregate 'n'. Did you mean 'amount'?",
    ),
    "an aggregate of text": (
        lambda orders: orders.window(MINUTE).agg(n=pl.col("country").sum(), name="x"),
        "the aggregate 'n' does not fit: `sum` operation not supported for dtype `str`",
    ),
    "window columns as a key": (
        lambda orders: (
            orders.window(MINUTE).agg(n=pl.len()).group_by("window_start").window(MINUTE).agg(n=pl.len(), name="x")
        ),
        "the window gives its results a column 'window_start', and there is one already",
    ),
    "windows ranked in windows": (
        lambda orders: (
            orders.window(MINUTE).agg(n=pl.len()).select("n", "window_end").window(MINUTE).top_n(1, by="n", name="x")
        ),
        "the window gives its results a column 'window_end', and there is one already",
    ),
    "running aggregates without a key": (
        lambda orders: orders.group_by().agg(n=pl.len(), name="x"),
        "running aggregates need a key",
    ),
    "top without a key": (
        lambda orders: orders.group_by().top_n(1, by="id", name="x"),
        "the first rows as they stand need a key",
    ),
    "top without a rank": (
        lambda orders: orders.group_by("id").top_n(2, by="id", rank=None, name="x"),
        "the first 2 rows of a key can't be told apart without a rank",
    ),
    "a rank over a column": (
        lambda orders: orders.group_by("id").top_n(2, by="id", rank="amount", name="x"),
        "the rank would take the place of column 'amount'",
    ),
    "process without a key": (
        lambda orders: orders.group_by().process(handler, schema={"a": int}, state={"n": int}, name="x"),
        "process needs a key",
    ),
    "process without a function": (
        lambda orders: orders.group_by("id").process("handler", schema={"a": int}, state={"n": int}, name="x"),
        "the handler of process is 'handler', which can't be called",
    ),
    "process with a wrong state": (
        lambda orders: orders.group_by("id").process(handler, schema={"a": int}, state={"n": "Int65"}, name="x"),
        "column 'n': there is no type 'Int65'. Did you mean 'Int64'?",
    ),
    "a column that is the engine's": (
        lambda orders: orders.select("id", "at", __time=pl.col("id")).deduplicate("id", name="x"),
        "column '__time' begins with '__', which is kept for Penstock",
    ),
    "joined on nothing": (
        lambda orders: orders.join(orders.select("id", "at"), on=[], name="x"),
        "the join has no key",
    ),
    "joined on other types": (
        lambda orders: orders.join(orders.select("id", "at"), on={"country": "id"}, name="x"),
        "the join compares 'country' of 'orders', which is String, with 'id' of 'WRONG.select', which is Int64",
    ),
    "joined backwards": (
        lambda orders: orders.join(orders.select("id", "at"), on="id", within=("1h", "-1h"), name="x"),
        "within=('1h', '-1h') ends before it begins",
    ),
    "joined in full by time": (
        lambda orders: orders.join(orders.select("id", "at"), on="id", how="full", name="x"),
        'a join of two streams by time distance can\'t be "full"',
    ),
    "left joined without an end": (
        lambda orders: orders.join(orders.select("id", "at"), on="id", how="left", name="x"),
        "a left join without an end never knows that a row has no partner",
    ),
    "two columns of one name after a join": (
        lambda orders: orders.with_columns(at_right=1).join(orders.select("id", "at"), on="id", name="x"),
        "column 'at' of 'WRONG.select' would be 'at_right' after the join, which is there already",
    ),
}


@pytest.mark.parametrize(("wrong", "expected"), WRONG.values(), ids=WRONG)
def test_keyed_steps_are_held_to_their_columns(wrong: Callable[[Stream], Stream], expected: str) -> None:
    """Each mistake of a keyed step is one clear sentence."""
    _, orders = shop()
    found = first_line(wrong(orders), "id")

    assert found == expected


def test_a_column_missing_on_one_side_of_a_join() -> None:
    """The side is named, and its columns are listed."""
    flow, orders = shop()
    payments = flow.read(ps.topic("payments", schema={"order_id": int, "paid_at": pl.Datetime}), event_time="paid_at")
    both = orders.join(payments, on="id", within=("0s", "1h"))

    assert told(both) == (
        "flow shop, step both: there is no column 'id' in 'payments'.\n"
        '  at:      FILE:N: both = orders.join(payments, on="id", within=("0s", "1h"))\n'
        "  columns: order_id Int64, paid_at Datetime[us]"
    )


def test_a_join_by_time_needs_the_time_of_both() -> None:
    """The side without event time is named."""
    flow, orders = shop()
    names = flow.read(ps.topic("names", schema={"id": int, "name": str}))
    both = orders.join(names, on="id", within=("0s", "1h"))

    assert told(both).splitlines()[0] == (
        "flow shop, step both: a join with within=(...) needs the event time of each row of 'names', but "
        "step 'names' (FILE:N) reads without one: add event_time=\"...\" to its read(...)"
    )


def test_the_columns_of_joins() -> None:
    """Left, then right without its keys, with the suffix on a clash; semi and anti keep the left alone."""
    flow, orders = shop({"id": int, "a": int, "at": pl.Datetime})
    other = flow.read(ps.topic("other", schema={"key": int, "a": str, "b": int, "at": pl.Datetime}), event_time="at")
    names = flow.table(ps.table("names", schema={"id": int, "a": float}), key="id")
    near = orders.join(other, on={"id": "key"}, within=("-1h", "0s"), suffix="_2")
    window = orders.join(other, on={"id": "key"}, window=MINUTE, how="full")
    looked = orders.join(names, on="id", how="inner")
    semi = orders.join(names, on="id", how="semi")
    anti = orders.join(other, on={"id": "key"}, window=MINUTE, how="anti")
    ever = orders.join(other, on={"id": "key"})
    steps = analysed(near, window, looked, semi, anti, ever).steps
    times = {"window_start": pl.Datetime("us"), "window_end": pl.Datetime("us")}
    left = {"id": pl.Int64, "a": pl.Int64, "at": pl.Datetime("us")}

    assert steps["near"].schema == {**left, "a_2": pl.String, "b": pl.Int64, "at_2": pl.Datetime("us")}
    assert steps["window"].schema == {
        **left,
        "a_right": pl.String,
        "b": pl.Int64,
        "at_right": pl.Datetime("us"),
        **times,
    }
    assert steps["looked"].schema == {**left, "a_right": pl.Float64}
    assert steps["semi"].schema == left
    assert steps["anti"].schema == {**left, **times}
    assert [steps[name].event_time for name in ("near", "window", "looked", "semi", "ever")] == [
        "at",
        "window_end",
        "at",
        "at",
        "at",
    ]


def test_a_lookup_is_not_full() -> None:
    """A table's rows have no time at which they could go on alone."""
    flow, orders = shop()
    names = flow.table(ps.table("names", schema={"id": int}), key="id")

    assert "a join with a table can't be full" in told(orders.join(names, on="id", how="full", name="x"))


def test_a_union_names_the_column_that_differs() -> None:
    """Missing, extra and other types are told by stream, with what there is."""
    _, orders = shop()
    one = orders.select("id", "at", "amount")
    two = orders.select("at", "country", id=pl.col("id").cast(pl.Int32))
    both = one.union(two)

    assert told(both) == (
        "flow shop: 3 faults\n"
        "  step both: column 'id' is Int64 in 'one' but Int32 in 'two'\n"
        "    at:      FILE:N: both = one.union(two)\n"
        '    next:    cast one of them: .with_columns(pl.col("id").cast(pl.Int64))\n'
        "  step both: column 'amount' of 'one' is not in 'two', which has: "
        "at Datetime[us], country String, id Int32\n"
        "    at:      FILE:N: both = one.union(two)\n"
        "    next:    give all streams of a union the same columns with .select(...)\n"
        "  step both: column 'country' of 'two' is not in 'one', which has: "
        "id Int64, at Datetime[us], amount Float64\n"
        "    at:      FILE:N: both = one.union(two)\n"
        "    next:    give all streams of a union the same columns with .select(...)"
    )


def test_a_key_of_a_written_table_is_a_column() -> None:
    """A key that is not there is told with the columns there are."""
    flow, orders = shop()
    orders.write(ps.table("t", key="order_id"))
    with pytest.raises(ps.PenstockError) as caught:
        analyse(flow.build(), {})

    assert str(caught.value).startswith(
        "flow shop, step write_t: there is no column 'order_id', which is a key of table 't'."
    )
    assert f"  columns: {COLUMNS}\n" in f"{caught.value}\n"


def test_updating_results_are_written_by_their_key() -> None:
    """Another key would let one result take the place of another."""
    _, orders = shop()
    counts = orders.group_by("country", "status").agg(n=pl.len())

    assert first_line(counts, "country") == (
        "table 'end' has the key ['country'], but its rows are named by ['country', 'status']: "
        "one row would take the place of another"
    )


def test_the_order_of_a_key_does_not_matter() -> None:
    """The columns of a key are a set."""
    flow, orders = shop()
    counts = orders.group_by("country", "status").agg(n=pl.len())
    counts.write(ps.table("t", key=["status", "country"]))

    assert analyse(flow.build(), {}).steps["write_t"].key == ("country", "status")


def test_the_key_of_updating_results_stays() -> None:
    """A step that drops or changes the column that names a row is refused where it does so."""
    _, orders = shop()
    counts = orders.group_by("country").agg(n=pl.len())

    assert first_line(counts.select("n", name="x"), "n") == (
        "column 'country' names the rows of the updating results before and has to stay"
    )


def test_a_key_is_not_changed() -> None:
    """Two keys could become one."""
    _, orders = shop()
    counts = orders.group_by("country").agg(n=pl.len())

    assert first_line(counts.with_columns(pl.col("country").str.to_lowercase(), name="x"), "country") == (
        "column 'country' names the rows of updating results and can't be changed"
    )


def test_a_declared_table_is_what_is_written() -> None:
    """Columns and types of a written dataset's schema are held."""
    flow, orders = shop()
    small = orders.select("id", "amount", "country")
    small.write(ps.table("t", schema={"id": int, "amount": int, "when": pl.Datetime}))
    with pytest.raises(ps.PenstockError) as caught:
        analyse(flow.build(), {})
    lines = [line[7:] for line in str(caught.value).splitlines() if line.startswith("  step ")]
    declared = "id Int64, amount Int64, when Datetime[us]"

    assert lines == [
        "write_t: column 'amount' is Float64, but table 't' declares Int64",
        "write_t: there is no column 'when', which table 't' declares.",
        f"write_t: column 'country' is not in the declared columns of table 't': {declared}",
    ]


def test_a_declared_table_that_fits() -> None:
    """The same columns in another order are right."""
    flow, orders = shop()
    orders.select("id", "amount").write(ps.table("t", schema={"amount": float, "id": int}))

    assert analyse(flow.build(), {}).steps["write_t"].schema == {"id": pl.Int64, "amount": pl.Float64}


def test_rows_behind_a_wrong_window_are_still_known() -> None:
    """Late rows look like the window's input, so that what follows them is checked too."""
    _, orders = shop()
    counts = orders.window(MINUTE).agg(n=pl.col("nobody").sum())
    late = counts.late_rows().filter(pl.col("nothing") > 1, name="late")
    message = told(counts, late)

    assert "step counts: there is no column 'nobody'" in message
    assert "step late: there is no column 'nothing'" in message


def test_a_definition_may_be_made_by_hand() -> None:
    """Steps without a location are told without one."""
    steps = (
        Step("rows", ops.Read(ps.topic("rows", schema=ORDERS))),
        Step("kept", ops.Filter("x"), ("rows",)),
        Step("out", ops.Write(ps.console()), ("kept",)),
    )
    with pytest.raises(ps.PenstockError) as caught:
        analyse(Definition("f", steps), {})

    assert str(caught.value) == (
        "flow f, step kept: the condition is 'x', not a Polars expression\n"
        '  next:  write it with pl.col, e.g. pl.col("amount") > 0'
    )


def test_a_python_function_may_aggregate() -> None:
    """An aggregate by a Python function is known by the type it declares."""
    _, orders = shop()
    total = pl.col("amount").map_batches(lambda series: series.sum(), return_dtype=pl.Float64, returns_scalar=True)

    assert schema_of(orders.window(MINUTE).agg(total=total, name="x"))["total"] == pl.Float64
