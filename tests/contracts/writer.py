"""A process that writes epochs into a sink without end, to be killed: `python -m tests.contracts.writer ARGUMENTS`.

Epochs follow from their numbers alone, so whoever looks at the target afterwards knows what must be there. With
`replace_from` it writes some epochs and then replaces those from there on, again and again, each time by other rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from penstock.connect import Change, open_sink
from penstock.flow import Dataset
from tests.contracts.sinks import ROWS, context_from

APPENDED = 300
KEYS = 400
REPLACED = 5
"""How many epochs a replacement has."""


def append_of(epoch: int) -> Change:
    """The rows that an epoch appends."""
    return Change(pl.DataFrame({"id": [epoch] * APPENDED, "word": [f"{epoch}/{i}" for i in range(APPENDED)]}, ROWS))


def upsert_of(epoch: int) -> Change:
    """The keys that an epoch writes and those it deletes; most of them were written before."""
    written = sorted({(epoch * 37 + i * 11) % KEYS for i in range(120)})
    deleted = sorted({(epoch * 53 + i * 7) % KEYS for i in range(30)} - set(written))
    rows = pl.DataFrame({"id": written, "word": [f"{epoch}/{key}" for key in written]}, ROWS)
    return Change(rows, pl.DataFrame({"id": deleted}, {"id": pl.Int64}))


def replaced_by(attempt: int, first: int) -> Iterator[tuple[int, Change]]:
    """What the epochs from `first` on are replaced by at some attempt; one of them has no rows."""
    for epoch in range(first, first + REPLACED):
        say(f"epoch {epoch}")
        done = append_of(epoch * 1000 + attempt)
        yield epoch, Change(done.rows.clear() if epoch == first + 1 else done.rows)


def upserts_replaced_by(attempt: int, first: int) -> Iterator[tuple[int, Change]]:
    """The same for a target with a key."""
    for epoch in range(first, first + REPLACED):
        say(f"epoch {epoch}")
        yield epoch, upsert_of(epoch * 1000 + attempt)


def say(words: str) -> None:
    """Tell whoever may kill this process where it is."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main(arguments: str) -> None:
    """Write epochs from `first` on, saying before and after each, until killed."""
    given = json.loads(arguments)
    key = tuple(given["key"])
    generation: int = given["generation"]
    dataset = Dataset(given["kind"], given["name"], None, key, given["options"])
    sink = open_sink(dataset, context_from(Path(given["folder"]), key, ROWS))
    sink.open(generation)
    epoch: int = given["first"]
    first: int | None = given.get("replace_from")
    if first is not None:
        while True:
            say(f"begin {epoch}")
            changes = upserts_replaced_by(epoch, first) if key else replaced_by(epoch, first)
            sink.replace(first, generation, changes)
            say(f"end {epoch}")
            epoch += 1
    while True:
        say(f"begin {epoch}")
        sink.write(epoch, generation, upsert_of(epoch) if key else append_of(epoch))
        say(f"end {epoch}")
        epoch += 1


if __name__ == "__main__":
    main(sys.argv[1])
