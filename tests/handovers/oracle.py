"""What the sinks, the state and the ledger of a scene have to hold in the end, whatever befell its processes.

The epochs of the ledger are run once more, from nothing, in this process, by the code of the version `oracle`: ranges,
time and seed are in their plans. Beside that, rows are counted in plain Python from what the writer wrote.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import polars as pl
import psycopg

from penstock.clock import SystemClock
from penstock.connect import Change
from penstock.control import PreparedRun, find_flow, flow_folder, load_flow, prepare
from penstock.engine import Assembly, Computation, Patience, StopSignal
from penstock.ledger import EpochRecord, LocalStateStore, MemoryStateStore, SegmentRef, TableImage
from tests.handovers.scene import FLOW, Scene

__all__ = ["check"]

COLUMNS = {
    "totals_out": ("key", "n", "total"),
    "each_out": ("id", "key", "amount", "share"),
    "windows_out": ("key", "window_start", "n", "total"),
}
Rows = Counter[tuple[Any, ...]]


def check(made: Scene) -> None:
    """Let the scene come to its end, and hold all that it left against what it should have."""
    made.drain()
    records = made.ledger.epochs(FLOW)
    assert_gapless(records)
    assert_accounted_for(made, records)
    expected = run_again(made, records)
    found = written(made)
    for sink, rows in expected.rows.items():
        assert rows, f"nothing was written to {sink}"
        missing, surplus = rows - found[sink], found[sink] - rows
        assert (missing, surplus) == (Counter(), Counter()), f"{sink} is not what it should be"
    live = LocalStateStore(flow_folder(made.environment, FLOW) / "state", flow=FLOW, tidy=False)
    assert as_rows(live.load(made.ledger.segments(FLOW))) == as_rows(expected.state)


def assert_gapless(records: Sequence[EpochRecord]) -> None:
    """Epochs follow one another, and so do their ranges and generations."""
    assert [record.epoch for record in records] == list(range(1, len(records) + 1))
    for before, after in pairwise(records):
        assert before.plan.ranges["rows"]["end"] == after.plan.ranges["rows"]["start"], after.epoch
        assert before.plan.now_us <= after.plan.now_us, after.epoch


def assert_accounted_for(made: Scene, records: Sequence[EpochRecord]) -> None:
    """Each line was taken once; each id was written once, or is a dead letter, once."""
    writer = made.writer
    assert sum(record.rows_in["rows"] for record in records) == writer.lines
    letters = [one for one in made.ledger.dead_letters(FLOW, limit=10_000) if one.status == "open"]
    dead = [int(json.loads(one.payload)["id"]) for one in letters]
    assert sorted(dead) == sorted(writer.poison)
    assert sum(record.rows_dead for record in records) == len(writer.poison)
    counted = [record.metrics["worked_rows"]["values"] for record in records if "worked_rows" in record.metrics]
    counts = [value for values in counted for _, value in values]
    assert sum(counts) == len(set(writer.ids)), "the author's own counter"
    with psycopg.connect(made.dsn) as session:
        ids = [row[0] for row in session.execute("select id from each").fetchall()]
    assert Counter(ids) == Counter(set(writer.ids) - set(writer.poison))


@dataclass
class Expected:
    """Rows by sink, and tables of state."""

    rows: Mapping[str, Rows]
    state: Mapping[str, TableImage] = field(default_factory=dict)


def run_again(made: Scene, records: Sequence[EpochRecord]) -> Expected:
    """What the epochs of these records come to, run from the beginning by one process that nothing befalls."""
    made.version("oracle")
    prepared = prepare(load_flow(find_flow(FLOW, made.folder), made.environment), made.environment)
    keyed: dict[str, dict[Any, tuple[Any, ...]]] = {"totals_out": {}}
    rows: dict[str, Rows] = {"each_out": Counter(), "windows_out": Counter()}
    store, segments = MemoryStateStore(), list[SegmentRef]()
    with closing(assembly_of(prepared)) as assembly:
        assembly.rest()
        computation = computation_of(assembly)
        with closing(computation):
            for record in records:
                computed = computation.run(record.plan)
                changes = dict(computed.changes)
                changes["each_out"] = Change(
                    changes["each_out"].rows.with_columns(pl.col("amount") + made.wrong.get(record.version, 0))
                )
                for sink, change in changes.items():
                    values = change.rows.select(COLUMNS[sink]).rows()
                    if sink in keyed:
                        keyed[sink].update({row[0]: row for row in values})
                    else:
                        rows[sink].update(values)
                if computed.state:
                    segments.append(store.write(record.epoch, record.epoch, computed.state))
    return Expected({**rows, **{sink: Counter(kept.values()) for sink, kept in keyed.items()}}, store.load(segments))


def assembly_of(prepared: PreparedRun) -> Assembly:
    """The parts of the flow, to read and run and not to write."""
    return Assembly(
        prepared.loaded.definition,
        {one.step: one.dataset for one in prepared.bound},
        folder=prepared.folder / "steps",
        root=prepared.loaded.project.root,
        clock=SystemClock(),
        patience=patience(),
    )


def computation_of(assembly: Assembly) -> Computation:
    """A computation that knows nothing yet."""
    return Computation(assembly, "oracle", clock=SystemClock(), patience=patience(), probe=lambda _point, _epoch: None)


def patience() -> Patience:
    """Nothing has to be waited for."""
    return Patience(FLOW, SystemClock(), StopSignal(), 5.0, lambda _: None)


def written(made: Scene) -> dict[str, Rows]:
    """What a reader of the sinks sees."""
    with psycopg.connect(made.dsn) as session:
        found = {
            f"{table}_out": Counter(
                session.execute(f"select {', '.join(COLUMNS[f'{table}_out'])} from {table}".encode()).fetchall()
            )
            for table in ("totals", "each")
        }
    windows = pl.read_delta(str(made.folder / "windows")).select(COLUMNS["windows_out"])
    return {**found, "windows_out": Counter(windows.with_columns(plain_time("window_start")).rows())}


def plain_time(name: str) -> pl.Expr:
    """A time without its zone."""
    return pl.col(name).dt.replace_time_zone(None).dt.cast_time_unit("us")


def as_rows(images: Mapping[str, TableImage]) -> dict[str, Counter[str]]:
    """Tables of state as multisets of rows; what an order may be is no part of them."""
    return {
        name: Counter(str(row) for row in image.rows.select(sorted(image.rows.columns)).rows())
        for name, image in images.items()
        if image.rows.height
    }
