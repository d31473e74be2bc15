"""Nexmark streams as files of JSON lines, made once from a seed and kept for the next run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

import penstock as ps
from benchmarks.nexmark.query import Entity
from benchmarks.places import DATA, say
from penstock.clock import SystemClock
from penstock.connect import Budget, Context, open_source
from penstock.flow import Dataset

__all__ = ["EVENTS", "SHARE", "frame", "lines", "rows_of"]

SHARE: dict[Entity, int] = {"person": 1, "auction": 3, "bid": 46}
EVENTS = sum(SHARE.values())
"""Of so many events in a row, `SHARE` says how many are of which kind."""
PIECE_ROWS = 200_000
TIME = "%Y-%m-%dT%H:%M:%S%.3f"


def rows_of(generator: Dataset) -> Iterator[pl.DataFrame]:
    """All rows that a generator with an end makes, in pieces."""
    context = Context(flow="nexmark", step=generator.name, folder=DATA, root=DATA, clock=SystemClock())
    source = open_source(generator, context)
    try:
        at = source.initial()
        while not source.exhausted(at):
            end = source.offer(at, Budget(rows=PIECE_ROWS, size_bytes=1 << 32))
            for part in source.read(at, end):
                yield part.frame
            at = end
    finally:
        source.close()


def pieces(entity: Entity, rows: int, *, seed: int, **options: Any) -> Iterator[pl.DataFrame]:
    """The first `rows` rows of one kind, in pieces. `options`: more of `ps.nexmark`."""
    events = -(-rows // SHARE[entity]) * EVENTS
    left = rows
    for piece in rows_of(ps.nexmark(entity, events=events, seed=seed, **options)):
        yield piece.head(left)
        left = max(0, left - piece.height)


def frame(entity: Entity, rows: int, *, seed: int, **options: Any) -> pl.DataFrame:
    """The first `rows` rows of one kind."""
    return pl.concat(pieces(entity, rows, seed=seed, **options))


def lines(entity: Entity, rows: int, *, seed: int) -> Path:
    """The first `rows` rows of one kind as a file of JSON lines, times in ISO 8601 with milliseconds."""
    path = DATA / f"{entity}-{rows}-seed{seed}.jsonl"
    if path.exists():
        return path
    DATA.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".new")
    with staged.open("wb") as file:
        for piece in pieces(entity, rows, seed=seed):
            piece.with_columns(pl.selectors.datetime().dt.strftime(TIME)).write_ndjson(file)
    staged.rename(path)
    say(f"made {path.name}: {path.stat().st_size / rows:.0f} bytes a row")
    return path
