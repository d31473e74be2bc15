"""The figures of a full run as a Markdown table and a plot in `docs/`."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.limits import LIMITS
from benchmarks.nexmark import QUERIES
from benchmarks.places import ROOT

__all__ = ["write_report"]

DOCUMENT = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "benchmarks.svg"
BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
MILLION = 1_000_000


def write_report(figures: Mapping[str, Any]) -> Path:
    """Put the figures between the marks of `docs/benchmarks.md` and draw the plot; gives the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    body = "\n".join((BEGIN, "", _machine(), "", *_throughput(figures["throughput"]), *_others(figures), END))
    marked = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    DOCUMENT.write_text(marked.sub(lambda _: body, text), encoding="utf-8")
    _plot(figures["throughput"])
    return DOCUMENT


def _machine() -> str:
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"Measured on {os.cpu_count()} cores ({processor}), Python {platform.python_version()}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def _millions(value: float | None) -> str:
    return "-" if value is None else f"{value / MILLION:.2f}"


def _throughput(told: Mapping[str, Any]) -> list[str]:
    queries, peers = told["queries"], told["peers"]
    budgets = sorted({int(budget) for figure in queries.values() for budget in figure["by_epoch_rows"]})
    head = ["query", *(f"{budget:,} rows an epoch" for budget in budgets), "limit", "ratio to limit", *peers]
    rows = [
        [
            f"{name}: {QUERIES[name].title.partition(':')[0].lower()}",
            *(_millions(figure["by_epoch_rows"][str(budget)]["events_per_s"]) for budget in budgets),
            _millions(figure["limit_events_per_s"]),
            f"{figure['ratio_to_limit']:.2f}",
            *(_millions(peer["queries"].get(name, {}).get("events_per_s")) for peer in peers.values()),
        ]
        for name, figure in queries.items()
    ]
    lines = [
        f"### Throughput, in millions of events a second ({told['rows']:,} JSON lines, exactly-once Parquet files)",
        "",
        "![throughput](benchmarks.svg)",
        "",
        *_table(head, rows),
        "The limit is Polars over the whole file at once, with the same rows in one Parquet file.",
        f"Geometric mean of the ratios to it: {told['geomean_ratio_to_limit']:.2f}.",
        "",
    ]
    for name, peer in peers.items():
        promise = "exactly-once" if peer["exactly_once"] else "not exactly-once"
        lines.append(f"- {name} {peer.get('version', '')}: {peer['setting']} ({promise}), start of the job excluded")
    if told["geomean_ratio_to_best_peer"] is not None:
        lines += ["", f"Times the best exactly-once peer of each query: {told['geomean_ratio_to_best_peer']:.1f}."]
    return [*lines, ""]


