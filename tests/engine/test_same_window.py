"""Results of windows are grouped once more by the windows they have, as a batch over all rows would."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.analysis import analyse
from penstock.errors import DefinitionError, SchemaError
from penstock.testing import run

START = datetime(2026, 3, 2, 9)  # noqa: DTZ001 - event times without a zone
SCHEMA = {"at": datetime, "item": str, "shop": str}
ROWS = st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc"), st.sampled_from("xy")), max_size=30)


def frame(rows: list[tuple[int, str, str]]) -> pl.DataFrame:
    """Rows as a frame; the first value is the second of the event time."""
    timed = [(START + timedelta(seconds=second), item, shop) for second, item, shop in rows]
    return pl.DataFrame(timed, schema={"at": pl.Datetime("us"), "item": pl.String, "shop": pl.String}, orient="row")


def sold(window: object) -> tuple[ps.Flow, ps.Stream]:
    """A flow that counts what each shop sold of each item by window; nothing is late."""
    flow = ps.Flow("sales")
    sales = flow.read(ps.topic("sales", schema=SCHEMA), event_time="at", lateness="1m")
    counts = sales.group_by("item", "shop").window(window).agg(n=pl.len())  # type: ignore[arg-type]
    return flow, counts


WINDOWS = {"tumbling": ps.tumbling("10s"), "sliding": ps.sliding("20s", "5s"), "session": ps.session("4s")}


@pytest.mark.parametrize("kind", WINDOWS)
@settings(deadline=None, max_examples=15)
@given(rows=ROWS, epoch_rows=st.integers(1, 8))
def test_windows_are_grouped_whole(kind: str, rows: list[tuple[int, str, str]], epoch_rows: int) -> None:
    """However the input is cut into epochs, each window is aggregated and ranked over all of its rows, once."""
    flow, counts = sold(WINDOWS[kind])
    kept = counts.filter(pl.col("n") > 0).with_columns(twice=pl.col("n") * 2)
    items = kept.group_by("item").window(ps.same_window()).agg(shops=pl.len(), most=pl.col("twice").max())
    best = counts.window(ps.same_window()).top_n(1, by="n", ties=True)
    again = items.window(ps.same_window()).agg(items=pl.len())
    for name, stream in (("counts", counts), ("items", items), ("best", best), ("again", again)):
        stream.write(ps.table(name))

    results = run(flow, {"sales": frame(rows)}, epoch_rows=epoch_rows)

    window = ["window_start", "window_end"]
    whole = results["counts"]
    by_item = whole.group_by("item", *window).agg(shops=pl.len(), most=2 * pl.col("n").max())
    assert multiset(results["items"]) == multiset(by_item)
    assert multiset(results["best"]) == multiset(whole.filter(pl.col("n") == pl.col("n").max().over(window)))
    assert multiset(results["again"]) == multiset(by_item.group_by(window).agg(items=pl.len()))


def multiset(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    """The rows in an order of their own."""
    return sorted(rows.rows(), key=str)


def test_nothing_is_remembered_and_nothing_needs_a_name() -> None:
    """There is no state that could be lost, so the step may stand in a chain; it gives keys, window and aggregates."""
    flow, counts = sold(ps.tumbling("10s"))
    counts.group_by("item").window(ps.same_window()).agg(shops=pl.len()).write(ps.console())

    analysis = analyse(flow.build(), {})

    last = analysis.steps[analysis.definition.writes[0].inputs[0]]
    assert last.schema.names() == ["item", "window_start", "window_end", "shops"]
    assert (last.event_time, last.windowed) == ("window_end", True)


@pytest.mark.parametrize(
    "between",
    [
        lambda counts: counts.sql("select * from self"),
        lambda counts: counts.map_batches(lambda batch: batch),
        lambda counts: counts.with_columns(window_start=pl.col("window_start").dt.truncate("1h")),
        lambda counts: counts.select("item", "n", "window_end"),
        lambda counts: counts.union(counts),
    ],
)
def test_rows_that_may_have_left_their_windows_are_refused(between: Callable[[ps.Stream], ps.Stream]) -> None:
    """Behind a function, or with other times, the rows of one window might come in two epochs."""
    flow, counts = sold(ps.tumbling("10s"))
    again = between(counts).window(ps.same_window()).agg(n=pl.len())
    again.write(ps.console())

    with pytest.raises(SchemaError, match="the same window needs rows that have one") as caught:
        analyse(flow.build(), {})

    assert caught.value.step == "again"


def test_a_join_by_the_same_window_is_refused() -> None:
    """The windows of two streams close at two times."""
    flow, counts = sold(ps.tumbling("10s"))
    paired = counts.join(counts, on="item", window=ps.same_window())
    paired.write(ps.console())

    with pytest.raises(SchemaError, match="a join can't go by the same window"):
        analyse(flow.build(), {})


def test_no_row_is_late_for_a_window_that_comes_whole() -> None:
    """`.late_rows()` of such a step would always be empty, so it is a mistake."""
    flow, counts = sold(ps.tumbling("10s"))
    again = counts.window(ps.same_window()).agg(n=pl.len())
    again.late_rows().write(ps.console())

    with pytest.raises(DefinitionError, match="never refuses late rows"):
        flow.build()
