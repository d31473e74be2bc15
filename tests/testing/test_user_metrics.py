"""Metrics of an author's own: counted with the epoch, once, whatever is tried and fails on the way."""

from __future__ import annotations

import polars as pl
import pytest

import penstock as ps
from penstock.errors import DefinitionError
from penstock.flow import LABEL_SETS_MAX, Recorder, recording
from penstock.testing import Results, run

REJECTED = ps.metric("rejected", labels=["reason"], help="Rows that we do not take.")
SEEN = ps.metric("seen")
LAST = ps.metric("last_n", kind="gauge")
SIZES = ps.metric("sizes", kind="histogram", buckets=[10, 100])

ROWS = pl.DataFrame({"n": list(range(100))})


def told(function: object, *, rows: pl.DataFrame = ROWS, epoch_rows: int = 30, kind: str = "map_batches") -> Results:
    """What a flow of one step over these rows comes to."""
    flow = ps.Flow("counting")
    numbers = flow.read(ps.topic("numbers", schema={"n": int}))
    getattr(numbers, kind)(function, name="step", schema={"n": int}).write(ps.table("out"))
    return run(flow, {"numbers": rows}, epoch_rows=epoch_rows)


def test_counters_gauges_and_histograms_over_epochs() -> None:
    """A counter is the sum over all epochs, a gauge the last word of the last one, a histogram knows each value."""

    def count(batch: pl.DataFrame) -> pl.DataFrame:
        REJECTED.inc(batch.filter(pl.col("n") % 10 == 0).height, reason="round")
        REJECTED.inc(reason="batch")
        LAST.set(batch["n"][-1])
        SIZES.observe(batch["n"])
        return batch

    found = told(count)

    assert found.metric("rejected", reason="round") == 10
    assert found.metric("rejected", reason="batch") == found.epochs.filter(pl.col("rows_in") > 0).height
    assert found.metric("rejected", reason="never") == 0
    assert found.metric("last_n") == 99
    assert found.metrics["sizes"].values[()] == [11, 89, 0, 4950.0]


def test_what_a_failed_try_counted_does_not_count() -> None:
    """A batch that raises is halved and tried again: each good row is counted once, a bad one not at all."""

    def count(batch: pl.DataFrame) -> pl.DataFrame:
        SEEN.inc(batch.height)
        if 17 in batch["n"]:
            raise ValueError("17")
        return batch

    found = told(count)

    assert found.dead.height == 1
    assert found.metric("seen") == 99


@pytest.mark.parametrize("kind", ["map", "flat_map"])
def test_rows_that_raise_do_not_count(kind: str) -> None:
    """Row by row too: a chunk that is done again carefully counts each row once."""

    def count(row: dict[str, int]) -> object:
        SEEN.inc()
        if row["n"] == 17:
            raise ValueError("17")
        return row if kind == "map" else [row, row]

    found = told(count, kind=kind)

    assert found.dead.height == 1
    assert found.metric("seen") == 99


def test_a_function_inside_an_expression_counts() -> None:
    """Polars runs it in a thread of its own where it likes to."""

    def count(values: pl.Series) -> pl.Series:
        SEEN.inc(values.len())
        return values

    def query(batch: pl.DataFrame) -> pl.DataFrame:
        twice = (
            pl.col("n").map_batches(count, return_dtype=pl.Int64),
            (pl.col("n") + 1).map_batches(count, return_dtype=pl.Int64).alias("m"),
        )
        return batch.lazy().with_columns(*twice).collect().drop("m")

    assert told(query).metric("seen") == 200


def test_a_thousand_keys_do_not_grow_the_labels(caplog: pytest.LogCaptureFixture) -> None:
    """What is beyond the limit is counted as `other`, so that sums are right, and a warning says so once."""
    many = ps.metric("many", labels=["key"])

    def count(row: dict[str, int]) -> dict[str, int]:
        many.inc(key=row["n"])
        return row

    found = told(count, rows=pl.DataFrame({"n": list(range(1000))}), epoch_rows=300, kind="map")
    values = found.metrics["many"].values

    assert len(values) <= LABEL_SETS_MAX + 1
    assert sum(values.values()) == 1000
    assert found.metric("many", key="other") >= 1000 - LABEL_SETS_MAX
    assert [record.message.count("more than 100 sets") for record in caplog.records] == [1]


def test_outside_of_an_epoch_nothing_is_counted() -> None:
    """At a prompt, and while a flow is checked, a metric may be used and does nothing."""
    recorder = Recorder()
    SEEN.inc()
    with recording(recorder):
        SEEN.inc()

    assert recorder.as_json()["seen"]["values"] == [[[], 1.0]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ps.metric("Bad Name"), "small letters"),
        (lambda: ps.metric("x", labels=["flow"]), "none of"),
        (lambda: ps.metric("x_total"), "leave it out"),
        (lambda: ps.metric("x", kind="meter"), "use one of counter, gauge, histogram"),  # type: ignore[arg-type]
        (lambda: ps.metric("x", kind="histogram", buckets=[2, 1]), "numbers that grow"),
        (lambda: ps.metric("x").inc(-1), "can't be raised by -1"),
        (lambda: ps.metric("x").set(1), r"is a counter; set\(\) is for a gauge"),
        (lambda: ps.metric("x", kind="gauge").set(float("nan")), "can't be told nan"),
        (lambda: ps.metric("x", labels=["a"]).inc(b=1), r"has the labels \['a'\], not \['b'\]"),
    ],
)
def test_what_is_wrong_is_said(make: object, words: str) -> None:
    """A wrong definition, and a wrong use, is an error that names the metric and the way out."""
    assert callable(make)
    with pytest.raises(DefinitionError, match=words):
        make()


def test_what_a_test_asks_wrongly_is_said() -> None:
    """A metric that nobody counted, and labels that it has not."""

    def count(batch: pl.DataFrame) -> pl.DataFrame:
        SEEN.inc()
        return batch

    found = told(count)

    with pytest.raises(KeyError, match="seen"):
        found.metric("sen")
    with pytest.raises(KeyError, match="labels"):
        found.metric("seen", reason="x")
