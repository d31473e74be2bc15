"""A disk that is full in the middle of a run, under each of the parts that write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import penstock as ps
from penstock.engine import Progress
from penstock.errors import ConnectorError, LedgerError, PenstockError
from penstock.flow import Dataset
from tests.disks import Disk, may_mount, small_file_system
from tests.faults.story import EXPECTED, Story, make_input, rows_in

FULL_FROM = 4
"""The epoch that finds no room."""

pytestmark = pytest.mark.skipif(not may_mount(), reason="a small file system is mounted by root only")


@dataclass(frozen=True)
class Part:
    """What is on the small disk, and how the run ends there."""

    error: type[PenstockError]
    state_left: str
    hint: str


PARTS = {
    "ledger": Part(LedgerError, "epoch 4 is planned and will run again", "make room on the disk"),
    "state": Part(LedgerError, "epoch 4 is planned and will run again", "make room on the disk"),
    "parquet": Part(ConnectorError, "what was committed before is untouched", "free space on that disk"),
    "delta": Part(ConnectorError, "what was committed before is untouched", "free space on that disk"),
    "duckdb": Part(ConnectorError, "nothing of the epoch was written", "a full disk heals when there is room"),
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 4 MB."""
    yield from small_file_system(tmp_path / "disk")


def story_of(name: str, disk: Disk, folder: Path) -> Story:
    """The story with that one part on the small disk."""
    make_input(folder / "rows.jsonl")
    sinks: dict[str, Dataset] = {
        "parquet": ps.parquet(str(disk.folder / "out")),
        "delta": ps.delta(str(disk.folder / "out"), min_epoch_ms=0),
        "duckdb": ps.duckdb_table(str(disk.folder / "out.duckdb"), "out"),
    }
    places = {name: disk.folder / name} if name in ("ledger", "state") else {}
    return Story(folder, sinks.get(name, ps.parquet("out")), places=places)


@pytest.mark.parametrize("name", PARTS)
def test_a_full_disk_ends_in_a_clear_error_and_a_clean_restart(name: str, disk: Disk, tmp_path: Path) -> None:
    """The error says what is left and what to do, also to who tries again at once; with room a new run finishes."""
    part = PARTS[name]
    story = story_of(name, disk, tmp_path)

    def probe(point: str, epoch: int) -> None:
        if (point, epoch) == ("ran", FULL_FROM):
            disk.fill()

    with pytest.raises(part.error) as caught:
        story.run(probe, patience_s=0)
    with pytest.raises(PenstockError) as again:
        story.run(patience_s=0)
    assert again.value.heals
    assert again.value.hint
    disk.make_room()

    assert caught.value.heals
    assert caught.value.epoch == FULL_FROM
    assert part.state_left in str(caught.value.state_left)
    assert part.hint in str(caught.value.hint)
    assert str(disk.folder) in str(caught.value)
    assert story.run().finished
    assert rows_in(story.sink, tmp_path) == EXPECTED


@pytest.mark.parametrize("name", ["parquet", "delta", "duckdb"])
def test_a_run_goes_on_by_itself_once_there_is_room(name: str, disk: Disk, tmp_path: Path) -> None:
    """A sink on a full disk is waited for like one that is away."""
    story = story_of(name, disk, tmp_path)
    said: list[str] = []

    def probe(point: str, epoch: int) -> None:
        if (point, epoch) == ("ran", FULL_FROM):
            disk.fill()

    def on_progress(progress: Progress) -> None:
        if progress.phase == "retrying":
            said.append(progress.message)
            with suppress(FileNotFoundError):
                disk.make_room()

    assert story.run(probe, on_progress).finished
    assert said
    assert rows_in(story.sink, tmp_path) == EXPECTED
