"""The flights of New York, 2013, as a stream: delays by carrier and hour, what weather does, how each
aircraft is doing.

A record comes when its flight is over, so a late flight comes late: the order is not that of the timetable. Event time
is the scheduled departure, and the watermark waits for the slowest flight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

import penstock as ps

UTC_TIME = pl.Datetime("us", "UTC")
FLIGHT = {
    "scheduled": UTC_TIME,
    "dep_time": int,  # hhmm, local; nothing for a cancelled flight
    "dep_delay": int,  # minutes
    "arr_delay": int,
    "carrier": str,
    "flight": int,
    "tailnum": str,
    "origin": str,
    "dest": str,
    "air_time": int,  # minutes
    "distance": int,  # miles
}
WEATHER = {"origin": str, "hour": UTC_TIME, "temp": float, "wind_speed": float, "precip": float, "visib": float}
AIRLINE = {"carrier": str, "airline": str}
PLANE = {"tailnum": str, "manufacturer": str, "model": str, "built": int, "seats": int}
LATE_MIN = 15

flow = ps.Flow("delays", owner="operations", freshness="1h", epoch_rows=ps.param("epoch_rows", 25_000))

flights = flow.read(ps.topic("flights", schema=FLIGHT), event_time="scheduled", lateness="32h")
weather = flow.table(ps.table("weather", schema=WEATHER), key=["origin", "hour"])
airlines = flow.table(ps.table("airlines", schema=AIRLINE), key="carrier")
planes = flow.table(ps.table("planes", schema=PLANE), key="tailnum")

# A cancelled flight has no departure: that is counted. A flight of 17 miles can't be: that row is taken out.
counted = flights.expect(ps.not_null("dep_time"), ps.between("dep_delay", -60, 24 * 60))
plausible = counted.expect(ps.between("distance", 50, 6_000), on_fail="dead_letter")

# Each hour of each carrier, once, when no flight of that hour can come any more.
by_hour = (
    plausible.group_by("carrier")
    .window(ps.tumbling("1h"))
    .agg(
        flights=pl.len(),
        cancelled=pl.col("dep_time").is_null().sum(),
        late=(pl.col("dep_delay") > LATE_MIN).sum(),
        delay_min=pl.col("dep_delay").sum(),
        worst_min=pl.col("dep_delay").max(),
    )
)
delays = by_hour.join(airlines, on="carrier")
delays.write(ps.table("delays_by_carrier"))

# Every flight with the weather at its airport in the hour of its departure.
hourly = plausible.with_columns(hour=pl.col("scheduled").dt.truncate("1h"))
outside = hourly.join(weather, on=["origin", "hour"]).with_columns(
    weather=pl.when(pl.col("visib").is_null())
    .then(pl.lit("no report"))
    .when(pl.col("visib") < 2)  # miles
    .then(pl.lit("fog"))
    .when(pl.col("precip") > 0)  # inches in the hour
    .then(pl.lit("rain or snow"))
    .when(pl.col("wind_speed") >= 25)  # miles an hour
    .then(pl.lit("strong wind"))
    .otherwise(pl.lit("fair"))
)
effect = outside.group_by("weather").agg(
    flights=pl.len(),
    cancelled=pl.col("dep_time").is_null().sum(),
    late=(pl.col("dep_delay") > LATE_MIN).sum(),
    mean_delay_min=pl.col("dep_delay").mean(),
)
effect.write(ps.table("weather_effect", key="weather"))
rough_days = (
    outside.filter(pl.col("weather") != "fair")
    .group_by("origin", "weather")
    .window(ps.tumbling("1d"))
    .agg(flights=pl.len(), mean_delay_min=pl.col("dep_delay").mean())
)
rough_days.write(ps.table("rough_days"))  # Parquet files: see penstock.toml

# The running state of each aircraft: one row, updated with every flight.
flown = plausible.filter(pl.col("tailnum").is_not_null() & pl.col("dep_time").is_not_null())
aircraft = (
    flown.join(planes, on="tailnum")
    .group_by("tailnum")
    .agg(
        flights=pl.len(),
        air_time_min=pl.col("air_time").sum(),
        distance_mi=pl.col("distance").sum(),
        mean_delay_min=pl.col("dep_delay").mean(),
        manufacturer=pl.col("manufacturer").max(),
        model=pl.col("model").max(),
    )
)
aircraft.write(ps.table("aircraft", key="tailnum"))


def late_in_a_row(context: ps.KeyContext, rows: list[Mapping[str, Any]]) -> Iterator[dict[str, object]]:
    """An alert for every fifth flight in a row that an aircraft left late."""
    streak = context.state["streak"] or 0
    for row in rows:
        streak = streak + 1 if row["dep_delay"] > LATE_MIN else 0
        if streak and streak % 5 == 0:
            yield {"tailnum": row["tailnum"], "carrier": row["carrier"], "at": row["scheduled"], "streak": streak}
    context.state["streak"] = streak


alerts = flown.group_by("tailnum").process(
    late_in_a_row,
    schema={"tailnum": str, "carrier": str, "at": UTC_TIME, "streak": int},
    state={"streak": int},
)
alerts.write(ps.table("late_aircraft"))
