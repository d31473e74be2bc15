"""Generated auctions under the source contract."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl

from penstock.connect.nexmark_rows import ENTITIES, Generator, first_event
from penstock.flow import Dataset
from tests.contracts.sources import SourceCase


class NexmarkCase(SourceCase):
    """As many events as hold the rows that are asked for."""

    kind: ClassVar[str] = "nexmark"
    bounded: ClassVar[bool] = True
    entity: ClassVar[str] = "bid"
    options: ClassVar[dict[str, Any]] = {}
    events: int = 0

    def dataset(self) -> Dataset:
        """The generator, with an end after the filled rows."""
        options = {"entity": self.entity, "events": self.events, "seed": 7, "out_of_order_ms": 50, **self.options}
        return Dataset("nexmark", self.entity, None, (), options)

    def fill(self, first: int, count: int) -> None:
        """Set the end."""
        self.events = first_event(self.entity, first + count)

    @property
    def schema(self) -> pl.Schema:
        """The entity's columns."""
        return ENTITIES[self.entity]

    def expected(self, count: int) -> pl.DataFrame:
        """All rows at once."""
        generator = Generator(7, 1_436_918_400_000_000, 10_000, 50_000)
        return generator.rows(self.entity, 0, first_event(self.entity, count), list(self.schema))


class BidCase(NexmarkCase):
    """Bids as fast as they are read."""

    name: ClassVar[str] = "nexmark-bid"


class AuctionCase(NexmarkCase):
    """Auctions at a rate that has made them all long ago."""

    name: ClassVar[str] = "nexmark-auction"
    entity: ClassVar[str] = "auction"
    options: ClassVar[dict[str, Any]] = {"rate_per_s": 1e9}


class PersonCase(NexmarkCase):
    """Persons."""

    name: ClassVar[str] = "nexmark-person"
    entity: ClassVar[str] = "person"
