"""The limit: what Polars does with the whole file at once, no epochs, no ledger, and the same rows in one Parquet file.

A flow can't be faster than that as long as Polars parses its JSON, so the ratio says what exactly-once costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import polars as pl

from benchmarks.nexmark import ENTITIES, Entity
from benchmarks.nexmark.stateless import EUROS_PER_DOLLAR
from penstock.analysis import to_schema

__all__ = ["ENGINES", "LIMITS", "Engine", "run_limit"]

Engine: TypeAlias = Literal["streaming", "in-memory"]
ENGINES: tuple[Engine, ...] = ("streaming", "in-memory")
"""Polars has two ways to run a query; the limit is the faster one."""

FORMAT = "%Y-%m-%dT%H:%M:%S%.f"
"""Said, not guessed: reading timestamps with a declared `Datetime` in the JSON reader is five times slower."""

BEAT_US = 2_000_000
BEATS = 5


def scan(entity: Entity, path: Path) -> pl.LazyFrame:
    """The stream of `entity` in a file of JSON lines, with real timestamps."""
    schema = to_schema(ENTITIES[entity])
    times = [name for name, kind in schema.items() if isinstance(kind, pl.Datetime)]
    text = {name: pl.String() if name in times else kind for name, kind in schema.items()}
    parsed = [pl.col(name).str.to_datetime(FORMAT, time_unit="us") for name in times]
    return pl.scan_ndjson(path, schema=text).with_columns(parsed)


def q1(engine: Engine, target: Path, bid: pl.LazyFrame) -> None:
    """q1 over all rows."""
    euros = bid.select("auction", "bidder", pl.col("price") * EUROS_PER_DOLLAR, "date_time", "extra")
    _sink(euros, target, engine)


def q2(engine: Engine, target: Path, bid: pl.LazyFrame) -> None:
    """q2 over all rows."""
    _sink(bid.filter(pl.col("auction") % 123 == 0).select("auction", "price"), target, engine)


def q5(engine: Engine, target: Path, bid: pl.LazyFrame) -> None:
    """q5 over all rows: counts of 2 seconds first, then five of them for each window. The file is read once."""
    beat = (pl.col("date_time").dt.epoch("us") // BEAT_US).alias("beat")
    beats = bid.group_by("auction", beat).agg(num=pl.len()).collect(engine=engine)
    ahead = pl.concat([beats.with_columns(pl.col("beat") + step) for step in range(BEATS)])
    counts = ahead.group_by("auction", "beat").agg(pl.col("num").sum())
    hottest = counts.filter(pl.col("num") == pl.col("num").max().over("beat"))
    window_end = ((pl.col("beat") + 1) * BEAT_US).cast(pl.Datetime("us"))
    _write(hottest.select("auction", "num", window_end=window_end), target)


def q7(engine: Engine, target: Path, bid: pl.LazyFrame) -> None:
    """q7 over all rows. The file is read once."""
    window = pl.col("date_time").dt.truncate("10s").alias("window")
    rows = bid.select("auction", "price", "bidder", "date_time", "extra", window).collect(engine=engine)
    most = rows.group_by("window").agg(pl.col("price").max())
    _write(rows.join(most, on=("window", "price"), how="semi").drop("window"), target)


def q8(engine: Engine, target: Path, person: pl.LazyFrame, auction: pl.LazyFrame) -> None:
    """q8 over all rows."""
    window = pl.col("date_time").dt.truncate("10s").alias("stime")
    sellers = auction.select(pl.col("seller").alias("id"), window)
    _sink(person.select("id", "name", window).join(sellers, on=("id", "stime"), how="semi"), target, engine)


def _sink(rows: pl.LazyFrame, target: Path, engine: Engine) -> None:
    """Write as our sink does: the same compression, with statistics."""
    rows.sink_parquet(target, compression="lz4", statistics=True, engine=engine)


def _write(rows: pl.DataFrame, target: Path) -> None:
    rows.write_parquet(target, compression="lz4", statistics=True)


LIMITS: Mapping[str, Callable[..., None]] = {"q1": q1, "q2": q2, "q5": q5, "q7": q7, "q8": q8}
"""The queries that are measured against the limit."""


def run_limit(query: str, inputs: Mapping[Entity, Path], target: Path, engine: Engine) -> None:
    """Answer `query` from whole files and write one Parquet file, compressed as our sink does it."""
    LIMITS[query](engine, target, **{name: scan(name, path) for name, path in inputs.items()})
