"""The queries over windows of time: q5, q7, q8, q11, q12."""

from __future__ import annotations

import polars as pl

import penstock as ps
from benchmarks.nexmark.query import Bid, Query, read

__all__ = ["QUERIES"]

Q5 = """
with counts as (
    select auction, count(*) as num, window_end
    from (select auction, unnest(range(0, 5)) as ahead, epoch_us(date_time) // 2000000 as beat from bid)
        cross join lateral (select make_timestamp((beat + 1 + ahead) * 2000000) as window_end)
    group by auction, window_end
)
select auction, num, window_end from counts
qualify num = max(num) over (partition by window_end)
"""


def q5() -> ps.Flow:
    """Hot items: the auctions with the most bids in the last 10 seconds, every 2 seconds."""
    flow = ps.Flow("nexmark_q5")
    bids = read(flow, "bid")
    counts = bids.group_by("auction").window(ps.sliding("10s", every="2s")).agg(num=pl.len())
    hottest = counts.window(ps.same_window()).top_n(1, by="num", ties=True)
    hottest.select("auction", "num", "window_end").write(ps.table("q5"))
    return flow


Q7 = """
select auction, price, bidder, date_time, extra from bid
qualify price = max(price) over (partition by epoch_us(date_time) // 10000000)
"""


def q7() -> ps.Flow:
    """Highest bid: the dearest bids of each 10 seconds.

    Windows are half-open here. Flink's SQL compares with BETWEEN, which would also count a bid at the very end of a
    window whose price happens to be that window's highest.
    """
    flow = ps.Flow("nexmark_q7")
    bids = read(flow, "bid")
    dearest = bids.window(ps.tumbling("10s")).top_n(1, by="price", ties=True)
    dearest.select("auction", "price", "bidder", "date_time", "extra").write(ps.table("q7"))
    return flow


Q8 = """
select distinct person.id, person.name, time_bucket(interval 10 seconds, person.date_time) as stime
from person join auction on person.id = auction.seller
    and epoch_us(person.date_time) // 10000000 = epoch_us(auction.date_time) // 10000000
"""


def q8() -> ps.Flow:
    """New users: people who came and opened an auction within the same 10 seconds."""
    flow = ps.Flow("nexmark_q8")
    people, auctions = read(flow, "person"), read(flow, "auction")
    newcomers = people.select("id", "name", "date_time")
    sales = auctions.select("seller", "date_time")
    sellers = newcomers.join(sales, on={"id": "seller"}, window=ps.tumbling("10s"), how="semi")
    sellers.select("id", "name", stime=pl.col("date_time").dt.truncate("10s")).write(ps.table("q8"))
    return flow


Q11 = """
with steps as (
    select bidder, date_time,
        date_time - lag(date_time) over (partition by bidder order by date_time) < interval 10 seconds as goes_on
    from bid
), sessions as (
    select bidder, date_time, count(*) filter (where goes_on is not true)
        over (partition by bidder order by date_time rows unbounded preceding) as session
    from steps
)
select bidder, count(*) as bid_count, min(date_time) as starttime, max(date_time) + interval 10 seconds as endtime
from sessions group by bidder, session
"""


def q11() -> ps.Flow:
    """User sessions: how many bids in a row, with less than 10 seconds of silence between them."""
    flow = ps.Flow("nexmark_q11")
    bids = read(flow, "bid")
    sessions = bids.group_by("bidder").window(ps.session("10s")).agg(bid_count=pl.len())
    sessions.select("bidder", "bid_count", starttime=pl.col("window_start"), endtime=pl.col("window_end")).write(
        ps.table("q11")
    )
    return flow


Q12 = """
select bidder, count(*) as bid_count, time_bucket(interval 10 seconds, processing_time) as starttime,
    starttime + interval 10 seconds as endtime
from q12_bids group by all
"""


def q12() -> ps.Flow:
    """Processing-time windows: how many bids of each bidder came in each 10 seconds of the engine's own clock.

    The answer depends on when the rows came, so the rows are written too, with their time.
    """
    flow = ps.Flow("nexmark_q12")
    bids = flow.read(ps.topic("bid", schema=Bid), event_time=ps.PROCESSING_TIME, name="bid")
    bids.select("bidder", ps.PROCESSING_TIME).write(ps.table("q12_bids"))
    counts = bids.group_by("bidder").window(ps.tumbling("10s")).agg(bid_count=pl.len())
    counts.select("bidder", "bid_count", starttime=pl.col("window_start"), endtime=pl.col("window_end")).write(
        ps.table("q12")
    )
    return flow


QUERIES = (
    Query("q5", q5, Q5),
    Query("q7", q7, Q7),
    Query("q8", q8, Q8, reads=("person", "auction")),
    Query("q11", q11, Q11),
    Query("q12", q12, Q12, stamped="q12_bids"),
)
