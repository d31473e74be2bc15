"""Parquet files under the sink contract."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from penstock.flow import Dataset
from tests.contracts.sinks import SinkCase


class ParquetCase(SinkCase):
    """A folder of files, one an epoch."""

    kind = "parquet"

    def dataset(self, key: Sequence[str]) -> Dataset:
        """The folder `target`."""
        return Dataset("parquet", "target", None, tuple(key), {"path": "target"})

    def read_back(self, schema: pl.Schema) -> pl.DataFrame:
        """As anybody reads the folder, by the simple glob."""
        files = sorted((self.folder / "target").glob("*.parquet"))
        return pl.concat([schema.to_frame(), *(pl.read_parquet(file) for file in files)])
