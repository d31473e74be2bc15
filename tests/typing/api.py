"""The public API as an author writes it. Nothing runs here: mypy, in `make check`, holds the types to what users see.

`assert_type` states what a call gives. A line with `type: ignore[...]` is a mistake that the checker has to find, since
an ignore that is not needed is an error too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, assert_type

import polars as pl

import penstock as ps
from penstock.testing import Outcome, Results, run, simulate


class Order:
    """A row of the topic `orders`."""

    id: int
    at: datetime
    country: str
    amount: float


def datasets() -> list[ps.Dataset]:
    """Every place for rows, with all of its options."""
    return [
        ps.topic("orders", schema=Order),
        ps.table("totals", key="country", schema={"country": str}),
        ps.files("in/*.csv", schema=Order, format="csv", watch=True, delimiter=";", null_values=["NA"]),
        ps.files("in/*.jsonl.gz", tail=False, compression="gzip"),
        ps.parquet("out", compression="zstd"),
        ps.delta("out", key=["a", "b"], min_epoch_ms=500, compact_files=0, retention_hours=48),
        ps.delta("in", bounded=True, changes="skip"),
        ps.duckdb_table("a.db", "t", key="id", keep_epochs=100, keep_hours=1.5),
        ps.postgres("env:DSN", "t", key="id", keep_hours=24),
        ps.postgres("env:DSN", "t", cursor="id", wait_for="writers", schema=Order),
        ps.postgres_changes("env:DSN", "t", slot="mine"),
        ps.nats("nats://127.0.0.1", "ORDERS", subject="orders.>"),
        ps.http_push("hook", schema=Order, port=8000, token="env:TOKEN", body_bytes=1_000_000, key_retention_s=60),
        ps.nexmark("bid", events=10, rate_per_s=1.5, seed=1, out_of_order_ms=5, live=True),
        ps.memory("rows", schema=pl.Schema({"a": pl.Int64()})),
        ps.console(rows=3),
    ]


def a_changed_flow(flow: ps.Flow) -> None:
    """What becomes of the state of the version before."""
    flow.renamed("sums", "totals")
    flow.migrate("totals", columns={"orders": 0, "spent": pl.col("paid") * 2}, since="ab12")
    flow.migrate("joined", table="left", columns={"vat": None}, keep=True)
    flow.migrate("totals", keep=True)
    flow.migrate("totals", reset=True)
    flow.migrate("totals", reset=True, keep=True)  # type: ignore[call-overload]

    @flow.migrate("totals", since="ab12")
    def anew(rows: pl.DataFrame) -> pl.DataFrame:
        return rows

    assert_type(anew(pl.DataFrame()), pl.DataFrame)


def a_flow() -> ps.Flow:
    """Every step of a stream."""
    flow = ps.Flow("shop", owner="sales", freshness=timedelta(minutes=1), labels={"team": "sales"})
    orders = flow.read(ps.topic("orders", schema=Order), event_time="at", lateness="1m", idle_after="30s")
    clocked = flow.read(ps.topic("ticks"), event_time=ps.PROCESSING_TIME)
    countries = flow.table(ps.table("countries"), key="country")
    assert_type(orders, ps.Stream)
    yes, no = assert_type(orders.branch(pl.col("amount") > 1), tuple[ps.Stream, ps.Stream])
    both = yes.union(no, name="both").join(countries, on="country", how="left")
    rows = both.filter(pl.col("id") > 0).with_columns(pl.col("id").alias("x"), twice=pl.col("amount") * 2)
    slim = rows.select("id", "at", pl.col("country"), amount="amount").sql("select * from self")
    own = slim.map_batches(batches).map(row_to_row).flat_map(row_to_rows, schema={"id": int})
    good = orders.expect(ps.not_null("id"), ps.unique("id"), ps.between("amount", 0, 9), on_fail="dead_letter")
    checked = good.expect(
        ps.one_of("country", ["NL"]), ps.matches("country", "^[A-Z]"), ps.that(pl.col("id") > 0, name="id")
    )
    once = checked.deduplicate("id", within="1h")
    counts = once.group_by("country").window(ps.sliding("10m", every="1m")).agg(n=pl.len())
    visits = once.group_by("country").window(ps.session("30m")).agg(n=pl.len())
    best = once.window(ps.tumbling("5m", offset="1m")).top_n(
        2, by=["amount", "id"], descending=[True, False], ties=True
    )
    busiest = counts.window(ps.same_window()).top_n(1, by="n")
    paired = once.join(clocked, on={"id": "order"}, within=("0s", "3m"), how="inner", suffix="_tick")
    latest = once.key_by("country").latest(by="id", ttl="30d")
    ranked = once.group_by("country").top_n(3, by="amount", rank="place", ttl="1d")
    totals = once.group_by("country").agg(ttl="30d", revenue=pl.col("amount").sum())
    handled = once.group_by("id").process(remember, schema={"id": int}, state={"seen": int}, ttl="1h")
    for stream in (own, counts, visits, best, busiest, paired, handled, counts.late_rows()):
        stream.write(ps.console())
    for updating in (latest, ranked, totals):
        updating.write(ps.table("t", key="country"))
    return flow


def batches(batch: pl.DataFrame) -> pl.DataFrame:
    """A function for map_batches."""
    return batch.with_columns(number=ps.epoch_random().random(), by=pl.lit(ps.epoch_id()), at=pl.lit(ps.now()))


def row_to_row(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A function for map."""
    return {**row} if row["id"] else None


def row_to_rows(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A function for flat_map."""
    yield {"id": row["id"]}


def remember(context: ps.KeyContext, rows: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A function for process."""
    context.state["seen"] = len(rows)
    context.set_timer(0)
    yield dict(context.key)
    context.clear()


def a_test() -> None:
    """A flow as a function of frames."""
    results = run(a_flow(), {"orders": pl.DataFrame()}, epoch_rows=2)
    assert_type(results, Results)
    assert_type(simulate(a_flow(), {"orders": pl.DataFrame()}, seed=1, versions=[a_flow()], steps=9), Outcome)
    assert_type(results["totals"], pl.DataFrame)
    assert_type(results.dead, pl.DataFrame)
    assert_type(results.late, int)
    assert_type(results.checks["a"]["failed"], int)
    assert_type(results.epochs, pl.DataFrame)


def times_and_parameters() -> None:
    """What a function may ask, and what a flow is told from outside."""
    assert_type(ps.epoch_random(), Random)
    assert_type(ps.now(), datetime)
    assert_type(ps.epoch_id(), str)
    assert_type(ps.param("vat", 0.21), float)
    assert_type(ps.param("country", "NL"), str)


def an_error() -> str | None:
    """What is raised on purpose."""
    try:
        a_flow().build()
    except ps.PenstockError as error:
        return assert_type(error.step, str | None)
    return None


def mistakes(orders: ps.Stream) -> None:
    """What the checker finds before Penstock does."""
    ps.tabel("orders")  # type: ignore[attr-defined]
    ps.topic(1)  # type: ignore[arg-type]
    ps.delta("out", compactfiles=1)  # type: ignore[call-arg]
    orders.join(orders, on="id", how="outer")  # type: ignore[arg-type]
    orders.expect(ps.not_null("id"), on_fail="ignore")  # type: ignore[arg-type]
    orders.write(ps.console()).filter(pl.col("id") > 0)  # type: ignore[func-returns-value, attr-defined]
