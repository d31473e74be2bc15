"""The queries whose results are updated as rows come: q4, q9, q15 to q19. Their tables have keys."""

from __future__ import annotations

from typing import Any

import polars as pl

import penstock as ps
from benchmarks.nexmark.query import Query, read

__all__ = ["LONGEST_AUCTION", "QUERIES"]

LONGEST_AUCTION = "1d"
"""No auction is open for longer, so that a join may forget."""

MEDIUM, HIGH = 10_000, 1_000_000
"""The prices at which the ranks of q15, q16 and q17 begin."""

PRICE = pl.col("price")
RANKS = {
    "rank1": PRICE < MEDIUM,
    "rank2": PRICE.is_between(MEDIUM, HIGH, closed="left"),
    "rank3": PRICE >= HIGH,
}
DAY = pl.col("date_time").dt.strftime("%Y-%m-%d")


def _in_time(flow: ps.Flow) -> ps.Stream:
    """Each bid with its auction, where it came while the auction was open."""
    auctions, bids = read(flow, "auction"), read(flow, "bid")
    offers = bids.select("bidder", "price", "date_time", id=pl.col("auction"), bid_extra=pl.col("extra"))
    offered = auctions.join(offers, on="id", within=("0s", LONGEST_AUCTION), suffix="_of_bid", name="offered")
    return offered.filter(pl.col("date_time_of_bid") <= pl.col("expires"), name="in_time")


Q4 = """
select category, sum(final)::double / count(*) as final from (
    select max(bid.price) as final, auction.category
    from auction join bid on auction.id = bid.auction and bid.date_time between auction.date_time and auction.expires
    group by auction.id, auction.category
) group by category
"""


def q4() -> ps.Flow:
    """Average price: of the winning bids, by category; an average over results that change."""
    flow = ps.Flow("nexmark_q4")
    finals = _in_time(flow).group_by("id", "category").agg(final=PRICE.max())
    totals = finals.group_by("category").agg(total=pl.col("final").sum(), auctions=pl.len())
    averages = totals.select("category", final=pl.col("total") / pl.col("auctions"))
    averages.write(ps.table("q4", key=["category"]))
    return flow


Q9 = """
select auction.*, bid.auction, bid.bidder, bid.price, bid.date_time as bid_date_time, bid.extra as bid_extra
from auction join bid on auction.id = bid.auction and bid.date_time between auction.date_time and auction.expires
qualify row_number() over (
    partition by auction.id order by bid.price desc, bid.date_time, bid.bidder, bid.extra) = 1
"""


def q9() -> ps.Flow:
    """Winning bids: the highest of each auction, the earlier of two equal ones."""
    flow = ps.Flow("nexmark_q9")
    order = ("price", "date_time_of_bid", "bidder", "bid_extra")
    winners = _in_time(flow).group_by("id").top_n(1, by=order, descending=(True, False, False, False), rank=None)
    named = winners.with_columns(auction=pl.col("id"), bid_date_time=pl.col("date_time_of_bid"))
    named.select(
        *("id", "item_name", "description", "initial_bid", "reserve", "date_time", "expires", "seller", "category"),
        *("extra", "auction", "bidder", "price", "bid_date_time", "bid_extra"),
    ).write(ps.table("q9", key=["id"]))
    return flow


def _counts(*people_and_things: str) -> dict[str, Any]:
    """Bids, then distinct values of each column, in all and by rank of price."""
    counts: dict[str, Any] = {"total_bids": pl.len()}
    counts |= {f"{rank}_bids": test.sum() for rank, test in RANKS.items()}
    for column in people_and_things:
        counts[f"total_{column}s"] = pl.col(column).n_unique()
        counts |= {f"{rank}_{column}s": pl.col(column).filter(test).n_unique() for rank, test in RANKS.items()}
    return counts


_SQL_RANKS = {
    "total": "true",
    "rank1": f"price < {MEDIUM}",
    "rank2": f"price >= {MEDIUM} and price < {HIGH}",
    "rank3": f"price >= {HIGH}",
}
_SQL_BIDS = ", ".join(f"count(*) filter (where {test}) as {rank}_bids" for rank, test in _SQL_RANKS.items())
_SQL_DISTINCT = ", ".join(
    f"count(distinct {column}) filter (where {test}) as {rank}_{column}s"
    for column in ("bidder", "auction")
    for rank, test in _SQL_RANKS.items()
)

