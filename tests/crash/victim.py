"""The process that is killed: runs the story to its end, and kills itself at a named point where it is told to.

`python -m tests.crash.victim FOLDER DSN INPUT [POINT NTH EPOCH]`
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from penstock.clock import SystemClock
from penstock.engine import RunOptions, run_flow
from penstock.ledger import LocalStateStore, open_ledger
from tests.crash.story import datasets, definition

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Run; say `running` on the standard output once the first epoch begins, `finished` at the end."""
    folder, dsn, file = Path(arguments[0]), arguments[1], Path(arguments[2])
    point, nth, after = (arguments[3], int(arguments[4]), int(arguments[5])) if len(arguments) > 3 else ("", 0, 0)
    passed = 0
    said = False

    def probe(here: str, epoch: int) -> None:
        nonlocal passed, said
        if not said and here in ("planned", "read"):
            said = True
            sys.stdout.write("running\n")
            sys.stdout.flush()
        if here == point and epoch >= after:
            passed += 1
            if passed == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    flow = definition(file)
    ledger = open_ledger(folder / "ledger", env="test", clock=SystemClock())
    result = run_flow(
        flow,
        datasets(flow, folder, dsn),
        ledger=ledger,
        store=LocalStateStore(folder / "state"),
        folder=folder / "steps",
        root=folder,
        options=RunOptions(until_drained=True, epoch_rows=150),
        probe=probe,
    )
    letters = ledger.count_dead_letters(flow.name)
    records = ledger.epochs(flow.name)
    rows = sum(sum(record.rows_in.values()) for record in records)
    late = sum(record.rows_late for record in records)
    numbers = [record.epoch for record in records]
    gapless = numbers == list(range(1, len(numbers) + 1))
    sys.stdout.write(f"finished {result.finished} {rows} {letters} {late} {gapless}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
