"""Watermarks: of partitions, of silent reads, of the clock, and of steps; and that no source runs ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.clock import ManualClock, new_id
from penstock.connect import PartitionRead, clear, finish, memory_rows, put_rows
from penstock.engine import Progress, RunOptions, RunResult, StopSignal, run_flow
from penstock.engine.batch import BEGINNING_US, END_US
from penstock.engine.watermark import WatermarkTracker
from penstock.flow import Dataset, Flow, Keyed, Stream, ops
from penstock.ledger import EpochRecord, MemoryStateStore, open_ledger
from tests.engine.driving import COLUMNS, NOW_US, SECOND_US, Drive, Row, frame_of, read


def tracker(**options: Any) -> WatermarkTracker:
    """The tracker of a flow that reads `left` with options, and `right`."""
    flow = Flow("f")
    read(flow, **options).union(read(flow, "right"), name="both").write(ps.topic("out"), name="out")
    return WatermarkTracker(flow.build())


def heard(partition: str, *times_s: int | None) -> PartitionRead:
    """Rows of a partition with these times."""
    times = pl.Series("at", times_s, dtype=pl.Int64) * SECOND_US
    return PartitionRead(partition, pl.DataFrame([times.cast(pl.Datetime("us"))]))


EVENTS = st.lists(
    st.tuples(st.sampled_from(["p0", "p1", "p2"]), st.lists(st.one_of(st.none(), st.integers(-20, 40)), max_size=3)),
    max_size=10,
)


@given(events=EVENTS, lateness=st.integers(0, 10), idle=st.one_of(st.none(), st.integers(1, 4)))
def test_the_watermark_is_that_of_the_slowest_partition(
    events: list[tuple[str, list[int | None]]], lateness: int, idle: int | None
) -> None:
    """It is the newest time of the slowest partition that is not silent, less the lateness; it never goes back."""
    watched = tracker(lateness=f"{lateness}s", idle_after=None if idle is None else f"{idle}s")
    newest: dict[str, int] = {}
    last: dict[str, int] = {}
    mark = BEGINNING_US
    for now, (partition, times) in enumerate(events):
        watched.observe("left", [heard(partition, *times)], now * SECOND_US)
        there = [time for time in times if time is not None]
        if there:
            newest[partition] = max(newest.get(partition, -99), *there)
            last[partition] = now
        active = [time for name, time in newest.items() if idle is None or now - last[name] < idle]
        if active:
            mark = max(mark, (min(active) - lateness) * SECOND_US)
        assert watched.marks() == {"left": mark, "right": BEGINNING_US}
        flow = Flow("f")
        read(flow, lateness=f"{lateness}s", idle_after=None if idle is None else f"{idle}s").union(
            read(flow, "right"), name="both"
        ).write(ps.topic("out"), name="out")
        watched = WatermarkTracker(flow.build(), watched.facts())


def test_a_silent_read_follows_the_others() -> None:
    """A read that was silent for `idle_after` has the watermark of the slowest other one, until it speaks again."""
    watched = tracker(idle_after="5s")
    watched.observe("left", [heard("p", 3)], 0)
    watched.observe("right", [heard("p", 10)], 0)
    watched.settle(4 * SECOND_US)
    assert watched.marks() == {"left": 3 * SECOND_US, "right": 10 * SECOND_US}
    watched.settle(5 * SECOND_US)
    assert watched.marks() == {"left": 10 * SECOND_US, "right": 10 * SECOND_US}
    watched.observe("left", [heard("p", 12)], 6 * SECOND_US)
    watched.observe("right", [heard("p", 20)], 6 * SECOND_US)
    watched.settle(6 * SECOND_US)
    assert watched.marks() == {"left": 12 * SECOND_US, "right": 20 * SECOND_US}


def test_a_read_that_never_spoke_is_silent_too() -> None:
    """A read that brought nothing since the flow began holds the others back for `idle_after`, not for ever."""
    watched = tracker(idle_after="5s")
    watched.settle(0)
    watched.observe("right", [heard("p", 10)], SECOND_US)
    watched.settle(4 * SECOND_US)
    assert watched.marks()["left"] == BEGINNING_US
    watched.settle(5 * SECOND_US)
    assert watched.marks()["left"] == 10 * SECOND_US


def test_a_silent_read_does_not_follow_one_that_ended() -> None:
    """When the others are at their end, a silent read stays where it is: what it brings later is not late for ever."""
    watched = tracker(idle_after="5s")
    watched.observe("left", [heard("p", 3)], 0)
    watched.observe("right", [heard("p", 10)], 0)
    watched.finish(["right"])
    watched.settle(60 * SECOND_US)
    assert watched.marks() == {"left": 3 * SECOND_US, "right": END_US}


def test_steps_see_the_least_of_their_inputs() -> None:
    """A step's watermark is the least of its inputs'; a lookup table has none; a join holds it back by its bound."""
    flow = Flow("f")
    left, right = read(flow), read(flow, "right")
    names = flow.table(ps.table("names", schema=dict(COLUMNS)), key="k", name="names")
    known = left.join(names, on="k", suffix="_of_table", name="known").select("k", "at", name="some")
    pairs = known.join(right, on="k", within=("-9s", "4s"), suffix="_2", name="pairs")
    every = pairs.select("k", "at", name="few").join(right, on="k", suffix="_3", name="every")
    every.window(ps.tumbling("5s")).agg(n=pl.len(), name="late").write(ps.topic("out"), name="out")
    pairs.window(ps.tumbling("5s")).agg(n=pl.len(), name="soon").write(ps.topic("soon"), name="soon_out")
    marks = Drive(flow).program.watermarks({"left": 50, "right": 40, "names": None})
    assert (marks["known"], marks["pairs"], marks["soon"]) == (50, 40, 40 - 4 * SECOND_US)
    assert (marks["every"], marks["late"]) == (40 - 4 * SECOND_US, BEGINNING_US)
    ended = Drive(flow).program.watermarks({"left": END_US, "right": END_US, "names": None})
    assert {ended[name] for name in ("pairs", "every", "late", "soon")} == {END_US}


class MovingClock(ManualClock):
    """A clock that moves by 100 ms whenever somebody looks at the stopwatch, as the loop does all the time."""

    def stopwatch_s(self) -> float:
        """The simulated time in seconds, a little later than before."""
        self.sleep(0.1)
        return super().stopwatch_s()


def run_until(
    flow: Flow, rows: dict[str, pl.DataFrame], folder: Path, *, last_row: Callable[[], bool], **options: Any
) -> tuple[RunResult, Sequence[EpochRecord]]:
    """Run a flow until it ends or a condition holds; `rows` are put into the memory datasets that it reads."""
    definition = flow.build()
    datasets: dict[str, Dataset] = {}
    for step in (*definition.reads, *definition.writes):
        assert isinstance(step.operation, (ops.Read, ops.Write))
        datasets[step.name] = Dataset("memory", step.operation.dataset.name, step.operation.dataset.schema)
    for name, frame in rows.items():
        put_rows(name, frame)
    clock, stop = MovingClock(NOW_US), StopSignal()

    def watch(_: Progress) -> None:
        if last_row() or clock.now_us() > NOW_US + 600 * SECOND_US:
            stop.request()

    ledger = open_ledger(folder, env="test", clock=clock)
    try:
        result = run_flow(
            definition,
            datasets,
            ledger=ledger,
            store=MemoryStateStore(),
            folder=folder / "steps",
            root=folder,
            clock=clock,
            options=RunOptions(patience_s=0, **options),
            stop=stop,
            on_progress=watch,
        )
        return result, ledger.epochs(definition.name)
    finally:
        ledger.close()


CLOCKED: dict[str, tuple[Callable[[Stream, Keyed], Stream], int, int]] = {
    "tumbling": (lambda _, keyed: keyed.window(ps.tumbling("3s")).agg(n=pl.len(), name="x"), 2, 1),
    "sliding": (lambda _, keyed: keyed.window(ps.sliding("6s", "2s")).agg(n=pl.len(), name="x"), 6, 3),
    "session": (lambda _, keyed: keyed.window(ps.session("3s")).agg(n=pl.len(), name="x"), 2, 1),
    "top": (lambda _, keyed: keyed.window(ps.tumbling("3s")).top_n(1, by="v", name="x"), 2, 1),
    "window of windows": (
        lambda _, keyed: (
            keyed.window(ps.tumbling("2s"))
            .agg(n=pl.len(), name="x")
            .window(ps.tumbling("5s"))
            .agg(n=pl.col("n").sum(), name="y")
        ),
        1,
        2,
    ),
    "window join": (
        lambda rows, _: rows.join(
            rows.select("k", ps.PROCESSING_TIME, name="same"), on="k", window=ps.tumbling("3s"), suffix="_2", name="x"
        ),
        2,
        1,
    ),
    "left join": (
        lambda rows, _: rows.join(
            rows.filter(pl.col("v") > 5, name="none"), on="k", within=("0s", "3s"), how="left", suffix="_2", name="x"
        ),
        2,
        1,
    ),
}
"""Steps over rows in processing time, how many rows they give, and in how many epochs after the first."""


@pytest.mark.parametrize("case", CLOCKED)
def test_the_clock_closes_windows_of_processing_time(case: str, tmp_path: Path) -> None:
    """In processing time results come when their time has come, without further rows, and without idle epochs."""
    build, count, epochs = CLOCKED[case]
    scope = new_id()
    flow = Flow("f")
    rows = flow.read(
        ps.memory(f"{scope}/in", schema={"k": pl.String, "v": pl.Int64}), event_time=ps.PROCESSING_TIME, name="rows"
    )
    build(rows, rows.group_by("k")).write(ps.memory(f"{scope}/out"), name="out")
    frame = pl.DataFrame({"k": ["a", "b"], "v": [1, 2]})
    try:
        result, _ = run_until(
            flow, {f"{scope}/in": frame}, tmp_path, last_row=lambda: memory_rows(f"{scope}/out").height >= count
        )
        assert memory_rows(f"{scope}/out").height == count
        assert result.epochs <= 1 + epochs
    finally:
        clear(f"{scope}/in")
        clear(f"{scope}/out")


@pytest.mark.parametrize("lateness", ["0s", "2s"])
def test_no_source_runs_ahead(lateness: str, tmp_path: Path) -> None:
    """Of two sources the one that is further ahead in event time than `align` waits for the other."""
    scope = new_id()
    flow = Flow("f", align="5s")
    sides = [
        flow.read(ps.memory(f"{scope}/{name}", schema=dict(COLUMNS)), event_time="at", lateness=lateness, name=name)
        for name in ("slow", "fast")
    ]
    sides[0].union(sides[1], name="both").window(ps.tumbling("5s")).agg(
        slow=(pl.col("k") == "slow").sum(), fast=(pl.col("k") == "fast").sum(), name="counts"
    ).write(ps.memory(f"{scope}/out"), name="out")
    slow: list[Row] = [("slow", 1, at // 10, 1, at) for at in range(400)]
    fast: list[Row] = [("fast", 1, at, 1, at) for at in range(40)]
    rows = {f"{scope}/slow": frame_of(slow), f"{scope}/fast": frame_of(fast)}
    try:
        for name, frame in rows.items():
            put_rows(name, frame)
            finish(name)
        result, records = run_until(flow, {}, tmp_path, last_row=lambda: False, epoch_rows=10, until_drained=True)
        assert result.finished
        assert result.rows_late == 0
        out = memory_rows(f"{scope}/out")
        assert (out["slow"].to_list(), out["fast"].to_list()) == ([50] * 8, [5] * 8)
        marks = [{name: facts["mark"] for name, facts in record.watermarks_us.items()} for record in records]
        ahead = [mark["fast"] - mark["slow"] for mark in marks if mark["fast"] < END_US]
        # 5 s of distance are allowed, and it shows after an epoch, which is 10 s of the fast source.
        assert 0 < max(ahead) <= 15 * SECOND_US
    finally:
        for name in ("slow", "fast", "out"):
            clear(f"{scope}/{name}")
