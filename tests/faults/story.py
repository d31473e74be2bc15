"""The flow that meets the faults: rows, some of them twice, each once into one sink; and how to read that sink back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import nats
import polars as pl
import psycopg

import penstock as ps
from penstock.clock import Clock, SystemClock
from penstock.engine import Probe, Progress, RunOptions, RunResult, run_flow
from penstock.flow import Dataset, Definition
from penstock.ledger import Ledger, LocalStateStore, open_ledger

__all__ = ["EPOCH_ROWS", "EXPECTED", "FLOW", "SCHEMA", "Story", "make_input", "once", "rows_in"]

FLOW = "story"
ROWS = 1_000
EPOCH_ROWS = 100
SCHEMA = {"id": pl.Int64, "word": pl.String}
EXPECTED = [*range(ROWS)]
"""The ids that a sink holds in the end, sorted. There are eleven epochs."""


def make_input(file: Path) -> Path:
    """Every row once, and every tenth a second time, much later."""
    ids = [number for number in range(ROWS) for number in ((number, number - 490) if number % 10 == 0 else (number,))]
    lines = [json.dumps({"id": number, "word": f"word {number:05} {'x' * 60}"}) for number in ids if number >= 0]
    file.write_text("\n".join(lines) + "\n")
    return file


def once(source: Dataset) -> Definition:
    """Rows of `source`, each id once, into the table `out`."""
    flow = ps.Flow(FLOW)
    rows = flow.read(source, name="rows")
    rows.deduplicate("id", name="first").write(ps.table("out"), name="out")
    return flow.build()


@dataclass(frozen=True)
class Story:
    """One flow with its places. What is not said is under `folder`."""

    folder: Path
    sink: Dataset
    source: Dataset | None = None
    build: Callable[[Dataset], Definition] = once
    places: dict[str, Path] = field(default_factory=dict)
    """Other folders for `ledger` or `state`."""

    def place(self, name: str) -> Path:
        """The folder of the ledger (`ledger`), the state (`state`), or of what connectors keep (`steps`)."""
        return self.places.get(name, self.folder / name)

    def ledger(self) -> Ledger:
        """The ledger as a new process finds it."""
        return open_ledger(self.place("ledger"), env="test", clock=SystemClock())

    def run(
        self,
        probe: Probe = lambda _point, _epoch: None,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
        clock: Clock | None = None,
        **options: Any,
    ) -> RunResult:
        """Run to the end of the input, as a new process would. Raises what the run raises."""
        source = self.source or ps.files(str(self.folder / "rows.jsonl"), schema=SCHEMA)
        definition = self.build(source)
        given = {"until_drained": True, "epoch_rows": EPOCH_ROWS, **options}
        ledger = self.ledger()
        try:
            return run_flow(
                definition,
                {
                    **{step.name: source for step in definition.reads},
                    **{step.name: self.sink for step in definition.writes},
                },
                ledger=ledger,
                store=LocalStateStore(self.place("state"), flow=FLOW),
                folder=self.place("steps"),
                root=self.folder,
                options=RunOptions(**given),
                probe=probe,
                on_progress=on_progress,
                clock=clock,
            )
        finally:
            ledger.close()


def rows_in(sink: Dataset, folder: Path) -> list[int]:
    """The ids that a reader of the sink sees, sorted; what a reader would not get past is an error."""
    if sink.kind == "parquet":
        found = pl.read_parquet(folder / sink.name / "*.parquet")["id"].to_list()
    elif sink.kind == "delta":
        found = pl.read_delta(str(folder / sink.name))["id"].to_list()
    elif sink.kind == "duckdb":
        with duckdb.connect(str(folder / sink.options["path"]), read_only=True) as connection:
            found = [number for (number,) in connection.execute("select id from out").fetchall()]
    elif sink.kind == "postgres":
        with psycopg.connect(sink.options["dsn"]) as session:
            found = [number for (number,) in session.execute("select id from out").fetchall()]
    else:
        found = asyncio.run(_messages(sink.options["url"], sink.name))
    return sorted(found)


async def _messages(url: str, stream: str) -> list[int]:
    client = await nats.connect(url)
    try:
        subscription = await client.jetstream().subscribe(stream, stream=stream, ordered_consumer=True)
        found: list[int] = []
        while True:
            message = await subscription.next_msg(10)
            found.append(json.loads(message.data)["id"])
            if message.metadata.num_pending == 0:
                return found
    finally:
        await client.close()
