"""Rows in memory under the sink contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import polars as pl

from penstock.connect.memory import memory_rows
from penstock.flow import Dataset
from tests.contracts.sinks import SinkCase


class MemoryCase(SinkCase):
    """A store named after the case's folder."""

    kind: ClassVar[str] = "memory"
    durable: ClassVar[bool] = False

    def dataset(self, key: Sequence[str]) -> Dataset:
        """The store of this test."""
        return Dataset("memory", f"sink {self.folder}", None, tuple(key))

    def read_back(self, schema: pl.Schema) -> pl.DataFrame:
        """What the store holds."""
        found = memory_rows(f"sink {self.folder}")
        return found if found.width else schema.to_frame()
