"""What the demo shows at the end: result tables, one chart, and what the rows that were not right look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

__all__ = ["aircraft_table", "carrier_table", "draw_delays", "weather_table"]

LOCAL = "America/New_York"
_FEWEST_FLIGHTS = 20
"""A mean of fewer flights is left blank in the chart."""


def carrier_table(delays: pl.DataFrame) -> Table:
    """The hours of each carrier added up, the least punctual first."""
    flown = pl.col("flights").sum() - pl.col("cancelled").sum()
    summed = delays.group_by("airline").agg(
        pl.col("flights", "cancelled").sum(),
        (pl.col("late").sum() / flown).alias("late_share"),
        (pl.col("delay_min").sum() / flown).alias("mean_min"),
        pl.col("worst_min").max(),
    )
    rows = [
        (
            row["airline"],
            f"{row['flights']:,}",
            f"{row['cancelled']:,}",
            f"{row['late_share']:.1%}",
            f"{row['mean_min']:.1f}",
            f"{row['worst_min'] or 0:,}",
        )
        for row in summed.sort("mean_min", descending=True, nulls_last=True).iter_rows(named=True)
    ]
    names = ("carrier", "flights", "cancelled", "late (> 15 min)", "mean delay, min", "worst, min")
    return _table("Delays by carrier", names, rows)


def weather_table(effect: pl.DataFrame) -> Table:
    """What the weather at the airport did, the worst first."""
    rows = [
        (
            row["weather"],
            f"{row['flights']:,}",
            f"{row['cancelled'] / row['flights']:.1%}",
            f"{row['late'] / max(row['flights'] - row['cancelled'], 1):.1%}",
            f"{row['mean_delay_min'] or 0:.1f}",
        )
        for row in effect.sort("mean_delay_min", descending=True, nulls_last=True).iter_rows(named=True)
    ]
    names = ("weather", "flights", "cancelled", "late (> 15 min)", "mean delay, min")
    return _table("The effect of weather", names, rows)


def aircraft_table(aircraft: pl.DataFrame, *, shown: int = 5) -> Table:
    """The aircraft that spent most time in the air."""
    rows = [
        (
            row["tailnum"],
            " ".join(filter(None, (row["manufacturer"], row["model"]))) or "unknown",
            f"{row['flights']:,}",
            f"{row['air_time_min'] / 60:,.0f}",
            f"{row['mean_delay_min']:.1f}",
        )
        for row in aircraft.sort("air_time_min", "tailnum", descending=[True, False]).head(shown).iter_rows(named=True)
    ]
    names = ("aircraft", "model", "flights", "hours in the air", "mean delay, min")
    return _table(f"The {shown} busiest of {aircraft.height:,} aircraft", names, rows)


def draw_delays(delays: pl.DataFrame, path: Path) -> None:
    """A heat map of the mean delay by carrier and hour of the day, as PNG at `path`."""
    hour = pl.col("window_start").dt.convert_time_zone(LOCAL).dt.hour().alias("hour")
    flown = pl.col("flights") - pl.col("cancelled")
    cells = delays.group_by("airline", hour).agg(flown.sum().alias("flown"), pl.col("delay_min").sum())
    totals = cells.group_by("airline").agg(
        pl.col("flown").sum(), (pl.col("delay_min").sum() / pl.col("flown").sum()).alias("mean")
    )
    carriers = totals.filter(pl.col("flown") >= _FEWEST_FLIGHTS).sort("mean", descending=True)["airline"].to_list()
    hours = list(range(5, 24))
    means = {
        (row["airline"], row["hour"]): row["delay_min"] / row["flown"]
        for row in cells.filter(pl.col("flown") >= _FEWEST_FLIGHTS).iter_rows(named=True)
    }
    grid = [[means.get((carrier, hour), float("nan")) for hour in hours] for carrier in carriers]

    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid, cmap="YlOrRd", vmin=0, vmax=45, aspect="auto")
    axes.set_title("Delays grow through the day", loc="left", fontsize=14, fontweight="bold", pad=22)
    axes.text(
        0,
        1.02,
        "Mean departure delay in minutes, by carrier and scheduled hour (local time). Flights from New York, 2013.",
        transform=axes.transAxes,
        fontsize=9,
        color="#555555",
    )
    axes.set_xticks(range(len(hours)), [f"{hour}" for hour in hours], fontsize=9)
    axes.set_yticks(range(len(carriers)), carriers, fontsize=9)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    for y, row in enumerate(grid):
        for x, mean in enumerate(row):
            if mean == mean:  # noqa: PLR0124 - not a number: too few flights
                axes.text(x, y, f"{round(mean)}", ha="center", va="center", fontsize=7, color=_ink(mean))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _ink(mean: float) -> str:
    return "white" if mean > 30 else "#333333"


def _table(title: str, names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.show_edge = table.pad_edge = False
    for position, name in enumerate(names):
        table.add_column(name, justify="left" if position == 0 or name == "model" else "right")
    for row in rows:
        table.add_row(*row)
    return table
