"""What a Nexmark query is here: a flow, the same question in SQL, and the three streams of the auction site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import penstock as ps

__all__ = ["ENTITIES", "LATENESS", "Auction", "Bid", "Entity", "Person", "Query", "SideInput", "read"]

Entity: TypeAlias = Literal["person", "auction", "bid"]

LATENESS = "4s"
"""How far behind the newest row a row may be and still count; the benchmark's own watermark."""


class Person:
    """Somebody who sells or bids."""

    id: int
    name: str
    email_address: str
    credit_card: str
    city: str
    state: str
    date_time: datetime
    extra: str


class Auction:
    """Something for sale, from `date_time` until `expires`."""

    id: int
    item_name: str
    description: str
    initial_bid: int
    reserve: int
    date_time: datetime
    expires: datetime
    seller: int
    category: int
    extra: str


class Bid:
    """An offer of `bidder` for `auction`. `price` is in whole dollars."""

    auction: int
    bidder: int
    price: int
    channel: str
    url: str
    date_time: datetime
    extra: str


class SideInput:
    """The bounded table of q13: a text for each number from 0 to 9,999."""

    key: int
    value: str


ENTITIES: dict[Entity, type] = {"person": Person, "auction": Auction, "bid": Bid}


@dataclass(frozen=True, slots=True)
class Query:
    """One query: `build` makes the flow, which reads the topics `reads` and writes the table `name`.

    `oracle`: the same in DuckDB's SQL over whole tables named like the topics. `key`: the columns that name a row of
    an updating result. `quotients`: columns that are averages, equal within the last bits only. `stamped`: a second
    table that the flow writes and that the oracle reads, where the answer depends on when a row was processed.
    """

    name: str
    build: Callable[[], ps.Flow]
    oracle: str
    reads: tuple[str, ...] = ("bid",)
    key: tuple[str, ...] = ()
    quotients: tuple[str, ...] = ()
    stamped: str | None = None

    @property
    def title(self) -> str:
        """What it asks, in one line."""
        return (self.build.__doc__ or "").partition("\n")[0].rstrip(".")


def read(flow: ps.Flow, entity: Entity) -> ps.Stream:
    """One of the three streams of the auction site, in event time."""
    topic = ps.topic(entity, schema=ENTITIES[entity])
    return flow.read(topic, event_time="date_time", lateness=LATENESS, name=entity)