Q15 = f"""
select strftime(date_time, '%Y-%m-%d') as day, {_SQL_BIDS}, {_SQL_DISTINCT} from bid group by day
"""


def q15() -> ps.Flow:
    """Bidding statistics: bids, distinct bidders and auctions of a day, in all and by level of price."""
    flow = ps.Flow("nexmark_q15")
    bids = read(flow, "bid")
    days = bids.select("auction", "bidder", "price", "date_time", day=DAY)
    statistics = days.group_by("day").agg(**_counts("bidder", "auction"))
    statistics.write(ps.table("q15", key=["day"]))
    return flow


Q16 = f"""
select channel, strftime(date_time, '%Y-%m-%d') as day, max(strftime(date_time, '%H:%M')) as minute,
    {_SQL_BIDS}, {_SQL_DISTINCT} from bid group by channel, day
"""


def q16() -> ps.Flow:
    """Channel statistics: as q15, for each channel."""
    flow = ps.Flow("nexmark_q16")
    bids = read(flow, "bid")
    days = bids.select("channel", "auction", "bidder", "price", "date_time", day=DAY)
    statistics = days.group_by("channel", "day").agg(newest=pl.col("date_time").max(), **_counts("bidder", "auction"))
    minutes = statistics.with_columns(minute=pl.col("newest").dt.strftime("%H:%M"))
    minutes.select(pl.exclude("newest")).write(ps.table("q16", key=["channel", "day"]))
    return flow


Q17 = f"""
select auction, strftime(date_time, '%Y-%m-%d') as day, {_SQL_BIDS}, min(price) as min_price, max(price) as max_price,
    sum(price)::double / count(*) as avg_price, sum(price)::bigint as sum_price from bid group by auction, day
"""


def q17() -> ps.Flow:
    """Auction statistics: bids and prices of each auction and day."""
    flow = ps.Flow("nexmark_q17")
    bids = read(flow, "bid")
    days = bids.select("auction", "price", "date_time", day=DAY)
    statistics = days.group_by("auction", "day").agg(
        **_counts(), min_price=PRICE.min(), max_price=PRICE.max(), avg_price=PRICE.mean(), sum_price=PRICE.sum()
    )
    statistics.write(ps.table("q17", key=["auction", "day"]))
    return flow


Q18 = """
select * from bid
qualify row_number() over (partition by bidder, auction order by date_time desc, price desc, extra desc, url desc) = 1
"""


def q18() -> ps.Flow:
    """Last bid: of each bidder on each auction. Bids of one instant go by price and text, so that there is one last."""
    flow = ps.Flow("nexmark_q18")
    bids = read(flow, "bid")
    last = bids.group_by("bidder", "auction").latest(by=("date_time", "price", "extra", "url"))
    last.write(ps.table("q18", key=["bidder", "auction"]))
    return flow


Q19 = """
select *, row_number() over (
    partition by auction order by price desc, date_time, bidder, extra, url) as rank_number from bid
qualify rank_number <= 10
"""


def q19() -> ps.Flow:
    """Top ten: the ten highest bids of each auction, the earlier of two equal ones first."""
    flow = ps.Flow("nexmark_q19")
    bids = read(flow, "bid")
    order = ("price", "date_time", "bidder", "extra", "url")
    best = bids.group_by("auction").top_n(
        10, by=order, descending=(True, False, False, False, False), rank="rank_number"
    )
    best.write(ps.table("q19", key=["auction", "rank_number"]))
    return flow


QUERIES = (
    Query("q4", q4, Q4, reads=("auction", "bid"), key=("category",)),
    Query("q9", q9, Q9, reads=("auction", "bid"), key=("id",)),
    Query("q15", q15, Q15, key=("day",)),
    Query("q16", q16, Q16, key=("channel", "day")),
    Query("q17", q17, Q17, key=("auction", "day"), quotients=("avg_price",)),
    Query("q18", q18, Q18, key=("bidder", "auction")),
    Query("q19", q19, Q19, key=("auction", "rank_number")),
)
