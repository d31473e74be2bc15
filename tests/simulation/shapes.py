"""Flows of several shapes, each in several versions, and rows for them; all drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

import penstock as ps
from penstock.clock import seeded
from penstock.flow import Definition, Flow, KeyContext, Stream

__all__ = ["SHAPES", "Story", "drawn"]

SCHEMA = {"id": pl.Int64, "k": pl.Int64, "v": pl.Int64, "at": pl.Datetime("us")}
BEGIN_US = 1_700_000_000_000_000
POISON = 7
"""Rows with this value can't be taken by some versions."""
FILTERED = 3
"""Rows with this value are left out by one."""


@dataclass(frozen=True)
class Story:
    """A flow in its versions, and its input. `filters`: whether a version leaves rows out."""

    shape: str
    versions: Sequence[Definition]
    inputs: Mapping[str, pl.DataFrame]
    filters: bool


@dataclass(frozen=True)
class Manner:
    """What is special to a version. `fails`: the values that it can't take; `bug`: what it adds to every result."""

    fails: frozenset[int] = frozenset({POISON})
    bug: int = 0
    filters: bool = False
    stops: bool = False
    renamed: bool = False
    wider: bool = False


GOOD = Manner()
OTHERS: Mapping[str, Manner] = {
    "the same": GOOD,
    "with a bug": Manner(bug=1),
    "takes all rows": Manner(fails=frozenset()),
    "takes fewer rows": Manner(fails=frozenset({POISON, 5, 6})),
    "leaves rows out": Manner(filters=True),
    "stops at a row": Manner(stops=True),
    "other names": Manner(renamed=True),
    "remembers more": Manner(wider=True),
}


