"""What must not change a result: where the epochs are cut, where a process stops, that an epoch runs again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.clock import ManualClock, new_id, seeded
from penstock.connect import clear, finish, memory_rows, put_rows
from penstock.engine import RunOptions, run_flow
from penstock.flow import Dataset, Flow, KeyContext, Stream, Table, ops
from penstock.ledger import LocalStateStore, open_ledger
from penstock.testing import run
from tests.engine.aggregating import ANY_ORDER, ORDERED, WHOLE, expressions
from tests.engine.driving import COLUMNS, Drive, Row, frame_of, multiset, numbered, read, some_rows

V = pl.col("v")


class Sums:
    """Keeps a sum and a list, and tells them by a timer."""

    def __call__(self, context: KeyContext, rows: list[Any]) -> None:
        """Add up, and set the timer that the first row asks for."""
        context.state["total"] = (context.state["total"] or 0) + sum(row["v"] or 0 for row in rows)
        context.state["seen"] = [*(context.state["seen"] or []), *(row["n"] for row in rows)]
        context.set_timer(100_000_000)

    def on_timer(self, context: KeyContext, _: int) -> list[dict[str, Any]]:
        """Tell."""
        return [{"k": context.key["k"], "total": context.state["total"], "seen": context.state["seen"]}]


def other(flow: Flow) -> Stream:
    """The right side of a join."""
    right = read(flow, "right", lateness="100s")
    return right.select("k", "at", m=pl.col("n"), name="other")


def prices(flow: Flow) -> Table:
    """A lookup table, the same rows as those on the right of a join."""
    return flow.table(ps.table("prices", schema=dict(COLUMNS)), key="k", name="prices")


NAMES = ("total", "mean", "high", "kinds", "std", "rows", "large_mean")
ANY = expressions({name: ANY_ORDER[name] for name in NAMES})
ALL = {**ANY, **expressions(ORDERED)}
STATE = {"total": pl.Int64, "seen": pl.List(pl.Int64)}
SHAPES: dict[str, tuple[Callable[[Flow, Stream], Stream], tuple[str, ...]]] = {
    "tumbling": (lambda _, rows: rows.group_by("k").window(ps.tumbling("7s")).agg(**ALL, name="x"), ()),
    "sliding": (lambda _, rows: rows.window(ps.sliding("9s", "3s")).agg(**ANY, name="x"), ()),
    "whole windows": (
        lambda _, rows: rows.group_by("k").window(ps.tumbling("9s")).agg(**expressions(WHOLE), name="x"),
        (),
    ),
    "session": (lambda _, rows: rows.group_by("k").window(ps.session("4s")).agg(**ALL, name="x"), ()),
    "window top": (
        lambda _, rows: rows.group_by("k").window(ps.tumbling("7s")).top_n(2, by="v", ties=True, name="x"),
        (),
    ),
    "deduplicate": (lambda _, rows: rows.deduplicate("k", within="6s", name="x"), ()),
    "deduplicate for ever": (lambda _, rows: rows.deduplicate("k", "j", name="x"), ()),
    "interval join": (
        lambda flow, rows: rows.join(other(flow), on="k", within=("-5s", "3s"), how="left", name="x"),
        (),
    ),
    "endless join": (lambda flow, rows: rows.join(other(flow), on="k", name="x"), ()),
    "window join": (
        lambda flow, rows: rows.join(other(flow), on="k", window=ps.tumbling("8s"), how="full", name="x"),
        (),
    ),
    "join, then window": (
        lambda flow, rows: (
            rows.join(other(flow), on="k", within=("-5s", "9s"), name="x")
            .window(ps.tumbling("4s"))
            .agg(rows=pl.len(), name="y")
        ),
        (),
    ),
    "lookup": (lambda flow, rows: rows.join(prices(flow), on="k", name="x"), ()),
    "process": (
        lambda _, rows: rows.group_by("k").process(
            Sums(), schema={"k": pl.String, "total": pl.Int64, "seen": pl.List(pl.Int64)}, state=STATE, name="x"
        ),
        (),
    ),
    "running": (lambda _, rows: rows.group_by("k", "j").agg(**ALL, name="x"), ("k", "j")),
    "running over running": (
        lambda _, rows: (
            rows.group_by("k", "j")
            .agg(v=V.sum(), name="x")
            .with_columns(small=pl.col("v") % 3, name="small")
            .group_by("small")
            .agg(rows=pl.len(), kinds=V.n_unique(), mean=V.mean(), name="y")
        ),
        ("small",),
    ),
    "top": (lambda _, rows: rows.group_by("k").top_n(2, by="v", name="x"), ("k", "rank")),
    "latest": (lambda _, rows: rows.group_by("k").latest(name="x"), ("k",)),
}
"""Flows with every stateful step, and the key of their results where they are updating."""
RIGHT = frame_of([("a", 1, at, at % 4, 100 + at) for at in range(0, 30, 5)] + [("b", 1, 3, 1, 200)])


def shaped(shape: str, *, lateness: str = "100s") -> tuple[Flow, list[str]]:
    """A flow of a shape, and the datasets it reads."""
    build, key = SHAPES[shape]
    flow = Flow("f")
    build(flow, read(flow, lateness=lateness)).write(ps.table("out", key=key), name="out")
    names = [step.operation.dataset.name for step in flow.build().reads]  # type: ignore[attr-defined]
    return flow, names


def inputs_of(names: list[str], rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Rows for each dataset."""
    return {name: rows if name == "left" else RIGHT for name in names}


