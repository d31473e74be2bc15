"""The same questions to the same file in one go, by DuckDB: an answer that knows no epochs, windows or watermarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import duckdb
import polars as pl

__all__ = ["QUESTIONS", "Verdict", "answer", "compare"]

_FLIGHTS = """
create view flights as
select row_number() over () as place, * replace (cast(scheduled as timestamptz) at time zone 'UTC' as scheduled)
from read_json($flights, format = 'newline_delimited', ignore_errors = true, columns = {
    scheduled: 'varchar', dep_time: 'bigint', dep_delay: 'bigint', arr_delay: 'bigint', carrier: 'varchar',
    flight: 'bigint', tailnum: 'varchar', origin: 'varchar', dest: 'varchar', air_time: 'bigint', distance: 'bigint'})
where distance between 50 and 6000
"""
_OUTSIDE = """
create view outside as
select flights.*, case
    when visib is null then 'no report' when visib < 2 then 'fog' when precip > 0 then 'rain or snow'
    when wind_speed >= 25 then 'strong wind' else 'fair' end as weather
from flights left join reports on reports.origin = flights.origin and hour = date_trunc('hour', scheduled)
"""
QUESTIONS: Mapping[str, str] = MappingProxyType(
    {
        "delays_by_carrier": """
            select carrier, date_trunc('hour', scheduled) as window_start, window_start + interval 1 hour as window_end,
                count(*) as flights, count(*) - count(dep_time) as cancelled,
                count(*) filter (dep_delay > 15) as late, coalesce(sum(dep_delay), 0)::bigint as delay_min,
                max(dep_delay) as worst_min, any_value(airline) as airline
            from flights left join airlines using (carrier) group by carrier, window_start""",
        "weather_effect": """
            select weather, count(*) as flights, count(*) - count(dep_time) as cancelled,
                count(*) filter (dep_delay > 15) as late, avg(dep_delay) as mean_delay_min
            from outside group by weather""",
        "rough_days": """
            select origin, weather, date_trunc('day', scheduled)::timestamp as window_start,
                window_start + interval 1 day as window_end, count(*) as flights, avg(dep_delay) as mean_delay_min
            from outside where weather <> 'fair' group by origin, weather, window_start""",
        "aircraft": """
            select tailnum, count(*) as flights, coalesce(sum(air_time), 0)::bigint as air_time_min,
                sum(distance)::bigint as distance_mi, avg(dep_delay) as mean_delay_min,
                any_value(manufacturer) as manufacturer, any_value(model) as model
            from flights left join planes using (tailnum)
            where tailnum is not null and dep_time is not null group by tailnum""",
        "late_aircraft": """
            with flown as (
                select *, count(*) filter (dep_delay <= 15) over (partition by tailnum order by place) as streak_number
                from flights where tailnum is not null and dep_time is not null),
            streaks as (
                select *, count(*) filter (dep_delay > 15) over (
                    partition by tailnum, streak_number order by place) as streak
                from flown where dep_delay > 15)
            select tailnum, carrier, scheduled as at, streak from streaks where streak % 5 = 0""",
    }
)
"""Each table that the flow writes, as one query over the files."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a table of the flow holds what the batch query gives; `differing`: rows that only one of them has."""

    table: str
    rows: int
    differing: int

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same rows, each as often."""
        return self.differing == 0


def answer(folder: Path) -> dict[str, pl.DataFrame]:
    """The answer to every question, from the files in `folder`."""
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(_FLIGHTS.replace("$flights", _literal(folder / "flights.ndjson")))
        connection.execute(
            f"create view reports as select * replace (hour::timestamptz at time zone 'UTC' as hour) from "
            f"read_csv({_literal(folder / 'weather.csv')})"
        )
        connection.execute(f"create view airlines as from read_csv({_literal(folder / 'airlines.csv')})")
        connection.execute(f"create view planes as from read_parquet({_literal(folder / 'planes.parquet')})")
        connection.execute(_OUTSIDE)
        return {table: pl.DataFrame(connection.sql(query).to_arrow_table()) for table, query in QUESTIONS.items()}


def compare(table: str, found: pl.DataFrame, expected: pl.DataFrame) -> Verdict:
    """Compare the rows as multisets; means are rounded to 9 decimals, since a sum in another order ends differently."""
    keys = sorted(expected.columns)
    both = [_plain(frame.select(keys)).group_by(keys).len("times") for frame in (found, expected)]
    joined = both[0].join(both[1], on=keys, how="full", nulls_equal=True, suffix="_batch")
    times, times_batch = (pl.col(name).fill_null(0).cast(pl.Int64) for name in ("times", "times_batch"))
    differing = joined.select((times - times_batch).abs().sum()).item()
    return Verdict(table, found.height, int(differing))


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Times without a zone, whole numbers as Int64, means rounded."""
    return frame.with_columns(
        pl.selectors.datetime().dt.replace_time_zone(None).cast(pl.Datetime("us")),
        pl.selectors.integer().cast(pl.Int64),
        pl.selectors.float().round(9),
    )


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
