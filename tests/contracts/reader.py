"""A process that reads one range and prints its rows as JSON: `python -m tests.contracts.reader ARGUMENTS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl

from penstock.connect import open_source
from penstock.flow import Dataset
from tests.contracts.sources import context_of, rows_of


def main(arguments: str) -> None:
    """Read `start`..`end` with the columns of the Arrow file `schema`."""
    given = json.loads(arguments)
    schema = pl.Schema(pl.read_ipc_schema(given["schema"]))
    dataset = Dataset(given["kind"], given["name"], None, (), given["options"])
    source = open_source(dataset, context_of(Path(given["folder"]), schema))
    sys.stdout.write(rows_of(source, given["start"], given["end"], schema).write_json())
    source.close()


if __name__ == "__main__":
    main(sys.argv[1])
