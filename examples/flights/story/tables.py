"""The tables of the story: as they are, and as they should be."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa

from examples.flights.batch import QUESTIONS, Verdict, compare
from penstock.control import Environment, SqlSession, read_ledger

__all__ = ["ALL", "WrongHours", "letters", "read_table", "verdicts", "wrong_hours", "wrong_rows"]

ALL = tuple(QUESTIONS)
"""The tables that the flow writes."""
_TOLD = ("flights", "cancelled", "late", "delay_min", "worst_min")


@dataclass(frozen=True, slots=True)
class WrongHours:
    """Hours of a carrier that are not as they should be. `cancelled`: flights that are counted as if they had flown;
    `rows`: what the table has and what it should have (`..._right`), the worst first.
    """

    cancelled: int
    rows: pl.DataFrame


def read_table(environment: Environment, name: str) -> pl.DataFrame:
    """A table, as `penstock sql` gives it."""
    with SqlSession(environment) as session:
        found = session.query(f"select * from {name}")
        return pl.DataFrame(pa.Table.from_batches(found.batches, found.schema))


def wrong_hours(found: pl.DataFrame, right: pl.DataFrame, *, since: datetime) -> WrongHours:
    """The rows of `delays_by_carrier` from an hour on, beside those that it should have."""
    both = (
        _plain(found)
        .filter(pl.col("window_start") >= since)
        .join(_plain(right), on=["carrier", "window_start"], suffix="_right")
    )
    wrong = both.filter(pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_right")) for name in _TOLD))
    missed = pl.col("cancelled_right") - pl.col("cancelled")
    worst = wrong.sort(missed, "window_start", "carrier", descending=[True, False, False])
    return WrongHours(int(wrong.select(missed.sum()).item() or 0), worst)


def wrong_rows(found: pl.DataFrame, right: pl.DataFrame) -> int:
    """How many rows of a table should not be there."""
    columns = sorted(right.columns)
    left, other = (_plain(frame.select(columns)) for frame in (found, right))
    return left.join(other, on=columns, how="anti", nulls_equal=True).height


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Times without a zone, whole numbers as Int64, means rounded: what two engines can be compared by."""
    return frame.with_columns(
        pl.selectors.datetime().dt.replace_time_zone(None).cast(pl.Datetime("us")),
        pl.selectors.integer().cast(pl.Int64),
        pl.selectors.float().round(9),
    )


def verdicts(here: Environment, there: Environment) -> list[Verdict]:
    """Each table that the flow writes, compared row by row between two environments."""
    return [compare(name, read_table(here, name), read_table(there, name)) for name in ALL]


def letters(environment: Environment, flow: str) -> Counter[tuple[str, str]]:
    """The dead letters that are open, by step and text."""
    with read_ledger(environment) as ledger:
        found = () if ledger is None else ledger.dead_letters(flow)
    return Counter((letter.step, letter.payload) for letter in found if letter.status == "open")
