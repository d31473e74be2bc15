"""Two processes run one flow: the first, frozen in the middle of an epoch, wakes up after the second went on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.engine.points import nothing
from penstock.ledger import open_ledger
from tests.faults.frozen import EPOCH, sinks_in, take_part
from tests.faults.story import EXPECTED, make_input, rows_in

ROOT = Path(__file__).parents[2]


@pytest.mark.crash
@pytest.mark.parametrize(
    ("point", "nth", "where"),
    [
        ("before-write", 1, "parquet"),
        ("before-write", 2, "delta"),
        ("before-write", 3, "postgres"),
        ("before-commit", 1, None),
    ],
)
def test_a_process_that_wakes_up_late_writes_nothing(
    postgres_dsn: str, tmp_path: Path, point: str, nth: int, where: str | None
) -> None:
    """It ends with Fenced at the first thing that it touches, a sink or the ledger; rows and epochs stay."""
    make_input(tmp_path / "rows.jsonl")
    sinks = sinks_in(tmp_path, postgres_dsn)
    command = [sys.executable, "-m", "tests.faults.frozen", str(tmp_path), postgres_dsn, point, str(nth)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        try:
            _, status = os.waitpid(first.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            assert take_part(tmp_path, postgres_dsn, nothing).finished
            before = {name: rows_in(sink, tmp_path) for name, sink in sinks.items()}
            epochs = epochs_in(tmp_path)
            files = names_in(tmp_path)
            first.send_signal(signal.SIGCONT)
            said, _ = first.communicate(timeout=60)
        finally:
            first.send_signal(signal.SIGCONT)
            first.kill()

    assert said == f"fenced at {where}\n"
    assert before == dict.fromkeys(sinks, EXPECTED)
    assert {name: rows_in(sink, tmp_path) for name, sink in sinks.items()} == before
    assert epochs_in(tmp_path) == epochs
    assert names_in(tmp_path) == files
    assert [generation for epoch, generation in epochs if epoch >= EPOCH] == [2] * (len(epochs) - EPOCH + 1)


def epochs_in(folder: Path) -> list[tuple[int, int]]:
    """Number and generation of each committed epoch."""
    ledger = open_ledger(folder / "ledger", env="test", clock=SystemClock())
    found = [(record.epoch, record.generation) for record in ledger.epochs("story")]
    ledger.close()
    return found


def names_in(folder: Path) -> set[str]:
    """The files of the sinks that are files, what only their owner looks at included."""
    return {str(path) for name in ("out.parquet", "out.delta") for path in (folder / name).rglob("*")}
