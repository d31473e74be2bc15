"""Where a life writes: tables in memory, and in some lives folders of Parquet files where rows are only added."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from penstock.clock import seeded
from penstock.flow import Dataset
from penstock.testing.simulation.sinks import Target, Targets, memory_target

__all__ = ["place_of"]


def place_of(seed: int) -> Targets:
    """The places of a seed's life."""
    return memory_target if seeded(seed ^ 0xACE).random() < 0.75 else in_files


def in_files(folder: Path, name: str, dataset: Dataset) -> Target:
    """A folder of Parquet files for a table that has no key."""
    if dataset.key:
        return memory_target(folder, name, dataset)
    place = folder / "tables" / dataset.name

    def read() -> pl.DataFrame:
        files = sorted(place.glob("*.parquet"))
        return pl.concat([pl.read_parquet(file) for file in files], how="diagonal") if files else pl.DataFrame()

    return Target(Dataset("parquet", dataset.name, dataset.schema, options={"path": str(place)}), read)
