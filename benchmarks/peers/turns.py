"""A job that goes on through several processes, one at a time: what driver and process tell each other, by files.

The job is a running count and sum by key over JSON lines. Runs in the peers' own Pythons too: standard library only.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Turn", "put_rows", "rows_file", "turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """The process that is the `number`th (from 1) of a job, by code of version `number`; all of them share `folder`."""

    folder: Path
    number: int

    @property
    def rows(self) -> Path:
        """The folder into which files of rows come, whole."""
        return self.folder / "rows"

    @property
    def visible(self) -> Path:
        """The file with a line for each output that a reader could see: the moment, in seconds since 1970."""
        return self.folder / f"visible-{self.number}.txt"

    def tell_visible(self) -> None:
        """Note that output has just become visible."""
        with self.visible.open("a", encoding="ascii") as out:
            out.write(f"{time.time():.6f}\n")

    def visible_s(self) -> list[float]:
        """When output became visible, in seconds since 1970, in order. A line that a kill cut off is left out."""
        if not self.visible.exists():
            return []
        lines = self.visible.read_text(encoding="ascii").split("\n")[:-1]
        return [float(line) for line in lines]

    def ask_to_stop(self) -> None:
        """Ask the process to end in its engine's orderly way."""
        self._asked.touch()

    def is_asked_to_stop(self) -> bool:
        """Whether the process shall end."""
        return self._asked.exists()

    def tell_stopped(self) -> None:
        """Say that the job has stopped and the next process may start, whatever this one still has to close."""
        self._stopped.touch()

    def has_stopped(self) -> bool:
        """Whether the next process may start."""
        return self._stopped.exists()

    @property
    def _asked(self) -> Path:
        return self.folder / f"asked-{self.number}"

    @property
    def _stopped(self) -> Path:
        return self.folder / f"stopped-{self.number}"


def turn() -> Turn:
    """The turn that the command line gives to this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--number", type=int, required=True)
    options = parser.parse_args()
    return Turn(options.folder, options.number)


def rows_file(rows: Path, number: int) -> Path:
    """The `number`th file of rows in a folder."""
    return rows / f"{number:08d}.json"


def put_rows(rows: Path, number: int, text: str) -> None:
    """Put a file of rows into a folder at once: nobody sees half of it."""
    unfinished = rows.parent / "unfinished.json"
    unfinished.write_text(text, encoding="ascii")
    unfinished.rename(rows_file(rows, number))
