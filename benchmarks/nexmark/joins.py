"""The queries that join without a window: q3, q13, q20."""

from __future__ import annotations

import polars as pl

import penstock as ps
from benchmarks.nexmark.query import Query, SideInput, read

__all__ = ["QUERIES", "SIDE_ROWS"]

SIDE_ROWS = 10_000
"""The side input of q13 has the keys 0..9,999."""

Q3 = """
select person.name, person.city, person.state, auction.id
from auction join person on auction.seller = person.id
where auction.category = 10 and person.state in ('OR', 'ID', 'CA')
"""


def q3() -> ps.Flow:
    """Local items: who sells in Oregon, Idaho or California in category 10, whichever of the two came first."""
    flow = ps.Flow("nexmark_q3")
    people, auctions = read(flow, "person"), read(flow, "auction")
    locals_ = people.filter(pl.col("state").is_in(["OR", "ID", "CA"]))
    sellers = locals_.select("name", "city", "state", "date_time", seller=pl.col("id"))
    items = auctions.filter(pl.col("category") == 10).select("id", "seller", "date_time")
    suggestions = items.join(sellers, on="seller")
    suggestions.select("name", "city", "state", "id").write(ps.table("q3"))
    return flow


Q13 = """
select bid.auction, bid.bidder, bid.price, bid.date_time, side_input.value
from bid join side_input on bid.auction % 10000 = side_input.key
"""


def q13() -> ps.Flow:
    """Side input: each bid with a text from a bounded table."""
    flow = ps.Flow("nexmark_q13")
    bids = read(flow, "bid")
    side = flow.table(ps.table("side_input", schema=SideInput), key="key", name="side_input")
    numbered = bids.with_columns(side_key=pl.col("auction") % SIDE_ROWS)
    enriched = numbered.join(side, on={"side_key": "key"}, how="inner")
    enriched.select("auction", "bidder", "price", "date_time", "value").write(ps.table("q13"))
    return flow


Q20 = """
select bid.auction, bid.bidder, bid.price, bid.channel, bid.url, bid.date_time as bid_date_time,
    bid.extra as bid_extra, auction.item_name, auction.description, auction.initial_bid, auction.reserve,
    auction.date_time as auction_date_time, auction.expires, auction.seller, auction.category,
    auction.extra as auction_extra
from bid join auction on bid.auction = auction.id where auction.category = 10
"""


def q20() -> ps.Flow:
    """Expanded bids: each bid in category 10 with all that is known of its auction."""
    flow = ps.Flow("nexmark_q20")
    bids, auctions = read(flow, "bid"), read(flow, "auction")
    items = auctions.filter(pl.col("category") == 10).with_columns(auction=pl.col("id"))
    expanded = bids.join(items, on="auction", suffix="_of_auction")
    expanded.select(
        *("auction", "bidder", "price", "channel", "url"),
        *("item_name", "description", "initial_bid", "reserve", "expires", "seller", "category"),
        bid_date_time=pl.col("date_time"),
        bid_extra=pl.col("extra"),
        auction_date_time=pl.col("date_time_of_auction"),
        auction_extra=pl.col("extra_of_auction"),
    ).write(ps.table("q20"))
    return flow


QUERIES = (
    Query("q3", q3, Q3, reads=("person", "auction")),
    Query("q13", q13, Q13, reads=("bid",)),
    Query("q20", q20, Q20, reads=("bid", "auction")),
)
