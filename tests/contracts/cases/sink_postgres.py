"""PostgreSQL under the sink contract, read back with psycopg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import psycopg

from penstock.flow import Dataset
from tests.contracts.sinks import SinkCase


class PostgresCase(SinkCase):
    """A table in a fresh database."""

    kind = "postgres"
    needs = ("postgres_dsn",)
    keeps_nul = False

    def set_up(self, fixtures: Mapping[str, Any]) -> None:
        """Take the database's address."""
        self.dsn = str(fixtures["postgres_dsn"])

    def dataset(self, key: Sequence[str]) -> Dataset:
        """The table `target`."""
        return Dataset("postgres", "target", None, tuple(key), {"dsn": self.dsn, "table": "target"})

    def read_back(self, schema: pl.Schema) -> pl.DataFrame:
        """All rows, value by value."""
        names = ", ".join(f'"{name}"' for name in schema)
        with psycopg.connect(self.dsn) as connection:
            if connection.execute("select to_regclass('target')").fetchone() == (None,):
                return schema.to_frame()
            rows = connection.execute(f"select {names} from target").fetchall()
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        return pl.DataFrame(
            [
                pl.Series(
                    name, [int(v) if v is not None else v for v in values] if dtype.is_integer() else values, dtype
                )
                for (name, dtype), values in zip(schema.items(), columns, strict=True)
            ]
        )
