"""The console: what it prints of an epoch, and of a correction."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import polars as pl
import pytest

from penstock.clock import SystemClock
from penstock.connect import Change, Context
from penstock.connect.console import ConsoleSink
from penstock.errors import Fenced
from penstock.flow import Dataset

ROWS = pl.Schema({"n": pl.Int64, "word": pl.String})


def change(*rows: tuple[int, str], deleted: tuple[int, ...] = ()) -> Change:
    """An epoch of rows."""
    return Change(pl.DataFrame(list(rows), ROWS, orient="row"), pl.DataFrame({"n": deleted}, {"n": pl.Int64}))


def sink_to(out: StringIO, folder: Path, rows: int = 10) -> ConsoleSink:
    """A console that prints there."""
    context = Context("flow", "print", folder, folder, SystemClock(), ROWS)
    return ConsoleSink(Dataset("console", "seen", options={"rows": rows}), context, out)


def test_corrections_are_marked(tmp_path: Path) -> None:
    """Only what differs is printed, epoch by epoch, under a title that says correction."""
    out = StringIO()
    sink = sink_to(out, tmp_path, rows=0)
    sink.open(1)
    receipt = sink.correct(
        5,
        1,
        [
            (5, change((1, "a"), (1, "a"), (2, "b")), change((2, "b"), (1, "a"), (3, "c"))),
            (6, change((4, "d")), change((4, "d"))),
            (7, change((5, "e"), deleted=(8,)), change(deleted=(9,))),
        ],
    )
    assert out.getvalue().splitlines() == [
        "seen epoch 5 correction: 1 rows retracted",
        "seen epoch 5 correction: 1 rows added",
        "seen epoch 7 correction: 1 rows retracted",
        "seen epoch 7 correction: 1 keys kept",
        "seen epoch 7 correction: 1 keys deleted",
    ]
    assert receipt == {"rows": 3, "retracted": 2, "added": 1}


def test_rows_of_a_correction_are_shown(tmp_path: Path) -> None:
    """As many of them as of an epoch."""
    out = StringIO()
    sink = sink_to(out, tmp_path, rows=1)
    sink.open(1)
    sink.correct(5, 1, [(5, change(), change((1, "first"), (2, "second")))])
    assert "2 rows added" in out.getvalue()
    assert "first" in out.getvalue()
    assert "second" not in out.getvalue()


def test_an_older_generation_corrects_nothing(tmp_path: Path) -> None:
    """Within one process, where alone it can be known."""
    sink = sink_to(StringIO(), tmp_path)
    sink.open(2)
    with pytest.raises(Fenced):
        sink.correct(1, 1, [])
