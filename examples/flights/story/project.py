"""The project of the story: a folder with the demo's flow, the flights around a snowstorm, and a change with a bug."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from examples.flights.records import write_records

__all__ = ["BUG", "STORM", "Part", "StoryProject", "make_project"]

DAYS = 59
STORM = datetime(2013, 2, 8, 5)  # noqa: DTZ001 - UTC, as in the tables
"""Friday, midnight in New York: in two days of snow half of all flights were cancelled."""

GOOD = 'plausible = counted.expect(ps.between("distance", 50, 6_000), on_fail="dead_letter")\n'
BUG = """
# The dashboard can't draw gaps.
plausible = plausible.with_columns(pl.col("dep_time", "dep_delay", "air_time").fill_null(0))
"""
"""A cancelled flight has no departure. With this it has one, at midnight, without any delay."""

SETTINGS = """# The demo's project, with the flights as a stream that goes on. "never": a flow that never had the bug.

[project]
name = "flights"
seed = "records"

[deploy]
shadow = "8 epochs"
slower_max = 20.0  # this machine may be busy with other things
"""
BINDINGS = """
[env.{env}.bind.flights]
kind = "files"
path = "data/flights.ndjson"
watch = true
tail = true

[env.{env}.bind.rough_days]
kind = "parquet"
path = "out/{env}/rough_days"
"""


@dataclass(frozen=True, slots=True)
class Part:
    """Where what comes begins, as lines of the story's flights."""

    stream: int
    """There before: they wait in the file when the flow starts."""
    change: int
    """When the change is made."""
    storm: int
    rest: int
    """What comes when the undo is done."""
    end: int


@dataclass(frozen=True, slots=True)
class StoryProject:
    """The project in `folder`."""

    folder: Path
    part: Part

    @property
    def records(self) -> Path:
        """All flights of the story, and the tables that they are joined with."""
        return self.folder / "records"

    @property
    def stream(self) -> Path:
        """The file that the flow reads, as it grows."""
        return self.folder / "data" / "flights.ndjson"

    @property
    def code(self) -> Path:
        """The flow."""
        return self.folder / "flows" / "delays.py"

    def make_mistake(self) -> None:
        """Put the bug into the code."""
        self.code.write_text(self.code.read_text(encoding="utf-8").replace(GOOD, GOOD + BUG), encoding="utf-8")

    def mend(self) -> None:
        """Take it out again."""
        self.code.write_text(self.code.read_text(encoding="utf-8").replace(BUG, ""), encoding="utf-8")


def make_project(folder: Path, demo: Path, *, rows: int) -> StoryProject:
    """Make the project, anew: `rows` flights, two thirds of them before the storm.

    Raises FileNotFoundError where the data package is not installed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    records = folder / "records"
    write_records(records, days=DAYS)
    lines = (records / "flights.ndjson").read_bytes().splitlines(keepends=True)
    begins = f'{{"scheduled":"{STORM.isoformat()}'.encode()
    storm = next(place for place, line in enumerate(lines) if line >= begins)
    first = max(0, storm - rows * 2 // 3)
    lines = lines[first : storm + rows // 3]
    before = storm - first
    part = Part(
        stream=before // 3,
        change=before // 2,
        storm=before,
        rest=before + (len(lines) - before) * 3 // 4,
        end=len(lines),
    )
    (records / "flights.ndjson").write_bytes(b"".join(lines))
    made = StoryProject(folder, part)
    made.stream.parent.mkdir()
    made.stream.write_bytes(b"".join(lines[: part.stream]))
    shutil.copytree(demo / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    text = SETTINGS + "".join(BINDINGS.format(env=env) for env in ("dev", "never"))
    (folder / "penstock.toml").write_text(text, encoding="utf-8")
    if GOOD not in made.code.read_text(encoding="utf-8"):
        raise ValueError(f"the line that the change comes after is not in {made.code} any more")
    return made
