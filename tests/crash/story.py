"""The flow that is killed, where its rows go, and how to read them back: one flow, every kind of sink."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import polars as pl
import psycopg

import penstock as ps
from penstock.flow import Dataset, Definition

__all__ = ["FLOW", "datasets", "definition", "make_input", "read_back"]

FLOW = "victim"
ROWS = 4_200
KEYS = 40
SCHEMA = {"id": pl.Int64, "key": pl.Int64, "amount": pl.Int64, "at": pl.Datetime("us")}


def make_input(file: Path, rows: int = ROWS) -> None:
    """Rows out of order, some too late, some twice, three lines cut off and two rows that a step refuses."""
    lines = []
    for number in range(rows):
        second = number // 10 - (37 * number % 11) - (120 if number % 500 == 499 else 0)
        at = f"2026-01-01T{max(second, 0) // 3600:02d}:{max(second, 0) % 3600 // 60:02d}:{max(second, 0) % 60:02d}"
        amount = 0 if number in (777, 2_321) else number * 7_919 % 1_000 + 1
        row = {"id": number - (number % 97 == 96), "key": number * 31 % KEYS, "amount": amount, "at": at}
        lines.append(json.dumps(row))
    for broken in (100, 3_000, rows - 1):
        lines[broken] = lines[broken][:20]
    file.write_text("\n".join(lines) + "\n")


def inverse(row: dict[str, Any]) -> dict[str, Any]:
    """A row-wise function that raises on an amount of 0."""
    return {**row, "inverse": 1_000_000 // row["amount"]}


def definition(file: Path) -> Definition:
    """Windows, a running aggregate, deduplication and plain rows, each into sinks of several kinds."""
    flow = ps.Flow(FLOW)
    rows = flow.read(ps.files(str(file), schema=SCHEMA), event_time="at", lateness="15s")
    once = rows.deduplicate("id", within="5m")
    inverted = once.map(inverse, schema={**SCHEMA, "inverse": pl.Int64})
    windows = inverted.group_by("key").window(ps.sliding("60s", "20s")).agg(n=pl.len(), total=pl.col("amount").sum())
    totals = inverted.group_by("key").agg(n=pl.len(), total=pl.col("amount").sum(), last=pl.col("id").last())
    for name in ("parquet", "delta", "duckdb", "postgres"):
        windows.write(ps.table(f"windows_{name}"), name=f"windows_{name}")
    for name in ("delta", "duckdb", "postgres"):
        totals.write(ps.table(f"totals_{name}", key=["key"]), name=f"totals_{name}")
    return flow.build()


def datasets(definition: Definition, folder: Path, dsn: str) -> dict[str, Dataset]:
    """The concrete place of every step."""
    given: dict[str, Dataset] = {}
    for step in definition.reads:
        given[step.name] = step.operation.dataset  # type: ignore[attr-defined]
    for name in ("windows", "totals"):
        key = ["key"] if name == "totals" else []
        given[f"{name}_parquet"] = ps.parquet(str(folder / f"{name}.parquet"))
        given[f"{name}_delta"] = ps.delta(str(folder / f"{name}.delta"), key=key, min_epoch_ms=0)
        given[f"{name}_duckdb"] = ps.duckdb_table(str(folder / f"{name}.duckdb"), name, key=key)
        given[f"{name}_postgres"] = ps.postgres(dsn, name, key=key)
    return {step.name: given[step.name] for step in (*definition.reads, *definition.writes)}


def read_back(folder: Path, dsn: str) -> Mapping[str, Counter[str]]:
    """What each sink holds, as multisets of rows."""
    found: dict[str, pl.DataFrame] = {"windows_parquet": pl.read_parquet(folder / "windows.parquet" / "*.parquet")}
    for name in ("windows", "totals"):
        table = deltalake.DeltaTable(folder / f"{name}.delta")
        found[f"{name}_delta"] = pl.DataFrame(pl.from_arrow(table.to_pyarrow_table()))
        with duckdb.connect(str(folder / f"{name}.duckdb"), read_only=True) as connection:
            found[f"{name}_duckdb"] = connection.sql(f"select * from {name}").pl()
        with psycopg.connect(dsn) as session:
            cursor = session.execute(f"select * from {name}".encode())
            columns = [column.name for column in cursor.description or ()]
            found[f"{name}_postgres"] = pl.DataFrame(cursor.fetchall(), schema=columns, orient="row")
    return {name: _multiset(frame) for name, frame in found.items()}


def _multiset(frame: pl.DataFrame) -> Counter[str]:
    names = sorted(name for name in frame.columns if not name.startswith("_"))
    plain = [
        pl.col(name).cast(pl.Datetime("us")).dt.epoch("us") if frame[name].dtype.is_temporal() else pl.col(name)
        for name in names
    ]
    return Counter(json.dumps(row, default=str) for row in frame.select(plain).rows())