@pytest.mark.parametrize("shape", SHAPES)
@given(rows=some_rows(max_size=14), cuts=st.sets(st.integers(0, 14), max_size=6), restarts=st.booleans())
def test_cuts_change_nothing(shape: str, rows: list[Row], cuts: set[int], restarts: bool) -> None:  # noqa: FBT001
    """Where nothing is late, the results are the same wherever epochs are cut, and whichever process runs them."""
    (mine,) = numbered([rows])
    flow, names = shaped(shape)
    whole, cut = Drive(flow), Drive(flow)
    whole.epoch(inputs_of(names, frame_of(mine)))
    whole.finish()
    bounds = sorted({0, len(mine), *(place for place in cuts if place < len(mine))})
    parts = [mine[first:last] for first, last in pairwise(bounds)] or [[]]
    for place, part in enumerate(parts):
        # What lies before the rest of the rows is past: this watermark makes no row late.
        past = min((row[2] for row in mine[bounds[place + 1] :]), default=30) if mine else 30
        right = RIGHT if place == 0 else RIGHT.clear()
        cut.epoch({name: frame_of(part) if name == "left" else right for name in names}, {"left": past, "right": 30})
        if restarts:
            cut.restart()
    cut.finish()
    assert cut.rows_late == 0
    assert results(cut, shape) == results(whole, shape)


def results(drive: Drive, shape: str) -> Any:
    """What the sink holds in the end."""
    if SHAPES[shape][1]:
        return multiset([tuple(row.values()) for row in drive.table("out").values()])
    return multiset(drive.results("out"))


def some_frame(count: int, seed: int) -> pl.DataFrame:
    """Rows out of order, of few keys."""
    chance = seeded(seed)
    rows: list[Row] = [
        (
            chance.choice(["a", "b", "", None]),
            chance.choice([1, None]),
            place // 2 + chance.randint(-6, 6),
            chance.choice([None, -1, 0, 1, 2, 3, 4]),
            place,
        )
        for place in range(count)
    ]
    return frame_of(rows)


@pytest.mark.parametrize("shape", SHAPES)
def test_epochs_of_any_size_through_the_loop(shape: str) -> None:
    """The whole engine gives the same results for epochs of 7 rows as for one epoch over all."""
    flow, names = shaped(shape, lateness="12s")
    rows = some_frame(60, seed=3)
    whole = run(flow, inputs_of(names, rows))["out"]
    assert multiset(run(flow, inputs_of(names, rows), epoch_rows=7)["out"]) == multiset(whole)
    assert whole.height


@pytest.mark.parametrize("shape", SHAPES)
def test_stops_change_nothing(shape: str, tmp_path: Path) -> None:
    """A flow that is stopped after every second epoch and goes on from its files ends as one that was not."""
    flow, names = shaped(shape, lateness="12s")
    rows = some_frame(60, seed=4)
    inputs = inputs_of(names, rows)
    assert multiset(stopped_run(flow, inputs, 2, tmp_path)) == multiset(run(flow, inputs, epoch_rows=9)["out"])


