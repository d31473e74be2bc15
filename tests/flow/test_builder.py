"""The builder: each call is one frozen step, and what can be refused at once is."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.errors import DefinitionError
from penstock.flow import ops

ROWS = ps.topic("rows")


def test_a_definition_is_a_frozen_value() -> None:
    """What `build` gives has all options as values and can't be changed."""
    flow = ps.Flow(
        "f",
        owner="payments",
        description="d",
        freshness="30s",
        align="1m",
        epoch_rows=10,
        epoch_ms=20,
        labels={"tier": "1"},
    )
    flow.read(ROWS).write(ps.console())
    definition = flow.build()

    assert (definition.owner, definition.description, definition.freshness_us) == ("payments", "d", 30_000_000)
    assert (definition.align_us, definition.epoch_rows, definition.epoch_ms) == (60_000_000, 10, 20)
    assert definition.labels == {"tier": "1"}
    assert definition.file == __file__
    with pytest.raises(FrozenInstanceError):
        definition.name = "g"  # type: ignore[misc]


def test_a_definition_finds_its_steps() -> None:
    """By name, by what they do, and by whose rows they take."""
    flow = ps.Flow("f")
    rows = flow.read(ROWS)
    rows.filter(pl.col("a") > 1, name="kept").write(ps.console(), name="end")
    definition = flow.build()

    assert definition.step("kept").inputs == ("rows",)
    assert [step.name for step in definition.reads] == ["rows"]
    assert [step.name for step in definition.writes] == ["end"]
    assert [step.name for step in definition.consumers("rows")] == ["kept"]
    with pytest.raises(KeyError):
        definition.step("nobody")


def test_a_read_holds_its_times() -> None:
    """Event time, lateness and idleness are microseconds; a table is marked as one."""
    flow = ps.Flow("f")
    rows = flow.read(ROWS, event_time="at", lateness="10s", idle_after="1m")
    names = flow.table(ps.table("names"), key="id")
    rows.join(names, on="id", name="named").write(ps.console())
    read, table = (step.operation for step in flow.build().reads)

    assert isinstance(read, ops.Read)
    assert isinstance(table, ops.Read)
    assert (read.event_time, read.lateness_us, read.idle_us, read.table) == ("at", 10_000_000, 60_000_000, False)
    assert (table.event_time, table.idle_us, table.table) == (None, None, True)


def test_expressions_are_held_in_order() -> None:
    """Positional expressions come first, keywords after them with their names."""
    flow = ps.Flow("f")
    expression = pl.col("a") + 1
    flow.read(ROWS).select("a", "b", c=expression).with_columns(d=1).sql("select * from self").write(ps.console())
    select, added, sql = (step.operation for step in flow.build().steps[1:4])

    assert isinstance(select, ops.Select)
    assert select.expressions == ("a", "b", ("c", expression))
    assert isinstance(added, ops.WithColumns)
    assert added.expressions == (("d", 1),)
    assert isinstance(sql, ops.Sql)
    assert sql.query == "select * from self"


def test_the_three_joins() -> None:
    """A table gives a lookup, bounds an interval join, a window a window join; keys by one name or by two."""
    flow = ps.Flow("f")
    left, right = flow.read(ROWS, event_time="at"), flow.read(ps.topic("others"), event_time="at")
    names = flow.table(ps.table("names"), key=["code"])
    looked_up = left.join(names, on={"carrier": "code"})
    near = left.join(right, on=["id", "day"], within=("-1h", "0s"), how="left")
    ever = left.join(right, on="id", suffix="_2")
    together = left.join(right, on="id", window=ps.tumbling("1m"))
    for stream in (looked_up, near, ever, together):
        stream.write(ps.console())
    definition = flow.build()
    lookup, interval, unbounded, window = (
        definition.step(name).operation for name in ("looked_up", "near", "ever", "together")
    )

    assert isinstance(lookup, ops.Lookup)
    assert (lookup.on, lookup.how) == ((("carrier", "code"),), "left")
    assert isinstance(interval, ops.IntervalJoin)
    assert interval.on == (("id", "id"), ("day", "day"))
    assert (interval.lower_us, interval.upper_us, interval.how) == (-3_600_000_000, 0, "left")
    assert isinstance(unbounded, ops.IntervalJoin)
    assert (unbounded.lower_us, unbounded.upper_us, unbounded.how, unbounded.suffix) == (None, None, "inner", "_2")
    assert isinstance(window, ops.WindowJoin)
    assert (window.window, window.how) == (ps.tumbling("1m"), "inner")


def test_a_lookup_takes_the_whole_key() -> None:
    """A join on other columns than the table's key is refused at once."""
    flow = ps.Flow("f")
    names = flow.table(ps.table("names"), key=["a", "b"])

    with pytest.raises(DefinitionError) as caught:
        flow.read(ROWS).join(names, on="a")

    assert str(caught.value) == (
        "flow f: the table names has the key ['a', 'b'], the join is on [('a', 'a')]\n"
        "  next:  join on all key columns of the table, as {own column: key column}"
    )


