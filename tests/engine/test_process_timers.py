"""Timers that fail, time to live without event time, and the state as one object."""

from __future__ import annotations

from typing import Any

import polars as pl

import penstock as ps
from penstock.flow import KeyContext
from tests.engine.driving import COLUMNS, NOW_US, SECOND_US, Drive, frame_of, read

OUT = {"k": pl.String, "count": pl.Int64}


class Failing:
    """Sets a timer, and fails when it fires."""

    def __call__(self, context: KeyContext, rows: list[Any]) -> None:
        """Set it."""
        context.state["count"] = len(rows)
        context.set_timer(5 * SECOND_US)

    def on_timer(self, context: KeyContext, time_us: int) -> None:
        """Fail."""
        raise ValueError("no")


def test_a_timer_that_fails_fails_once() -> None:
    """A timer whose function raises is one dead letter, not a thousand in every epoch from then on."""
    flow = ps.Flow("f")
    read(flow).group_by("k").process(Failing(), schema=OUT, state={"count": pl.Int64}, name="failing").write(
        ps.topic("out"), name="out"
    )
    drive = Drive(flow)
    drive.epoch({"left": frame_of([("a", 1, 0, 0, 0)])}, 1)
    drive.epoch({}, 6)
    drive.epoch({}, 7)
    assert [len(epoch.dead) for epoch in drive.epochs] == [0, 1, 0]


def counted(context: KeyContext, rows: list[Any]) -> list[dict[str, Any]]:
    """Count rows."""
    context.state["count"] = (context.state["count"] or 0) + len(rows)
    return [{"k": context.key["k"], "count": context.state["count"]}]


def test_time_to_live_without_event_time() -> None:
    """Where rows have no event time, a key is forgotten when the processing time passed its last epoch by the TTL."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("left", schema=dict(COLUMNS)), name="left")
    rows.group_by("k").process(counted, schema=OUT, state={"count": pl.Int64}, ttl="10s", name="counted").write(
        ps.topic("out"), name="out"
    )
    drive = Drive(flow)
    frame = frame_of([("a", 1, 0, 0, 0)])
    drive.epoch({"left": frame}, now_us=NOW_US)
    drive.epoch({"left": frame}, now_us=NOW_US + 9 * SECOND_US)
    drive.epoch({}, now_us=NOW_US + 19 * SECOND_US)
    assert drive.program.state_rows == {"counted": 0}


def cleared(context: KeyContext, rows: list[Any]) -> None:
    """Forget, then remember, through a name for the state that was taken before."""
    state = context.state
    context.clear()
    state["count"] = len(rows)


def test_the_state_is_one_object() -> None:
    """After clear() the state that a function holds is still the state of its key."""
    flow = ps.Flow("f")
    read(flow).group_by("k").process(cleared, schema=OUT, state={"count": pl.Int64}, name="counted").write(
        ps.topic("out"), name="out"
    )
    drive = Drive(flow)
    drive.epoch({"left": frame_of([("a", 1, 0, 0, 0)])})
    assert drive.program.state_rows == {"counted": 1}


def told(context: KeyContext, _rows: list[Any]) -> None:
    """Set a timer of event time."""
    context.set_timer(SECOND_US)


def test_a_timer_of_event_time_needs_event_time() -> None:
    """On a stream without event time `set_timer` says so, and the row becomes a dead letter."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("left", schema=dict(COLUMNS)), name="left")
    rows.group_by("k").process(told, schema=OUT, state={"count": pl.Int64}, name="told").write(
        ps.topic("out"), name="out"
    )
    drive = Drive(flow)
    drive.epoch({"left": frame_of([("a", 1, 0, 0, 0)])})
    assert ["set_processing_timer" in letter.message for letter in drive.epochs[0].dead] == [True]
