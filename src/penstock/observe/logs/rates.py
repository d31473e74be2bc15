"""Metrics from logs: entries of a filter counted over time, or a number in their messages as a distribution."""

from __future__ import annotations

from typing import Any

from penstock.observe.logs.asking import LogQuery, LogReader

__all__ = ["log_distribution", "log_rates"]

_COUNTS = 'select (epoch_us("timestamp") // ?) * ? as start_us, count(*) as count from logs group by 1 order by 1'
_NUMBERS = """
select (epoch_us("timestamp") // ?) * ? as start_us, count(number) as count, sum(number) as sum, min(number) as min,
       max(number) as max, quantile_cont(number, 0.5) as p50, quantile_cont(number, 0.9) as p90,
       quantile_cont(number, 0.99) as p99
from (select "timestamp", try_cast(regexp_extract(message, ?, 1) as double) as number from logs)
where number is not null group by 1 order by 1
"""


def log_rates(reader: LogReader, query: LogQuery, *, every_us: int) -> list[dict[str, Any]]:
    """How many entries a query has in each `every_us` of time: `start_us`, `count`. Where there are none, no row."""
    return list(reader.table(query, _COUNTS, [every_us, every_us]).to_pylist())


def log_distribution(reader: LogReader, query: LogQuery, *, value: str, every_us: int) -> list[dict[str, Any]]:
    """How the numbers lie that `value` finds (an RE2 pattern, its first group): `start_us`, `count`, `sum`, `min`,
    `max`, `p50`, `p90`, `p99`. Entries without such a number do not count. Raises QueryError.
    """
    return list(reader.table(query, _NUMBERS, [every_us, every_us, value]).to_pylist())
