"""An author's keyed functions: state, timers by both clocks, time to live, and functions that raise."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.flow import KeyContext
from tests.engine.driving import (
    COLUMNS,
    NOW_US,
    SECOND_US,
    Drive,
    Plan,
    Row,
    frame_of,
    multiset,
    plans,
    read,
)

OUT = {"k": pl.String, "what": pl.String, "count": pl.Int64}


class Counting:
    """Counts rows; gives the count when no row came for 5 s of event time, and forgets the key. Refuses rows of v 4."""

    def __call__(self, context: KeyContext, rows: list[Any]) -> Iterator[dict[str, Any]]:
        """Count, remember the numbers, move the timer; rows with v == 3 forget the key."""
        state = context.state
        state["seen"] = state["seen"] or []
        for row in rows:
            state["seen"].append(row["n"])
            state["count"] = (state["count"] or 0) + 1
            yield {"k": row["k"], "what": "row", "count": state["count"]}
            if row["v"] == 3:
                context.clear()
                state = context.state
                state["seen"] = []
            if row["v"] == 4:
                raise ValueError("four")
        newest = max(int(row["at"].timestamp()) for row in rows)
        context.set_timer((newest + 5) * SECOND_US)

    def on_timer(self, context: KeyContext, _: int) -> list[dict[str, Any]]:
        """Tell how many rows there were."""
        told = {"k": context.key["k"], "what": str(context.state["seen"]), "count": context.state["count"]}
        context.clear()
        return [told]


def utc(flow: ps.Flow) -> Any:
    """The rows of `left` with times that are aware of their zone."""
    return read(flow).with_columns(pl.col("at").dt.replace_time_zone("UTC"), name="utc")


def counting_flow() -> ps.Flow:
    """A flow with `Counting`."""
    flow = ps.Flow("f")
    keyed = utc(flow).group_by("k")
    state = {"count": pl.Int64, "seen": pl.List(pl.Int64)}
    keyed.process(Counting(), schema=OUT, state=state, name="counted").write(ps.topic("out"), name="out")
    return flow


@given(plan=plans(), restarts=st.booleans())
def test_state_and_event_timers(plan: Plan, *, restarts: bool) -> None:
    """State and timers of a key are those that its function left; one that raises leaves all as it was."""
    drive = Drive(counting_flow())
    counts: dict[str | None, tuple[int | None, list[int], int]] = {}
    for rows, _, after in plan:
        got = drive.epoch({"left": frame_of(rows)}, after)
        wanted: list[tuple[Any, ...]] = []
        dead: list[int] = []
        for key in dict.fromkeys(row[0] for row in rows):
            mine = [row for row in rows if row[0] == key]
            if any(row[3] == 4 for row in mine):
                dead += [row[4] for row in mine]
                continue
            count, seen, _timer = counts.get(key, (None, [], 0))
            for row in mine:
                count, seen = (count or 0) + 1, [*seen, row[4]]
                wanted.append((key, "row", count))
                if row[3] == 3:
                    count, seen = None, []
            counts[key] = count, seen, max(row[2] for row in mine) + 5
        for key, (count, seen, timer) in list(counts.items()):
            if timer <= after:
                wanted.append((key, str(seen), count))
                del counts[key]
        assert multiset(got["out"]) == multiset(wanted)
        letters = drive.epochs[-1].dead
        assert sorted(json.loads(letter.payload)["n"] for letter in letters) == sorted(dead)
        assert drive.program.state_rows == {"counted": len(counts)}
        if restarts:
            drive.restart()


class Reminding:
    """Sets a processing timer 10 s after the first row of a key."""

    def __call__(self, context: KeyContext, rows: list[Any]) -> None:
        """Set the timer once."""
        context.state["count"] = (context.state["count"] or 0) + len(rows)
        if context.state["count"] == len(rows):
            context.set_processing_timer(context.now_us + 10 * SECOND_US)

    def on_timer(self, context: KeyContext, _: int) -> list[dict[str, Any]]:
        """Tell the count, go on counting without a timer."""
        return [{"k": context.key["k"], "what": "timer", "count": context.state["count"]}]


@pytest.mark.parametrize("restarts", [False, True])
def test_processing_timers(restarts: bool) -> None:  # noqa: FBT001
    """A processing timer fires once, when the processing time of an epoch reaches it, with rows or without."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("left", schema=dict(COLUMNS)), name="left")
    rows.group_by("k").process(Reminding(), schema=OUT, state={"count": pl.Int64}, name="reminded").write(
        ps.topic("out"), name="out"
    )
    drive = Drive(flow)

    def epoch(at_s: int, *keys: str | None) -> list[tuple[Any, ...]]:
        frame = frame_of((key, 1, 0, 0, 0) for key in keys)
        got = drive.epoch({"left": frame}, now_us=NOW_US + at_s * SECOND_US)["out"].rows()
        if restarts:
            drive.restart()
        return got

    assert epoch(0, "a", None) == []
    assert drive.program.due_us() == NOW_US + 10 * SECOND_US
    assert epoch(4, "a", "b") == []
    assert epoch(9) == []
    assert sorted(epoch(10), key=str) == [("a", "timer", 2), (None, "timer", 1)]
    assert drive.program.due_us() == NOW_US + 14 * SECOND_US
    assert epoch(13, "a") == []
    assert epoch(20) == [("b", "timer", 1)]
    assert drive.program.due_us() is None


@given(plan=plans(), ttl=st.integers(1, 15), restarts=st.booleans())
def test_time_to_live(plan: Plan, ttl: int, *, restarts: bool) -> None:
    """A key that was silent for the TTL, by the watermark, is forgotten with its timers; it begins anew."""
    flow = ps.Flow("f")
    keyed = read(flow).group_by("k")
    reminded = keyed.process(Reminding(), schema=OUT, state={"count": pl.Int64}, ttl=f"{ttl}s", name="reminded")
    reminded.write(ps.topic("out"), name="out")
    drive = Drive(flow)
    expires: dict[str | None, float] = {}
    for rows, _, after in plan:
        drive.epoch({"left": frame_of(rows)}, after, now_us=NOW_US)
        # What came with the watermark lives from then on, also where it was silent for long before.
        expires |= {row[0]: after + ttl for row in rows}
        expires = {key: time for key, time in expires.items() if time > after}
        state = drive.program._operators["reminded"].tables[0].rows()  # type: ignore[union-attr]
        assert set(state["k"]) == set(expires)
        if restarts:
            drive.restart()
    assert drive.program.due_us() is None
    assert drive.program.state_rows == {"reminded": 0} or math.isinf(max(expires.values(), default=0))


def four(context: KeyContext, rows: list[Row]) -> list[dict[str, Any]]:
    """Leave a state that is no number."""
    context.state["count"] = "four"
    return [{"k": context.key["k"], "what": "row", "count": len(rows)}]


def test_a_state_of_the_wrong_type_is_refused() -> None:
    """A function that leaves text where its state is a number: nothing goes on, its rows are set aside."""
    flow = ps.Flow("f")
    keyed = read(flow).group_by("k")
    keyed.process(four, schema=OUT, state={"count": pl.Int64}, name="counted").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    got = drive.epoch({"left": frame_of([("a", 1, 0, 0, 0), ("a", 1, 0, 0, 1), ("b", 1, 0, 0, 2)])})
    assert got["out"].is_empty()
    assert len(drive.epochs[0].dead) == 3
    assert drive.program.state_rows == {"counted": 0}
