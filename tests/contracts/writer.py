"""A process that writes epochs into a sink without end, to be killed: `python -m tests.contracts.writer ARGUMENTS`.

Epochs follow from their numbers alone, so whoever looks at the target afterwards knows what must be there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl

from penstock.connect import Change, open_sink
from penstock.flow import Dataset
from tests.contracts.sinks import ROWS, context_from

APPENDED = 300
KEYS = 400


def append_of(epoch: int) -> Change:
    """The rows that an epoch appends."""
    return Change(pl.DataFrame({"id": [epoch] * APPENDED, "word": [f"{epoch}/{i}" for i in range(APPENDED)]}, ROWS))


def upsert_of(epoch: int) -> Change:
    """The keys that an epoch writes and those it deletes; most of them were written before."""
    written = sorted({(epoch * 37 + i * 11) % KEYS for i in range(120)})
    deleted = sorted({(epoch * 53 + i * 7) % KEYS for i in range(30)} - set(written))
    rows = pl.DataFrame({"id": written, "word": [f"{epoch}/{key}" for key in written]}, ROWS)
    return Change(rows, pl.DataFrame({"id": deleted}, {"id": pl.Int64}))


def main(arguments: str) -> None:
    """Write epochs from `first` on, saying before and after each, until killed."""
    given = json.loads(arguments)
    key = tuple(given["key"])
    dataset = Dataset(given["kind"], given["name"], None, key, given["options"])
    sink = open_sink(dataset, context_from(Path(given["folder"]), key, ROWS))
    sink.open(given["generation"])
    epoch = given["first"]
    while True:
        sys.stdout.write(f"begin {epoch}\n")
        sys.stdout.flush()
        sink.write(epoch, given["generation"], upsert_of(epoch) if key else append_of(epoch))
        sys.stdout.write(f"end {epoch}\n")
        sys.stdout.flush()
        epoch += 1


if __name__ == "__main__":
    main(sys.argv[1])
