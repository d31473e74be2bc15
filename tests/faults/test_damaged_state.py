"""State files that are torn, flipped or gone between two runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import penstock as ps
from penstock.errors import CorruptState
from tests.faults.story import EXPECTED, Story, make_input, rows_in


def torn(file: Path) -> None:
    """The second half did not reach the disk."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file: Path) -> None:
    """One bit in the middle is another one."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def lengthened(file: Path) -> None:
    """A byte more than was written."""
    file.write_bytes(file.read_bytes() + b"\0")


@pytest.mark.parametrize("damage", [torn, flipped, lengthened, Path.unlink])
@pytest.mark.parametrize("which", [0, -1], ids=["oldest", "newest"])
def test_damaged_state_is_named_and_nothing_is_overwritten(
    tmp_path: Path, damage: Callable[[Path], None], which: int
) -> None:
    """A run on damaged state ends before it writes anything; with the file restored it goes on as if nothing was."""
    make_input(tmp_path / "rows.jsonl")
    story = Story(tmp_path, ps.parquet("out"))
    story.run(max_epochs=4)
    file = sorted(story.place("state").glob("*.state"))[which]
    whole = file.read_bytes()
    damage(file)
    before = contents(tmp_path)

    with pytest.raises(CorruptState, match=file.name) as caught:
        story.run()
    assert not caught.value.heals
    assert caught.value.state_left
    assert file.name in str(caught.value.hint)
    assert contents(tmp_path) == before

    file.write_bytes(whole)
    assert story.run().finished
    assert rows_in(story.sink, tmp_path) == EXPECTED


def contents(folder: Path) -> dict[str, bytes]:
    """State files and rows; the ledger has a higher generation now."""
    files = [*(folder / "state").rglob("*"), *(folder / "out").glob("*.parquet")]
    return {str(file): file.read_bytes() for file in files if file.is_file()}
