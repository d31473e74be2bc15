"""What a peer's script is asked and what it answers. Runs in the peers' own Pythons: standard library only."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

__all__ = ["Asked", "asked", "count_lines", "first_row", "tell"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One query over `inputs` (name of the stream -> file of JSON lines), measured `repeat` times in folder `work`."""

    query: str
    inputs: dict[str, Path]
    work: Path
    repeat: int
    once: bool


def asked() -> Asked:
    """What the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--query", required=True)
    parser.add_argument("--input", action="append", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--once", action="store_true", help="for a script that has to start a process for each run")
    options = parser.parse_args()
    inputs = {name: Path(path) for name, _, path in (text.partition("=") for text in options.input)}
    return Asked(options.query, inputs, options.work, options.repeat, options.once)


def tell(package: str, runs: Sequence[tuple[float, int]], *, idle_s: float = 0.0) -> None:
    """Print the answer: `runs` are (seconds, rows written); `idle_s` is what a job with nothing to do takes.

    It is taken off, but never more than half: on a few rows the two are too much alike to be told apart.
    """
    answer = {
        "seconds": [round(max(seconds - idle_s, seconds / 2), 4) for seconds, _ in runs],
        "idle_s": idle_s,
        "rows_out": runs[-1][1],
        "version": version(package),
    }
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


def first_row(path: Path, work: Path) -> Path:
    """A file with the first row only: what a job costs that has nothing to do."""
    short = work / f"one-{path.name}"
    with path.open("rb") as lines:
        short.write_bytes(lines.readline())
    return short


def count_lines(path: Path) -> int:
    """How many lines a file has, or all files in a folder that are not hidden."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    total = 0
    for file in files:
        with file.open("rb") as lines:
            total += sum(1 for _ in lines)
    return total