def test_orders_have_a_direction_each() -> None:
    """One flag is for all columns; several must be as many as the columns."""
    flow = ps.Flow("f")
    by_key = flow.read(ROWS).group_by("a")
    best = by_key.top_n(3, by=["b", "c"], descending=[True, False], rank="place", ttl="1d")
    best.write(ps.table("best", key=["a", "place"]))
    operation = flow.build().step("best").operation

    assert isinstance(operation, ops.TopN)
    assert (operation.by, operation.descending) == (("b", "c"), (True, False))
    assert (operation.rank, operation.ttl_us) == ("place", 86_400_000_000)
    with pytest.raises(DefinitionError, match="2 order columns but 1 directions"):
        by_key.top_n(3, by=["b", "c"], descending=[True])


def test_latest_is_the_first_of_one_without_a_rank() -> None:
    """`latest` is a top-1 from the last on, named by the key alone."""
    flow = ps.Flow("f")
    newest = flow.read(ROWS).group_by("a").latest(by="b")
    newest.write(ps.table("newest", key="a"))
    operation = flow.build().step("newest").operation

    assert isinstance(operation, ops.TopN)
    assert (operation.n, operation.by, operation.descending, operation.rank) == (1, ("b",), (True,), None)


def test_windows_with_and_without_a_key() -> None:
    """`group_by(...).window(...)` and `window(...)` aggregate and rank; a name may be given early or late."""
    flow = ps.Flow("f")
    rows = flow.read(ROWS, event_time="at")
    rows.group_by("a", name="early").window(ps.tumbling("1m")).agg(n=pl.len()).write(ps.console())
    rows.window(ps.session("1m")).agg(n=pl.len(), name="late").write(ps.console())
    rows.key_by("a").window(ps.tumbling("1m")).top_n(2, by="b", ties=True, name="top").write(ps.console())
    definition = flow.build()
    keyed, whole, top = (definition.step(name).operation for name in ("early", "late", "top"))

    assert isinstance(keyed, ops.WindowAggregate)
    assert keyed.keys == ("a",)
    assert isinstance(whole, ops.WindowAggregate)
    assert whole.keys == ()
    assert isinstance(top, ops.WindowTop)
    assert (top.keys, top.n, top.ties, top.descending) == (("a",), 2, True, (True,))


def test_state_has_its_times() -> None:
    """Deduplication, running aggregates and process hold how long they remember."""

    def handler(context: Any, rows: Any) -> Any:  # noqa: ARG001
        return rows

    flow = ps.Flow("f")
    rows = flow.read(ROWS, event_time="at")
    once = rows.deduplicate("id", within="1h")
    once.write(ps.console())
    counts = rows.group_by("a").agg(n=pl.len(), ttl="2h")
    counts.write(ps.table("counts", key="a"))
    handled = rows.group_by("a").process(handler, schema={"a": int}, state={"n": int}, ttl="3h")
    handled.write(ps.console())
    definition = flow.build()
    deduplicate, aggregate, process = (definition.step(name).operation for name in ("once", "counts", "handled"))

    assert isinstance(deduplicate, ops.Deduplicate)
    assert (deduplicate.keys, deduplicate.within_us) == (("id",), 3_600_000_000)
    assert isinstance(aggregate, ops.Aggregate)
    assert aggregate.ttl_us == 7_200_000_000
    assert isinstance(process, ops.Process)
    assert (process.ttl_us, process.state) == (10_800_000_000, {"n": int})


def test_late_rows_and_functions_are_steps() -> None:
    """Late rows, map_batches, map and flat_map each are one step that takes the stream before."""
    flow = ps.Flow("f")
    counts = flow.read(ROWS, event_time="at").window(ps.tumbling("1m")).agg(n=pl.len())
    counts.write(ps.console())
    counts.late_rows(name="late").map_batches(len).flat_map(str).write(ps.console())
    definition = flow.build()

    assert definition.step("late").inputs == ("counts",)
    assert [step.operation.kind for step in definition.steps[3:6]] == ["late", "map_batches", "flat_map"]


def test_streams_of_two_flows_do_not_meet() -> None:
    """Rows of another flow are refused where they are used."""
    one, other = ps.Flow("one"), ps.Flow("other")
    rows = one.read(ROWS)

    with pytest.raises(DefinitionError) as caught:
        other.read(ROWS).union(rows)

    assert str(caught.value) == (
        "flow other: the step union takes rows of another flow than 'other'\n"
        "  next:  read the dataset in this flow, or write it to a table that both flows use"
    )


def test_checks_are_values() -> None:
    """Each expectation has a kind, a name for the ledger, columns and arguments."""
    predicate = pl.col("a") > 0
    checks = (
        ps.not_null("a", "b"),
        ps.unique("a"),
        ps.between("a", 1, 2),
        ps.one_of("a", ["x", "y"]),
        ps.matches("a", "^x"),
        ps.that(predicate, name="positive"),
    )

    assert [(check.kind, check.name, check.columns) for check in checks] == [
        ("not_null", "not_null(a, b)", ("a", "b")),
        ("unique", "unique(a)", ("a",)),
        ("between", "between(a, 1, 2)", ("a",)),
        ("one_of", "one_of(a)", ("a",)),
        ("matches", "matches(a, ^x)", ("a",)),
        ("that", "positive", ()),
    ]
    assert [check.arguments for check in checks[2:5]] == [(1, 2), (("x", "y"),), ("^x",)]
