"""Delta Lake tables under the sink contract."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from deltalake import DeltaTable

from penstock.flow import Dataset
from tests.contracts.sinks import SinkCase


class DeltaCase(SinkCase):
    """A table in a new folder, merged in the background as soon as there are a few files."""

    kind = "delta"

    def dataset(self, key: Sequence[str]) -> Dataset:
        """The table `target`."""
        return Dataset("delta", "target", None, tuple(key), {"path": "target", "compact_files": 4})

    def read_back(self, schema: pl.Schema) -> pl.DataFrame:
        """As Polars reads a Delta table; the types that Delta lacks are taken back from those that stand for them."""
        where = str(self.folder / "target")
        if not DeltaTable.is_deltatable(where):
            return schema.to_frame()
        times = [name for name, kind in schema.items() if kind == pl.Time]
        found = pl.read_delta(where).with_columns(pl.col(times).str.to_time("%H:%M:%S%.f"))
        return found.select(schema.names()).cast(schema)
