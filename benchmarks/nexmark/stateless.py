"""The queries that look at one row at a time: q0, q1, q2, q14, q21, q22."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

import penstock as ps
from benchmarks.nexmark.query import Query, read

__all__ = ["EUROS_PER_DOLLAR", "QUERIES", "count_c"]

EUROS_PER_DOLLAR = 0.908
CHANNEL_IDS = {"apple": "0", "google": "1", "facebook": "2", "baidu": "3"}
CHANNEL_ID_IN_URL = r"(&|^)channel_id=([^&]*)"

Q0 = "select auction, bidder, price, date_time, extra from bid"


def q0() -> ps.Flow:
    """Pass-through: what reading and writing alone cost."""
    flow = ps.Flow("nexmark_q0")
    bids = read(flow, "bid")
    bids.select("auction", "bidder", "price", "date_time", "extra").write(ps.table("q0"))
    return flow


Q1 = "select auction, bidder, 0.908::double * price as price, date_time, extra from bid"


def q1() -> ps.Flow:
    """Currency conversion: every bid in euros."""
    flow = ps.Flow("nexmark_q1")
    bids = read(flow, "bid")
    euros = bids.select("auction", "bidder", pl.col("price") * EUROS_PER_DOLLAR, "date_time", "extra")
    euros.write(ps.table("q1"))
    return flow


Q2 = "select auction, price from bid where auction % 123 = 0"


def q2() -> ps.Flow:
    """Selection: the bids on every 123rd auction."""
    flow = ps.Flow("nexmark_q2")
    bids = read(flow, "bid")
    bids.filter(pl.col("auction") % 123 == 0).select("auction", "price").write(ps.table("q2"))
    return flow


class Timed:
    """A bid in euros with its time of day."""

    auction: int
    bidder: int
    price: float
    bid_time_type: str
    date_time: datetime
    extra: str


class Counted(Timed):
    """The columns of q14."""

    c_counts: int


def count_c(row: dict[str, Any]) -> dict[str, Any]:
    """Add how often `c` stands in the extra text: the user-defined function of q14, in plain Python."""
    return {**row, "c_counts": row["extra"].count("c")}


Q14 = """
select auction, bidder, 0.908::double * price as price,
    case when hour(date_time) between 8 and 18 then 'dayTime'
         when hour(date_time) <= 6 or hour(date_time) >= 20 then 'nightTime'
         else 'otherTime' end as bid_time_type,
    date_time, extra, length(extra) - length(replace(extra, 'c', '')) as c_counts
from bid where 0.908::double * price > 1000000 and 0.908::double * price < 50000000
"""


def q14() -> ps.Flow:
    """Calculation: expressions, a condition on a computed value, and a user-defined function."""
    flow = ps.Flow("nexmark_q14")
    bids = read(flow, "bid")
    hour = pl.col("date_time").dt.hour()
    time_of_day = (
        pl.when(hour.is_between(8, 18))
        .then(pl.lit("dayTime"))
        .when((hour <= 6) | (hour >= 20))
        .then(pl.lit("nightTime"))
        .otherwise(pl.lit("otherTime"))
    )
    euros = bids.with_columns(price=pl.col("price") * EUROS_PER_DOLLAR, bid_time_type=time_of_day)
    dear = euros.filter(pl.col("price").is_between(1_000_000, 50_000_000, closed="none"))
    plain = dear.select(*Timed.__annotations__)
    plain.map(count_c, schema=Counted).write(ps.table("q14"))
    return flow


Q21 = r"""
select * from (
    select auction, bidder, price, channel,
        case lower(channel)
            when 'apple' then '0' when 'google' then '1' when 'facebook' then '2' when 'baidu' then '3'
            else nullif(regexp_extract(url, '(&|^)channel_id=([^&]*)', 2), '') end as channel_id
    from bid
) where channel_id is not null
"""


def q21() -> ps.Flow:
    """Channel id: from a short list, else out of the address by a regular expression."""
    flow = ps.Flow("nexmark_q21")
    bids = read(flow, "bid")
    listed = pl.col("channel").str.to_lowercase().replace_strict(CHANNEL_IDS, default=None, return_dtype=pl.String)
    found = pl.col("url").str.extract(CHANNEL_ID_IN_URL, 2)
    named = bids.select("auction", "bidder", "price", "channel", channel_id=pl.coalesce(listed, found))
    named.filter(pl.col("channel_id").is_not_null()).write(ps.table("q21"))
    return flow


Q22 = """
select auction, bidder, price, channel,
    string_split(url, '/')[4] as dir1, string_split(url, '/')[5] as dir2, string_split(url, '/')[6] as dir3
from bid
"""


def q22() -> ps.Flow:
    """Address parts: the first three folders of the address."""
    flow = ps.Flow("nexmark_q22")
    bids = read(flow, "bid")
    parts = pl.col("url").str.split("/")
    folders = [parts.list.get(place + 2, null_on_oob=True).alias(f"dir{place}") for place in (1, 2, 3)]
    bids.select("auction", "bidder", "price", "channel", *folders).write(ps.table("q22"))
    return flow


QUERIES = (
    Query("q0", q0, Q0),
    Query("q1", q1, Q1),
    Query("q2", q2, Q2),
    Query("q14", q14, Q14),
    Query("q21", q21, Q21),
    Query("q22", q22, Q22),
)
