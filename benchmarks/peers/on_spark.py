"""Nexmark on Apache Spark Structured Streaming. Run by the Python of Spark's own environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession  # type: ignore[import-not-found]
from pyspark.sql import functions as f

from benchmarks.peers.protocol import asked, tell

SCHEMAS = {
    "bid": "auction bigint, bidder bigint, price bigint, channel string, url string, date_time timestamp, extra string",
    "auction": "id bigint, item_name string, description string, initial_bid bigint, reserve bigint, "
    "date_time timestamp, expires timestamp, seller bigint, category bigint, extra string",
    "person": "id bigint, name string, email_address string, credit_card string, city string, state string, "
    "date_time timestamp, extra string",
}


def answer(query: str, tables: dict[str, Any]) -> Any:
    """The query as a streaming frame over streaming frames."""
    if query == "q8":
        people = tables["person"].withWatermark("date_time", "4 seconds")
        auctions = tables["auction"].withWatermark("date_time", "4 seconds")
        people = people.select("id", "name", "date_time", f.window("date_time", "10 seconds").alias("own"))
        sales = auctions.select(
            "seller", f.col("date_time").alias("sold"), f.window("date_time", "10 seconds").alias("its")
        )
        together = (f.col("id") == f.col("seller")) & (f.col("own") == f.col("its"))
        return people.join(sales, together, "leftsemi").select("id", "name", f.col("own.start").alias("stime"))
    bids = tables["bid"]
    if query == "q1":
        return bids.select("auction", "bidder", (f.col("price") * f.lit(0.908)).alias("price"), "date_time", "extra")
    if query == "q2":
        return bids.where("auction % 123 = 0").select("auction", "price")
    bids = bids.withWatermark("date_time", "4 seconds")
    if query == "q7":
        # One of several equal highest bids: less work than all of them, and never more than a few rows less.
        row = f.struct("price", "auction", "bidder", "date_time", "extra")
        best = bids.groupBy(f.window("date_time", "10 seconds")).agg(f.max(row).alias("best"))
        return best.select("best.auction", "best.price", "best.bidder", "best.date_time", "best.extra")
    counts = bids.groupBy("auction", f.window("date_time", "10 seconds", "2 seconds")).count()
    lists = counts.groupBy(f.window("window", "2 seconds")).agg(
        f.max("count").alias("most"), f.collect_list(f.struct("auction", "count", "window")).alias("all")
    )
    hottest = lists.select(f.explode(f.filter("all", lambda one: one["count"] == f.col("most"))).alias("one"))
    return hottest.select("one.auction", f.col("one.count").alias("num"), f.col("one.window.end").alias("window_end"))


def run(spark: Any, query: str, inputs: dict[str, Path], work: Path) -> tuple[float, int]:
    """One run over all that is there: seconds inside the triggers, and rows written."""
    shutil.rmtree(work, ignore_errors=True)
    tables = {}
    for name, path in inputs.items():
        folder = work / "in" / name
        folder.mkdir(parents=True)
        os.link(path, folder / path.name)
        tables[name] = spark.readStream.schema(SCHEMAS[name]).json(str(folder))
    stream = (
        answer(query, tables)
        .writeStream.format("parquet")
        .option("path", str(work / "out"))
        .option("checkpointLocation", str(work / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    stream.awaitTermination()
    seconds = sum(progress["durationMs"]["triggerExecution"] for progress in stream.recentProgress) / 1_000
    return seconds, spark.read.parquet(str(work / "out")).count()


def session(more: Mapping[str, str] | None = None) -> Any:
    """A session of its own on two cores, reached by this machine only, with `more` settings."""
    building = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.driver.memory", "4g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
    )
    for name, value in (more or {}).items():
        building = building.config(name, value)
    spark = building.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def main() -> None:
    """Warm up once, then measure."""
    job = asked()
    spark = session()
    runs = [run(spark, job.query, job.inputs, job.work / "run") for _ in range(job.repeat + 1)]
    spark.stop()
    tell("pyspark", runs[1:])


if __name__ == "__main__":
    main()
