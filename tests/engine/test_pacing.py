"""How often sources are asked: a sink that wants long epochs makes the flow rest, and not ask all the time."""

from __future__ import annotations

from pathlib import Path

import polars as pl

import penstock as ps
from penstock.clock import ManualClock
from penstock.connect import Context, clear, open_source, put_rows
from penstock.engine import RunOptions
from penstock.engine.planning import Planner

MOST = 60


def test_rows_that_wait_for_the_shortest_epoch_let_the_flow_rest(tmp_path: Path) -> None:
    """A second is waited through in steps of 20 ms, though the source has rows and would not wait by itself."""
    clear("pacing")
    put_rows("pacing", pl.DataFrame({"n": [1]}))
    dataset = ps.memory("pacing", schema={"n": int})
    flow = ps.Flow("pacing")
    flow.read(dataset, name="read").write(ps.memory("pacing-out"), name="out")
    clock = ManualClock()
    source = open_source(dataset, Context("pacing", "read", tmp_path, tmp_path, clock))
    planner = Planner(flow.build(), {"read": source}, clock, RunOptions(), min_epoch_ms=1_000)
    first = planner.plan(None, {"read": None})
    put_rows("pacing", pl.DataFrame({"n": [2]}))

    began_s, looks = clock.stopwatch_s(), 0
    while planner.plan(first, {"read": None}) is None:
        planner.wait(first, 0.02)
        looks += 1
        assert looks <= MOST
    assert clock.stopwatch_s() - began_s == 1.0
