"""What waits at each read, and for the flow as a whole."""

from __future__ import annotations

from pathlib import Path

import polars as pl

import penstock as ps
from penstock.clock import ManualClock
from penstock.connect import Backlog, Context, clear, open_source, put_rows
from penstock.engine import Progress, RunOptions
from penstock.engine.planning import Planner
from penstock.engine.tally import Tally


def test_each_read_tells_what_waits_at_it(tmp_path: Path) -> None:
    """Three rows at one and none at the other, and not their sum."""
    clock, flow = ManualClock(), ps.Flow("waiting")
    datasets = {name: ps.memory(f"waiting-{name}", schema={"n": int}) for name in ("left", "right")}
    for name, dataset in datasets.items():
        clear(f"waiting-{name}")
        flow.read(dataset, name=name).write(ps.memory(f"waiting-{name}-out"), name=f"{name}_out")
    put_rows("waiting-left", pl.DataFrame({"n": [1, 2, 3]}))
    sources = {
        name: open_source(dataset, Context("waiting", name, tmp_path, tmp_path, clock))
        for name, dataset in datasets.items()
    }
    planner = Planner(flow.build(), sources, clock, RunOptions(), min_epoch_ms=0)

    assert planner.backlogs(None) == {"left": Backlog(3), "right": Backlog(0)}


def test_the_backlog_of_a_flow_is_the_sum_of_what_is_known() -> None:
    """A read that can't count its rows leaves those of the others, and what nobody knows is no number."""
    told: list[Progress] = []
    tally = Tally("waiting", (), ManualClock(), told.append)
    backlogs = {"left": Backlog(3), "right": Backlog(4, 100), "push": Backlog(None, 50)}
    tally.show("running", epoch=1, watermark_us=None, backlogs=backlogs)
    tally.show("running", epoch=1, watermark_us=None, backlogs={"none": Backlog()})

    assert [(one.backlog_rows, one.backlog_bytes) for one in told] == [(7, 150), (None, None)]
    assert told[0].backlogs == backlogs
