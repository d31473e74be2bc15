"""Throughput: JSON lines in, exactly-once Parquet files out, beside the limit and the peers on the same files."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

import penstock as ps
from benchmarks.limits import ENGINES, LIMITS, Engine, run_limit
from benchmarks.nexmark import ENTITIES, QUERIES, Entity, Query
from benchmarks.nexmark.data import lines
from benchmarks.peers import KNOWN, Peer, PeerMissing, run_peer
from benchmarks.places import say, work_folder
from benchmarks.running import CLOCK, run
from penstock.engine import RunOptions
from penstock.flow import Dataset

__all__ = ["FULL", "QUICK", "Size", "throughput"]

SEED = 7
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much to do: rows of each input in all, pairs of (engine, limit) a query, and budgets of an epoch in rows.

    The first budget is the engine's default, the one that is compared with the limit.
    """

    rows: int
    pairs: int
    budgets: tuple[int, ...]


DEFAULT_BUDGET = RunOptions().epoch_rows
QUICK = Size(rows=1 * MILLION, pairs=3, budgets=(DEFAULT_BUDGET,))
FULL = Size(rows=3 * MILLION, pairs=5, budgets=(DEFAULT_BUDGET, 100_000, 10_000))


def throughput(size: Size, *, queries: Sequence[str] = (), peers: Sequence[str] = ()) -> dict[str, Any]:
    """Measure `queries` (default: all that have a limit) and give the figures as JSON values."""
    names = list(queries) or list(LIMITS)
    figures = {name: _measure(QUERIES[name], size) for name in names}
    told: dict[str, Any] = {
        "rows": size.rows,
        "queries": figures,
        "geomean_ratio_to_limit": _geomean([figure["ratio_to_limit"] for figure in figures.values()]),
        "all_equal": all(figure["equal"] for figure in figures.values()),
        "peers": {name: _measure_peer(KNOWN[name], names, size) for name in peers},
    }
    told["geomean_ratio_to_best_peer"] = _ratio_to_best(figures, told["peers"])
    return told


def _inputs(query: Query, rows: int) -> dict[Entity, Path]:
    """The files that a query reads: bids alone, or people and auctions as one to three."""
    if query.reads == ("bid",):
        return {"bid": lines("bid", rows, seed=SEED)}
    people = rows // 4
    return {"person": lines("person", people, seed=SEED), "auction": lines("auction", rows - people, seed=SEED)}


def _engine(query: Query, inputs: Mapping[Entity, Path], folder: Path, epoch_rows: int) -> float:
    """One run of the engine into `folder/answer`: seconds."""
    datasets: dict[str, Dataset] = {
        name: ps.files(str(path), schema=ENTITIES[name], format="ndjson") for name, path in inputs.items()
    }
    definition = query.build().build()
    datasets[definition.writes[0].name] = ps.parquet(str(folder / "answer"))
    gc.collect()
    ran = run(definition, datasets, folder, options=RunOptions(until_drained=True, epoch_rows=epoch_rows))
    return ran.seconds


def _limit(query: Query, inputs: Mapping[Entity, Path], target: Path, engine: Engine) -> float:
    """One run of the limit: seconds. What it leaves to be written to the disk must not wait for the engine's turn."""
    gc.collect()
    started_s = CLOCK.stopwatch_s()
    run_limit(query.name, inputs, target, engine)
    seconds = CLOCK.stopwatch_s() - started_s
    with target.open("rb") as written:
        os.fsync(written.fileno())
    return seconds


def _measure(query: Query, size: Size) -> dict[str, Any]:
    """One query at each budget, and the limit. Warm: the first run of each side does not count."""
    inputs = _inputs(query, size.rows)
    with work_folder("throughput") as work:
        target = work / "limit.parquet"
        warm = {engine: min(_limit(query, inputs, target, engine) for _ in range(2)) for engine in ENGINES}
        faster = min(ENGINES, key=lambda engine: warm[engine])
        expected = _fingerprint(pl.read_parquet(target))
        figures, equal = {}, True
        for budget in size.budgets:
            pairs = []
            for number in range(size.pairs + 1):
                folder = work / f"{budget}-{number}"
                engine_s = _engine(query, inputs, folder, budget)
                if number:
                    pairs.append((engine_s, _limit(query, inputs, target, faster)))
                else:
                    equal = equal and _fingerprint(pl.read_parquet(folder / "answer" / "*.parquet")) == expected
            figures[budget] = _figure(size.rows, pairs)
            say(f"{query.name} at {budget:,} rows an epoch: {_shown(figures[budget])}{'' if equal else ', WRONG ROWS'}")
    more = {str(budget): figure for budget, figure in figures.items()}
    return {**figures[size.budgets[0]], "equal": equal, "rows_out": expected[0], "by_epoch_rows": more}


def _figure(rows: int, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The medians; the ratio is taken pair by pair, because a machine is not equally fast at all times."""
    return {
        "events_per_s": round(rows / median(engine_s for engine_s, _ in pairs)),
        "limit_events_per_s": round(rows / median(limit_s for _, limit_s in pairs)),
        "ratio_to_limit": round(median(limit_s / engine_s for engine_s, limit_s in pairs), 3),
    }


def _shown(figure: Mapping[str, Any]) -> str:
    ours, limit = figure["events_per_s"] / MILLION, figure["limit_events_per_s"] / MILLION
    return f"{ours:.2f} M/s, limit {limit:.2f} M/s, ratio {figure['ratio_to_limit']:.2f}"


def _fingerprint(frame: pl.DataFrame) -> tuple[int, int]:
    """Rows, and the sum of their hashes: the same for the same rows in any order, whatever the width of integers."""
    plain = frame.select(sorted(frame.columns)).with_columns(pl.selectors.integer().cast(pl.Int64))
    return len(frame), int(np.sum(plain.hash_rows().to_numpy(), dtype=np.uint64))


def _measure_peer(peer: Peer, names: Sequence[str], size: Size) -> dict[str, Any]:
    """All queries that a peer can do; `missing` says why there are none, or fewer."""
    told: dict[str, Any] = {"exactly_once": peer.exactly_once, "setting": peer.setting, "queries": {}}
    for name in names:
        if name not in peer.queries:
            continue
        try:
            answer = run_peer(peer, name, _inputs(QUERIES[name], size.rows))
        except PeerMissing as missing:
            told["missing"] = str(missing)
            say(str(missing))
            continue
        told["version"] = answer["version"]
        events_per_s = round(size.rows / min(answer["seconds"]))
        told["queries"][name] = {"events_per_s": events_per_s, "rows_out": answer["rows_out"]}
        say(f"{peer.name} {name}: {events_per_s / MILLION:.2f} M/s")
    return told


def _ratio_to_best(figures: Mapping[str, Any], peers: Mapping[str, Any]) -> float | None:
    """How many times the best exactly-once peer, over the queries that one of them answered; None where none did."""
    ratios = []
    for name, figure in figures.items():
        best = [
            peer["queries"][name]["events_per_s"]
            for peer in peers.values()
            if peer["exactly_once"] and name in peer["queries"]
        ]
        if best:
            ratios.append(figure["events_per_s"] / max(best))
    return _geomean(ratios) if ratios else None


def _geomean(values: Sequence[float]) -> float:
    return round(prod(values) ** (1 / len(values)), 3)
