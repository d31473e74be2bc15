"""A DuckDB file under the sink contract."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import polars as pl

from penstock.flow import Dataset
from tests.contracts.sinks import SinkCase


class DuckdbCase(SinkCase):
    """A table in a new file."""

    kind = "duckdb"

    def dataset(self, key: Sequence[str]) -> Dataset:
        """The table `target` of `warehouse.duckdb`."""
        options = {"path": "warehouse.duckdb", "table": "target"}
        return Dataset("duckdb", "warehouse.duckdb:target", None, tuple(key), options)

    def read_back(self, schema: pl.Schema) -> pl.DataFrame:
        """All rows, value by value, through a second connection of this process (another process could not)."""
        if not (self.folder / "warehouse.duckdb").exists():
            return schema.to_frame()
        columns = ", ".join(
            f'epoch_us("{name}") as "{name}"' if isinstance(dtype, pl.Duration) else f'"{name}"'
            for name, dtype in schema.items()
        )
        with duckdb.connect(self.folder / "warehouse.duckdb") as connection:
            connection.execute("set timezone = 'UTC'")
            if not connection.execute("select 1 from duckdb_tables() where table_name = 'target'").fetchall():
                return schema.to_frame()
            found = pl.from_arrow(connection.sql(f"select {columns} from target").to_arrow_table())
        assert isinstance(found, pl.DataFrame)
        return found.cast(schema)
