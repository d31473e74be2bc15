"""Every Nexmark query, over several epochs and rows out of order, gives the rows that DuckDB gives in one go."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest

from benchmarks.nexmark import ENTITIES, QUERIES, SIDE_ROWS, Query, answer, difference
from benchmarks.nexmark.data import EVENTS, SHARE, frame
from penstock.clock import ManualClock
from penstock.testing import run

CYCLES = 300
"""15,000 events."""
EVENTS_PER_S = 100
"""In event time, so that the events last for 15 windows of 10 seconds."""
OUT_OF_ORDER_MS = 3_000
SEED = 20_151


class HastyClock(ManualClock):
    """Half a second has passed whenever somebody looks."""

    def now_us(self) -> int:
        """The simulated time, half a second later than at the last look."""
        self.sleep(0.5)
        return super().now_us()


@pytest.fixture(scope="module")
def tables() -> Mapping[str, pl.DataFrame]:
    """The three streams and the side input of q13."""
    streams: dict[str, pl.DataFrame] = {
        entity: frame(
            entity,
            CYCLES * SHARE[entity],
            seed=SEED,
            out_of_order_ms=OUT_OF_ORDER_MS,
            event_rate_per_s=EVENTS_PER_S,
        )
        for entity in ENTITIES
    }
    side = pl.DataFrame({"key": range(SIDE_ROWS), "value": [f"side {key}" for key in range(SIDE_ROWS)]})
    return {**streams, "side_input": side}


def test_the_streams_are_what_the_queries_need(tables: Mapping[str, pl.DataFrame]) -> None:
    """The rows last for many windows, are not in the order of their times, and are in the proportions of Nexmark."""
    times = tables["bid"]["date_time"]

    assert {name: tables[name].height for name in ENTITIES} == {name: CYCLES * share for name, share in SHARE.items()}
    assert (times.max() - times.min()).total_seconds() > CYCLES * EVENTS / EVENTS_PER_S - 5  # type: ignore[operator, union-attr]
    assert not times.is_sorted()


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_query_equals_its_oracle(query: Query, tables: Mapping[str, pl.DataFrame]) -> None:
    """The flow, epoch by epoch, has the same rows as the SQL over whole tables, each as often."""
    reads = {step.name for step in query.build().build().reads}
    found = run(query.build(), {name: tables[name] for name in reads}, epoch_rows=1_000, clock=HastyClock())
    expected = answer(query, {**tables, **found})

    assert not expected.is_empty()
    assert difference(found[query.name], expected, quotients=query.quotients) is None


def test_all_queries_are_there() -> None:
    """q6 has no meaning in streaming SQL and q10 is what a sink does; all others from q0 to q22 are there."""
    assert list(QUERIES) == [f"q{number}" for number in range(23) if number not in (6, 10)]


def test_difference_counts_rows() -> None:
    """A row that is there twice is a difference; the order of rows and columns and the width of integers are not."""
    once = pl.DataFrame({"a": [1, 2, None], "b": ["x", "y", None]})
    narrow = once.reverse().with_columns(pl.col("a").cast(pl.UInt16)).select("b", "a")

    assert difference(once, narrow) is None
    assert "1 too many" in (difference(pl.concat([once, once.tail(1)]), once) or "")
    assert "1 missing" in (difference(once.head(2), once) or "")
    assert "columns" in (difference(once.select("a"), once) or "")
    assert "types" in (difference(once.select(pl.col("a").cast(pl.Float64), "b"), once) or "")


def test_difference_lets_quotients_differ_in_their_last_bits_only() -> None:
    """An average may be off by a rounding, not by more."""
    exact = pl.DataFrame({"key": [1, 2], "mean": [0.3, 7.0]})
    rounded = pl.DataFrame({"key": [2, 1], "mean": [7.0, 0.1 + 0.2]})
    wrong = pl.DataFrame({"key": [1, 2], "mean": [0.3, 7.001]})

    assert difference(exact, rounded, quotients=("mean",)) is None
    assert difference(exact, rounded) is not None
    assert difference(exact, wrong, quotients=("mean",)) is not None
