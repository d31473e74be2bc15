"""The columns of every step are known before a row is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import StepFacts, analyse
from penstock.analysis.steps import RULES
from penstock.errors import SchemaError
from penstock.flow import Window, ops
from tests.analysis.flows import ORDERS, analysed, schema_of, shop, told


class Priced(TypedDict):
    """A row as `map` annotates it."""

    id: int
    price: float


@dataclass
class Tag:
    """A row as a dataclass."""

    id: int
    tag: str


def price(row: dict[str, Any]) -> Priced | None:
    """A row of other columns, or none."""
    return Priced(id=row["id"], price=row["amount"])


def tags(row: dict[str, Any]) -> Iterator[Tag]:
    """Rows of other columns."""
    yield from (Tag(row["id"], tag) for tag in row["tags"])


def same(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the same columns."""
    return row


def nothing_said(row, other=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001
    """A function without annotations."""
    return row


def rows_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the same columns."""
    return [row]


class Change:
    """A callable whose annotation stands on its method."""

    def __call__(self, row: dict[str, Any]) -> Priced:
        """A row of other columns."""
        return Priced(id=row["id"], price=0.0)


def test_every_operation_has_a_rule() -> None:
    """An operation that is added without saying what it does to the columns turns this red."""
    operations = {getattr(ops, name) for name in ops.__all__ if isinstance(getattr(ops, name), type)}

    assert set(RULES) == operations - {ops.Operation, ops.Read}


def test_the_first_example() -> None:
    """The flow of the design: columns, event time, key and windows of each step."""
    flow, orders = shop()
    paid = orders.filter(pl.col("status") == "paid")
    clean = paid.map_batches(lambda frame: frame.drop("tags"), name="clean")
    vat = clean.sql("select *, amount * 0.21 as vat from self")
    per_minute = vat.group_by("country").window(ps.tumbling("1m")).agg(revenue=pl.col("amount").sum(), orders=pl.len())
    per_minute.expect(ps.not_null("country"), ps.unique("country", "window_start"))
    per_minute.write(ps.table("revenue_by_country", key=["country", "window_start"]))
    steps = analyse(flow.build(), {"orders": ORDERS}).steps

    assert steps["orders"] == StepFacts(ORDERS, "at")
    assert steps["paid"] == steps["orders"]
    assert "tags" not in steps["clean"].schema
    assert steps["vat"].schema["vat"] == pl.Float64
    assert steps["vat"].event_time == "at"
    assert steps["per_minute"] == StepFacts(
        pl.Schema(
            {
                "country": pl.String(),
                "window_start": pl.Datetime("us"),
                "window_end": pl.Datetime("us"),
                "revenue": pl.Float64(),
                "orders": pl.Int64(),
            }
        ),
        "window_end",
        windowed=True,
    )
    assert steps["write_revenue_by_country"] == steps["per_minute"]


def test_the_given_schema_is_before_the_declared_one() -> None:
    """What the source says of itself wins; without it the declaration has to do."""
    flow, orders = shop({"id": int}, event_time=None)
    orders.write(ps.console())
    definition = flow.build()

    assert analyse(definition, {}).steps["orders"].schema == {"id": pl.Int64}
    assert analyse(definition, {"orders": pl.Schema({"id": pl.Int8})}).steps["orders"].schema == {"id": pl.Int8}


def test_processing_time_is_a_column() -> None:
    """A read by processing time gives its rows a column of that name, which is their event time."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("rows", schema={"id": int}), event_time=ps.PROCESSING_TIME)
    facts = analysed(rows).steps["rows"]

    assert facts.schema == {"id": pl.Int64, "processing_time": pl.Datetime("us")}
    assert facts.event_time == "processing_time"


def test_with_columns_and_select() -> None:
    """Names, expressions, lists of both, values under a keyword, and several outputs of one expression."""
    _, orders = shop()
    added = orders.with_columns([pl.col("amount") * 2], half=pl.col("amount") / 2, one=1, word="x", none=None)
    chosen = added.select(
        "id", ["country"], pl.col("half").alias("h"), pl.col("amount", "one") * 2, 5, w=pl.col("word")
    )

    assert schema_of(chosen) == {
        "id": pl.Int64,
        "country": pl.String,
        "h": pl.Float64,
        "amount": pl.Float64,
        "one": pl.Int32,
        "literal": pl.Int32,
        "w": pl.String,
    }


def test_event_time_follows_a_rename() -> None:
    """A column that is only renamed by select is the event time under its new name."""
    _, orders = shop()
    renamed = orders.select("id", moment=pl.col("at"))
    both = orders.select(pl.col("at").alias("moment"), "at")
    analysis = analysed(renamed, both)

    assert analysis.steps["renamed"].event_time == "moment"
    assert analysis.steps["both"].event_time == "at"


def test_selections_keep_event_time() -> None:
    """`pl.all()` and lists of columns are the columns themselves."""
    _, orders = shop()
    everything = orders.select(pl.all())
    some = orders.select(pl.col("id", "at"))
    analysis = analysed(everything, some)

    assert [analysis.steps[name].event_time for name in ("everything", "some")] == ["at", "at"]


def test_functions_say_what_they_give() -> None:
    """Declared schema, annotation, an empty frame, or the same as before."""
    _, orders = shop()

    priced = {"id": pl.Int64, "price": pl.Float64}
    assert schema_of(orders.map(price)) == priced
    assert schema_of(shop()[1].map(Change())) == priced
    assert schema_of(shop()[1].map(same)) == ORDERS
    assert schema_of(shop()[1].map(nothing_said)) == ORDERS
    assert schema_of(shop()[1].map(lambda row: row, schema={"x": int})) == {"x": pl.Int64}
    assert schema_of(shop()[1].flat_map(tags)) == {"id": pl.Int64, "tag": pl.String}
    assert schema_of(shop()[1].flat_map(rows_of)) == ORDERS
    assert schema_of(shop()[1].map_batches(lambda frame: frame.lazy().select("id"))) == {"id": pl.Int64}
    assert schema_of(shop()[1].map_batches(len, schema=Tag)) == {"id": pl.Int64, "tag": pl.String}


def test_counts_are_as_wide_as_a_stream() -> None:
    """Counts are Int64, other aggregates keep their types; a UInt32 column of the author's stays UInt32."""
    _, orders = shop({"k": pl.String, "flag": pl.Boolean, "small": pl.UInt32, "n": pl.Int64}, event_time=None)
    counts = orders.group_by("k").agg(
        rows=pl.len(),
        flags=pl.col("flag").sum(),
        kinds=pl.col("n").n_unique(),
        values=pl.col("n").count(),
        small=pl.col("small").max(),
        all=pl.col("n").implode(),
        first=pl.col("n").first(),
        mean=pl.col("n").mean(),
    )

    assert schema_of_updating(counts, "k") == {
        "k": pl.String,
        "rows": pl.Int64,
        "flags": pl.Int64,
        "kinds": pl.Int64,
        "values": pl.Int64,
        "small": pl.UInt32,
        "all": pl.List(pl.Int64),
        "first": pl.Int64,
        "mean": pl.Float64,
    }


def schema_of_updating(stream: ps.Stream, *key: str) -> dict[str, pl.DataType]:
    """The columns of updating results, written to a table with their key."""
    stream.write(ps.table("out", key=key))
    return dict(analyse(stream.flow.build(), {}).steps["write_out"].schema)


def test_a_list_column_may_be_an_aggregate() -> None:
    """The first list of a group is one value, though its type is a list."""
    _, orders = shop()
    first = orders.group_by("country").agg(tags=pl.col("tags").first())

    assert schema_of_updating(first, "country") == {"country": pl.String, "tags": pl.List(pl.String)}


def test_running_aggregates_are_updating() -> None:
    """They are named by their keys and belong to no moment."""
    flow, orders = shop()
    counts = orders.group_by("country").agg(n=pl.len())
    more = counts.with_columns(twice=pl.col("n") * 2, country=pl.col("country"))
    more.select("n", nation=pl.col("country")).filter(pl.col("n") > 1).write(ps.table("t", key="nation"))
    steps = analyse(flow.build(), {}).steps

    assert (steps["counts"].key, steps["counts"].updating, steps["counts"].event_time) == (("country",), True, None)
    assert (steps["more"].key, steps["write_t"].key) == (("country",), ("nation",))


def test_top_and_latest_are_named_by_key_and_rank() -> None:
    """Top-n adds the rank to columns and key; latest is named by the key alone; both keep the event time."""
    flow, orders = shop()
    best = orders.group_by("country").top_n(3, by="amount")
    best.write(ps.table("best", key=["country", "rank"]))
    newest = orders.group_by("country").latest()
    newest.write(ps.table("newest", key="country"))
    steps = analyse(flow.build(), {}).steps

    assert steps["best"] == StepFacts(
        pl.Schema({**ORDERS, "rank": pl.Int64()}), "at", ("country", "rank"), updating=True
    )
    assert steps["newest"] == StepFacts(ORDERS, "at", ("country",), updating=True)


@pytest.mark.parametrize("window", [ps.tumbling("1m"), ps.sliding("2m", "1m"), ps.session("1m")])
def test_windows_keep_the_time_zone(window: Window) -> None:
    """Window columns are microseconds in the zone of the event time."""
    _, orders = shop({"k": int, "at": pl.Datetime("ms", "Europe/Berlin")})
    counts = orders.window(window).agg(n=pl.len())

    assert schema_of(counts) == {
        "window_start": pl.Datetime("us", "Europe/Berlin"),
        "window_end": pl.Datetime("us", "Europe/Berlin"),
        "n": pl.Int64,
    }


def test_window_top_keeps_the_rows() -> None:
    """The rows of each window with all their columns, and the window."""
    _, orders = shop()
    best = orders.group_by("country").window(ps.tumbling("1m")).top_n(2, by="amount")
    facts = analysed(best).steps["best"]

    assert facts.schema == {**ORDERS, "window_start": pl.Datetime("us"), "window_end": pl.Datetime("us")}
    assert (facts.event_time, facts.windowed, facts.updating) == ("window_end", True, False)


def test_late_rows_look_like_the_rows_that_went_in() -> None:
    """What a window refuses has the columns and the event time of its input, even where the window itself is wrong."""
    _, orders = shop()
    kept = orders.select("id", "at")
    counts = kept.window(ps.tumbling("1m")).agg(n=pl.len())
    analysis = analysed(counts, counts.late_rows(name="late"))

    assert analysis.steps["late"] == analysis.steps["kept"]


def test_deduplicate_expect_and_write_change_nothing() -> None:
    """They let rows pass as they are."""
    _, orders = shop()
    once = orders.deduplicate("id", within="1h")
    checked = once.expect(ps.not_null("id"))
    analysis = analysed(checked)

    assert analysis.steps["write_console"] == analysis.steps["checked"] == analysis.steps["once"]
    assert analysis.steps["once"] == analysis.steps["orders"]


def test_process_gives_what_it_declares() -> None:
    """Event time stays where the declared columns have it as a time."""

    def handler(context: Any, rows: Any) -> Any:  # noqa: ARG001
        return rows

    _, orders = shop()
    by_country = orders.group_by("country")
    timed = by_country.process(handler, schema={"n": int, "at": pl.Datetime("us")}, state={"n": int}, name="timed")
    plain = by_country.process(handler, schema={"n": int}, state={}, name="plain")
    analysis = analysed(timed, plain)

    assert analysis.steps["timed"] == StepFacts(pl.Schema({"n": pl.Int64(), "at": pl.Datetime("us")}), "at")
    assert analysis.steps["plain"].event_time is None
    assert "step 'plain' (process" in analysis.steps["plain"].time_lost


def test_a_union_has_the_columns_of_its_streams() -> None:
    """Columns of the first; event time where all have the same."""
    _, orders = shop()
    small, large = orders.branch(pl.col("amount") < 10)
    both = small.union(large.select(pl.exclude("at"), pl.col("at")))
    renamed = small.select("id", "at").union(large.select("id", at=pl.col("at")), name="renamed")
    analysis = analysed(both, renamed)

    assert analysis.steps["both"] == analysis.steps["orders"]
    assert analysis.steps["renamed"].event_time == "at"


def test_streams_of_other_event_times_have_none_together() -> None:
    """A union of streams with different event-time columns has no event time, and says so to the window after it."""
    flow, _ = shop()
    columns = {"a": pl.Datetime("us"), "b": pl.Datetime("us")}
    one = flow.read(ps.topic("one", schema=columns), event_time="a")
    two = flow.read(ps.topic("two", schema=columns), event_time="b")
    both = one.union(two)
    counts = both.window(ps.tumbling("1m")).agg(n=pl.len())

    assert told(counts).startswith(
        "flow shop, step counts: the window (tumbling 1m) needs the event time of each row, but the streams of step "
        "'both' (FILE:N) have different event-time columns: 'one' has 'a', 'two' has 'b'\n"
    )


def test_windows_stay_windows_while_their_columns_stay() -> None:
    """Row-wise steps keep the mark of windowed results as long as both columns are there."""
    _, orders = shop()
    counts = orders.window(ps.tumbling("1m")).agg(n=pl.len())
    kept = counts.filter(pl.col("n") > 1)
    cut = counts.select("n", "window_end")
    analysis = analysed(kept, cut)

    assert [analysis.steps[name].windowed for name in ("counts", "kept", "cut")] == [True, True, False]
    assert analysis.steps["cut"].event_time == "window_end"


def test_nothing_is_run_on_a_wrong_definition_of_rows() -> None:
    """A declared schema that means nothing is told like any other fault."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("rows", schema={"id": "Int65"}))
    rows.write(ps.console())

    with pytest.raises(SchemaError, match="Int65"):
        analyse(flow.build(), {})