def stopped_run(flow: Flow, inputs: Mapping[str, pl.DataFrame], each: int, folder: Path) -> pl.DataFrame:
    """Run a flow in processes of so many epochs, each of which finds nothing but the ledger and the state files."""
    definition = flow.build()
    scope = new_id()
    datasets = {}
    for step in (*definition.reads, *definition.writes):
        assert isinstance(step.operation, (ops.Read, ops.Write))
        own = step.operation.dataset
        datasets[step.name] = Dataset("memory", f"{scope}/{own.name}", own.schema, own.key)
    for name, rows in inputs.items():
        put_rows(f"{scope}/{name}", rows)
        finish(f"{scope}/{name}")
    options = RunOptions(until_drained=True, epoch_rows=9, max_epochs=each, patience_s=0)
    starts = 0
    try:
        is_finished = False
        while not is_finished:
            clock = ManualClock(1_700_000_000_000_000 + starts)
            ledger = open_ledger(folder, env="test", clock=clock)
            store = LocalStateStore(folder / "state", flow="f")
            is_finished = run_flow(
                definition,
                datasets,
                ledger=ledger,
                store=store,
                folder=folder / "steps",
                root=folder,
                clock=clock,
                options=options,
            ).finished
            ledger.close()
            starts += 1
        assert starts > 60 / 9 / each
        return memory_rows(datasets["out"].name)
    finally:
        for dataset in datasets.values():
            clear(dataset.name)


def dreamy(row: dict[str, Any]) -> dict[str, Any]:
    """A function that asks for the time, chance and an id; it fails on some rows."""
    if row["v"] == 4:
        raise ValueError("four")
    return {"n": row["n"], "at": ps.now(), "chance": ps.epoch_random().random(), "id": ps.epoch_id()}


DREAMS = {"n": pl.Int64, "at": pl.Datetime("us"), "chance": pl.Float64, "id": pl.String}


def test_time_chance_and_ids_are_those_of_the_epoch() -> None:
    """The same epoch run twice gives the same times, chances and ids; another epoch gives others."""
    flow = Flow("f")
    read(flow).map(dreamy, schema=DREAMS, name="dream").write(ps.topic("out"), name="out")
    rows = some_frame(40, seed=5)
    first, again, later = Drive(flow), Drive(flow), Drive(flow)
    later.epoch({})
    dreams = [drive.epoch({"left": rows})["out"] for drive in (first, again, later)]
    assert dreams[0].equals(dreams[1])
    assert dreams[0]["id"].n_unique() == dreams[0].height > 20
    assert set(dreams[0]["id"]).isdisjoint(dreams[2]["id"])
    assert (dreams[0]["at"] < dreams[2]["at"]).all()
    assert [letter.payload for letter in first.epochs[0].dead] == [letter.payload for letter in again.epochs[0].dead]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_epoch_runs_again(shape: str) -> None:
    """From the same state the same epoch gives the same frames and changes of state, in a new process too."""
    flow, names = shaped(shape)
    drives = [Drive(flow), Drive(flow)]
    first, second = some_frame(30, seed=6), some_frame(30, seed=7)
    frames = []
    for place, drive in enumerate(drives):
        drive.epoch(inputs_of(names, first), {"left": 2, "right": 2})
        if place:
            drive.restart()
        frames.append([drive.epoch({"left": second}, 9)["out"], drive.epoch({}, math.inf)["out"]])
        gone = [change["out"].deleted for change in drive.changes]
        frames[-1] += [frame for frame in gone if frame is not None]
    if shape == "process":
        # Timers that are due in one epoch fire in no promised order.
        frames = [[frame.sort("k") for frame in given_frames] for given_frames in frames]
    assert all(one.equals(other_one) for one, other_one in zip(*frames, strict=True))
    states = [drive.store.load(drive.segments) for drive in drives]
    assert {name: multiset(image.rows) for name, image in states[0].items()} == {
        name: multiset(image.rows) for name, image in states[1].items()
    }