def _others(figures: Mapping[str, Any]) -> list[str]:
    live, keys, mapped = figures["latency"], figures["state"], figures["map"]
    changed, recovered = figures["change"], figures["recovery"]
    return [
        "### Latency, state, row-wise Python",
        "",
        *_table(
            ["what", "figure"],
            [
                ["event created to visible in PostgreSQL", f"p50 {live['p50_ms']} ms, p99 {live['p99_ms']} ms"],
                ["at", f"{live['rate_per_s']:,} rows/s; lost {live['lost']}, duplicated {live['duplicated']}"],
                ["epoch of 10,000 rows, 100,000 keys", f"p50 {keys['epoch_ms_p50_100k_keys']} ms"],
                ["epoch of 10,000 rows, 10 million keys", f"p50 {keys['epoch_ms_p50_10m_keys']} ms"],
                ["memory with 10 million keys", f"{keys['rss_mb_10m_keys']:,} MB"],
                ["row-wise `map`", f"{mapped['map_rows_per_s']:,} rows/s, {mapped['ratio']} times a bare loop's time"],
            ],
        ),
        "### Handovers and deaths",
        "",
        *_table(
            ["what", "figure"],
            [
                [
                    f"new code, {changed['keys']:,} keys, {changed['rate_per_s']:,} rows/s",
                    f"pause p50 {changed['pause_ms_p50']} ms, p99 {changed['pause_ms_p99']} ms",
                ],
                [
                    "back to the code before",
                    f"pause p50 {changed['rollback_pause_ms_p50']} ms, p99 {changed['rollback_pause_ms_p99']} ms",
                ],
                ["usual gap between outputs", f"{changed['usual_gap_ms']} ms"],
                ["lost, duplicated", f"{changed['lost']}, {changed['duplicated']} in {changed['handovers']} handovers"],
                *(_changed_peer(name, peer) for name, peer in changed["peers"].items()),
                [
                    f"`kill -9` to new output, {recovered['keys']:,} keys",
                    f"p50 {recovered['to_first_output_ms_p50']} ms, p99 {recovered['to_first_output_ms_p99']} ms",
                ],
                [
                    "the same with a standby",
                    f"p50 {recovered['with_standby_ms_p50']} ms, p99 {recovered['with_standby_ms_p99']} ms",
                ],
                ["lost, duplicated", f"{recovered['lost']}, {recovered['duplicated']} in {recovered['kills']} kills"],
                *(_killed_peer(name, peer) for name, peer in recovered["peers"].items()),
            ],
        ),
        *(f"- {name} {peer['version']}: {peer['setting']}" for name, peer in changed["peers"].items()),
        *_watching(figures["overhead"], figures["logs"], figures["page"]),
    ]


def _watching(overhead: Mapping[str, Any], logs: Mapping[str, Any], page: Mapping[str, Any]) -> list[str]:
    spread = f"pairs from {overhead['overhead_least']:.3f} to {overhead['overhead_most']:.3f}"
    asked = {"the errors of one hour": "filter_1h_ms", "a text in all lines": "full_text_ms", "a join": "sql_join_ms"}
    return [
        "### Watching",
        "",
        *_table(
            ["what", "figure"],
            [
                ["share of the throughput that watching costs", f"{overhead['overhead_ratio']:.3f} ({spread})"],
                [f"{logs['lines']:,} lines through `logging`", f"{logs['ingest_lines_per_s']:,} lines/s"],
                *([what, f"{logs[name]} ms"] for what, name in asked.items()),
                [
                    f"views of {page['steps']:,} steps, {page['epochs']:,} epochs, {page['log_lines']:,} log lines",
                    f"first paint {page['first_paint_ms']} ms, data after {page['shown_ms']} ms",
                ],
            ],
        ),
    ]


def _changed_peer(name: str, peer: Mapping[str, Any]) -> list[str]:
    if "missing" in peer:
        return [f"new code on {name}", "missing"]
    pauses = f"pause p50 {peer['pause_ms_p50']} ms, p99 {peer['pause_ms_p99']} ms"
    return [f"new code on {name}, {peer['changes']} times", pauses]


def _killed_peer(name: str, peer: Mapping[str, Any]) -> list[str]:
    if "missing" in peer:
        return [f"`kill -9` of {name}", "missing"]
    times = f"p50 {peer['to_first_output_ms_p50']} ms, p99 {peer['to_first_output_ms_p99']} ms"
    return [f"`kill -9` of {name} to new output, {peer['kills']} times", times]


def _plot(told: Mapping[str, Any]) -> None:
    """Bars a query: this engine, its limit, the peers."""
    names = [name for name in LIMITS if name in told["queries"]]
    series = {
        "Penstock": [told["queries"][name]["events_per_s"] for name in names],
        "limit (Polars, batch)": [told["queries"][name]["limit_events_per_s"] for name in names],
    }
    for peer, found in told["peers"].items():
        series[peer] = [found["queries"].get(name, {}).get("events_per_s", 0) for name in names]
    mpl.rcParams["svg.hashsalt"] = "penstock"  # the same figures give the same file
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, (label, values) in enumerate(series.items()):
        places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(names))]
        axes.bar(places, [value / MILLION for value in values], width, label=label)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("million events a second")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PLOT, metadata={"Date": None})
