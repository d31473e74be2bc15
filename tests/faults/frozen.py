"""A process that runs a story and freezes itself at a point: `python -m tests.faults.frozen FOLDER DSN POINT NTH`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import penstock as ps
from penstock.clock import SystemClock
from penstock.engine import Probe, RunOptions, RunResult, run_flow
from penstock.errors import Fenced
from penstock.flow import Dataset, Definition
from penstock.ledger import LocalStateStore, open_ledger
from tests.faults.story import EPOCH_ROWS, SCHEMA

__all__ = ["EPOCH", "sinks_in", "take_part"]

EPOCH = 4


def sinks_in(folder: Path, dsn: str) -> dict[str, Dataset]:
    """Every transactional sink that two processes can have open at a time, in the order in which they are written.

    DuckDB is not among them: its file lock keeps the second process out for as long as the first one is there.
    """
    return {
        "parquet": ps.parquet(str(folder / "out.parquet")),
        "delta": ps.delta(str(folder / "out.delta"), min_epoch_ms=0),
        "postgres": ps.postgres(dsn, "out"),
    }


def definition(names: Sequence[str]) -> Definition:
    """Rows, each id once, into all sinks."""
    flow = ps.Flow("story")
    rows = flow.read(ps.topic("rows"), name="rows").deduplicate("id", name="first")
    for name in names:
        rows.write(ps.table(name), name=name)
    return flow.build()


def take_part(folder: Path, dsn: str, probe: Probe) -> RunResult:
    """Claim the flow and run it to its end. Raises Fenced where somebody else claimed it after this."""
    sinks = sinks_in(folder, dsn)
    ledger = open_ledger(folder / "ledger", env="test", clock=SystemClock())
    try:
        return run_flow(
            definition(list(sinks)),
            {"rows": ps.files(str(folder / "rows.jsonl"), schema=SCHEMA), **sinks},
            ledger=ledger,
            store=LocalStateStore(folder / "state"),
            folder=folder / "steps",
            root=folder,
            options=RunOptions(until_drained=True, epoch_rows=EPOCH_ROWS),
            probe=probe,
        )
    finally:
        ledger.close()


def main(arguments: list[str]) -> None:
    """Freeze once; say `fenced` and by what, or `finished`."""
    folder, dsn, point, nth = Path(arguments[0]), arguments[1], arguments[2], int(arguments[3])
    passed = 0

    def probe(here: str, epoch: int) -> None:
        nonlocal passed
        passed += (here, epoch) == (point, EPOCH)
        if (here, epoch, passed) == (point, EPOCH, nth):
            os.kill(os.getpid(), signal.SIGSTOP)

    try:
        take_part(folder, dsn, probe)
    except Fenced as fenced:
        sys.stdout.write(f"fenced at {fenced.step}\n")
    else:
        sys.stdout.write("finished\n")


if __name__ == "__main__":
    main(sys.argv[1:])