@dataclass(frozen=True)
class Checked:
    """Passes rows on, and raises on some."""

    fails: frozenset[int]

    def __call__(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row. Raises ValueError."""
        if row["v"] in self.fails:
            raise ValueError(f"{row['v']} is refused")
        return row


def _rows(flow: Flow, manner: Manner, dataset: str = "rows") -> Stream:
    """The rows, as far as the version takes them; each that it takes goes to `seen` too."""
    name = f"{dataset}_read" if manner.renamed else dataset
    if manner.renamed:
        flow.renamed(dataset, name)
    else:
        flow.renamed(f"{dataset}_read", dataset)
    read = flow.read(ps.topic(dataset, schema=SCHEMA), event_time="at", lateness="3s", name=name)
    if dataset != "rows":
        return read
    rows = read.map(Checked(manner.fails), schema=SCHEMA, name="checked")
    if manner.filters:
        rows = rows.filter(pl.col("v") != FILTERED, name="kept")
    if manner.stops:
        rows = rows.expect(ps.between("id", 0, 70), on_fail="stop", name="limit")
    rows.select("id", name="ids").write(ps.topic("seen"), name="seen")
    return rows


def _named(flow: Flow, manner: Manner, name: str) -> str:
    """The name of a step with state, which one version calls differently."""
    if manner.renamed:
        flow.renamed(name, f"{name}_new")
        return f"{name}_new"
    flow.renamed(f"{name}_new", name)
    return name


def stateless(flow: Flow, manner: Manner) -> None:
    """Row by row."""
    rows = _rows(flow, manner)
    rows.with_columns(twice=2 * pl.col("v") + manner.bug, name="twice").write(ps.topic("out"), name="out")


def running(flow: Flow, manner: Manner) -> None:
    """Running totals by key, in place."""
    aggregates: dict[str, Any] = {"total": pl.col("v").sum()}
    name = _named(flow, manner, "totals")
    if manner.wider:
        aggregates["rows"] = pl.len()
        flow.migrate(name, columns={"rows": 0})
    totals = _rows(flow, manner).group_by("k").agg(**aggregates, name=name)
    shown = totals.select("k", total=pl.col("total") + manner.bug, name="shown")
    shown.write(ps.table("out", key=["k"]), name="out")


def windows(flow: Flow, manner: Manner) -> None:
    """Windows of event time, with rows that come late."""
    aggregates: dict[str, Any] = {"total": pl.col("v").sum(), "rows": pl.len()}
    step = _rows(flow, manner).group_by("k").window(ps.tumbling("10s"))
    counted = step.agg(**aggregates, name=_named(flow, manner, "windows"))
    counted.with_columns(total=pl.col("total") + manner.bug, name="shown").write(ps.topic("out"), name="out")


def sessions(flow: Flow, manner: Manner) -> None:
    """Sessions, which merge."""
    step = _rows(flow, manner).group_by("k").window(ps.session("4s"))
    counted = step.agg(rows=pl.len(), name=_named(flow, manner, "sessions"))
    counted.with_columns(rows=pl.col("rows") + manner.bug, name="shown").write(ps.topic("out"), name="out")


def first_ones(flow: Flow, manner: Manner) -> None:
    """The first row of each of many keys, which are forgotten after a while."""
    rows = _rows(flow, manner).with_columns(d=pl.col("id") % 40, name="keyed")
    first = rows.deduplicate("d", within="20s", name=_named(flow, manner, "first"))
    first.select("id", v=pl.col("v") + manner.bug, name="shown").write(ps.topic("out"), name="out")


def latest(flow: Flow, manner: Manner) -> None:
    """The latest row of each key, in place."""
    newest = _rows(flow, manner).group_by("k").latest(by="id", name=_named(flow, manner, "newest"))
    newest.select("k", "id", v=pl.col("v") + manner.bug, name="shown").write(ps.table("out", key=["k"]), name="out")


@dataclass(frozen=True)
class Counting:
    """Counts the rows of a key, and tells when none came for a while; refuses a value."""

    by_processing_time: bool
    bug: int

    def __call__(self, context: KeyContext, rows: list[Any]) -> Iterator[dict[str, Any]]:
        """Count."""
        state = context.state
        for row in rows:
            state["rows"] = (state["rows"] or 0) + 1
            state["last"] = row["id"]
            yield {"k": row["k"], "rows": state["rows"] + self.bug, "last": row["id"]}
            if row["v"] == 9:
                raise ValueError("nine is refused")
        if self.by_processing_time:
            context.set_processing_timer(2_000_000 + 500_000 * (state["rows"] % 3) + _now_us(context))
        else:
            context.set_timer(max(int(row["at"].timestamp() * 1e6) for row in rows) + 6_000_000)

    def on_timer(self, context: KeyContext, _time: int) -> list[dict[str, Any]]:
        """Tell, and forget."""
        told = {"k": context.key["k"], "rows": -context.state["rows"], "last": context.state["last"]}
        context.clear()
        return [told]


def _now_us(context: KeyContext) -> int:
    return int(context.now_us)


def process(flow: Flow, manner: Manner, *, by_processing_time: bool = False) -> None:
    """The author's own function, with state and timers."""
    schema = {"k": pl.Int64, "rows": pl.Int64, "last": pl.Int64}
    state = {"rows": pl.Int64, "last": pl.Int64}
    keyed = _rows(flow, manner).group_by("k")
    handler = Counting(by_processing_time, manner.bug)
    counted = keyed.process(handler, schema=schema, state=state, name=_named(flow, manner, "counted"))
    counted.write(ps.topic("out"), name="out")


def pairs(flow: Flow, manner: Manner) -> None:
    """Two streams joined by key and time."""
    other = _rows(flow, manner, "others").select("k", "at", other=pl.col("id"), name="other")
    joined = _rows(flow, manner).join(
        other, on="k", within=("-2s", "4s"), how="left", name=_named(flow, manner, "pairs")
    )
    joined.select("id", "other", v=pl.col("v") + manner.bug, name="shown").write(ps.topic("out"), name="out")


def two_steps(flow: Flow, manner: Manner) -> None:
    """Totals of totals: what the first replaces, the second takes back."""
    rows = _rows(flow, manner)
    by_key = rows.group_by("k", "v").agg(n=pl.len(), name=_named(flow, manner, "fine"))
    coarse = by_key.group_by("k").agg(n=pl.col("n").sum(), kinds=pl.len(), name=_named(flow, manner, "coarse"))
    coarse.with_columns(n=pl.col("n") + manner.bug, name="shown").write(ps.table("out", key=["k"]), name="out")


SHAPES: Mapping[str, Callable[[Flow, Manner], None]] = {
    "stateless": stateless,
    "running": running,
    "windows": windows,
    "sessions": sessions,
    "first ones": first_ones,
    "latest": latest,
    "process": process,
    "processing time": partial(process, by_processing_time=True),
    "pairs": pairs,
    "two steps": two_steps,
}


def drawn(seed: int, shape: str | None = None) -> Story:
    """The story of a seed."""
    chance = seeded(seed ^ 0xF10)
    name = shape or chance.choice(list(SHAPES))
    manners = [GOOD, *(OTHERS[one] for one in chance.choices(list(OTHERS), k=chance.randint(1, 2)))]
    if chance.random() < 0.2:
        manners[0] = Manner(fails=frozenset())
    versions = []
    for manner in manners:
        flow = ps.Flow("simulated")
        SHAPES[name](flow, manner)
        versions.append(flow.build())
    names = ["rows", *(["others"] if len(versions[0].reads) > 1 else [])]
    inputs = {name: _frame(chance, chance.choice((40, 80, 140))) for name in names}
    return Story(name, versions, inputs, any(manner.filters for manner in manners))


def _frame(chance: random.Random, rows: int) -> pl.DataFrame:
    """Rows whose times rise, more or less."""
    at_us, found = BEGIN_US, []
    for number in range(rows):
        at_us += chance.choice((0, 100_000, 1_000_000, 3_000_000))
        late_us = chance.choice((0, 0, 0, 1_000_000, 2_500_000, 12_000_000))
        found.append((number, chance.randrange(6), chance.randrange(10), at_us - late_us))
    frame = pl.DataFrame(found, schema=["id", "k", "v", "at"], orient="row")
    return frame.with_columns(pl.col("at").cast(pl.Datetime("us")))
