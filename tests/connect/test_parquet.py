"""Parquet files, one an epoch: replace, retract, the fence, and a disk that is full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from penstock.clock import SystemClock
from penstock.connect import Change, Context
from penstock.connect.parquet import ParquetSink
from penstock.errors import ConfigError, ConnectorError, Fenced
from penstock.flow import Dataset


def sink_at(folder: Path, *, flow: str = "orders", **options: str) -> ParquetSink:
    """A sink on `folder/out`, not opened."""
    context = Context(flow, "write", folder / "own", folder, SystemClock(), pl.Schema({"n": pl.Int64()}))
    return ParquetSink(Dataset("parquet", "out", options={"path": "out", **options}), context)


def rows(*numbers: int) -> Change:
    """An epoch that appends these numbers."""
    return Change(pl.DataFrame({"n": numbers}, schema={"n": pl.Int64}))


def numbers_in(folder: Path) -> list[int]:
    """What a reader with the simple glob sees."""
    files = sorted((folder / "out").glob("*.parquet"))
    return sorted(n for file in files for n in pl.read_parquet(file)["n"].to_list())


def test_epochs_are_replaced_whole(tmp_path: Path) -> None:
    """An epoch that is written again holds the second call's rows only; with no rows its file goes away."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1, 2))
    receipt = sink.write(2, 1, rows(3, 4))
    assert receipt["rows"] == 2
    sink.write(2, 1, rows(5))
    assert numbers_in(tmp_path) == [1, 2, 5]
    sink.write(2, 1, rows())

    assert numbers_in(tmp_path) == [1, 2]
    assert (sink.last_epoch(), sink_at(tmp_path).last_epoch()) == (2, 1)


def test_a_replacement_is_written_before_anything_is_changed(tmp_path: Path) -> None:
    """While the new files are written readers have all old ones; a full disk, or any other error, leaves it so."""
    sink = sink_at(tmp_path)
    sink.open(1)
    for epoch in range(1, 5):
        sink.write(epoch, 1, rows(epoch))

    def changes() -> Iterator[tuple[int, Change]]:
        for epoch in (2, 3):
            yield epoch, rows(10 * epoch)
            assert numbers_in(tmp_path) == [1, 2, 3, 4]

    def failing() -> Iterator[tuple[int, Change]]:
        yield 2, rows(99)
        raise OSError(28, "No space left on device")

    with pytest.raises(ConnectorError, match="No space left"):
        sink.replace(2, 1, failing())
    assert numbers_in(tmp_path) == [1, 2, 3, 4]
    assert not list((tmp_path / "out/.gen-1").iterdir())
    sink.replace(2, 1, changes())
    assert numbers_in(tmp_path) == [1, 20, 30]


def test_retract_removes_later_epochs(tmp_path: Path) -> None:
    """Retracting takes the files of that epoch and all later ones away."""
    sink = sink_at(tmp_path)
    sink.open(1)
    for epoch in range(1, 6):
        sink.write(epoch, 1, rows(epoch))
    sink.retract(3, 1)

    assert numbers_in(tmp_path) == [1, 2]
    assert sink.last_epoch() == 2


def test_older_generation_is_fenced_from_everything(tmp_path: Path) -> None:
    """After a newer generation opened, an older one can neither write, nor empty, nor retract, nor open."""
    old, new = sink_at(tmp_path), sink_at(tmp_path)
    old.open(7)
    old.write(1, 7, rows(1))
    new.open(8)
    with pytest.raises(Fenced, match="generation 8"):
        old.write(2, 7, rows(2))
    with pytest.raises(Fenced):
        old.write(1, 7, rows())
    with pytest.raises(Fenced):
        old.write(9, 7, rows())
    with pytest.raises(Fenced):
        old.retract(1, 7)
    with pytest.raises(Fenced):
        sink_at(tmp_path).open(7)
    new.write(2, 8, rows(20))

    assert numbers_in(tmp_path) == [1, 20]


def test_process_frozen_before_its_rename_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that stops after its file is complete and wakes up when it was replaced is fenced at the rename."""
    old, new = sink_at(tmp_path), sink_at(tmp_path)
    old.open(1)
    rename = Path.rename

    def freeze_then_rename(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            monkeypatch.setattr(Path, "rename", rename)
            new.open(2)
            new.write(1, 2, rows(20))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", freeze_then_rename)
    with pytest.raises(Fenced):
        old.write(1, 1, rows(10))

    assert numbers_in(tmp_path) == [20]


def test_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    """A disk that is full ends in a ConnectorError with a hint; earlier epochs stay, and the epoch can come again."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    (tmp_path / "out/.gen-1/epoch-000000000002.parquet.new").symlink_to("/dev/full")
    with pytest.raises(ConnectorError, match="No space left") as caught:
        sink.write(2, 1, rows(2))
    assert "free space" in str(caught.value)
    assert numbers_in(tmp_path) == [1]
    sink.write(2, 1, rows(2))

    assert numbers_in(tmp_path) == [1, 2]


def test_folder_has_one_owner(tmp_path: Path) -> None:
    """A second flow that writes into the same folder is refused and told whose it is."""
    sink_at(tmp_path).open(1)

    with pytest.raises(ConnectorError, match="belongs to flow orders"):
        sink_at(tmp_path, flow="other").open(1)


def test_wrong_compression_is_a_config_error(tmp_path: Path) -> None:
    """An unknown compression is refused when the sink is built, with the choices."""
    with pytest.raises(ConfigError, match="gzip"):
        sink_at(tmp_path, compression="gzip")


def test_lost_folder_is_not_called_fenced(tmp_path: Path) -> None:
    """A folder that somebody removed is a ConnectorError: starting again heals it."""
    sink = sink_at(tmp_path)
    sink.open(1)
    (tmp_path / "out/.gen-1").rmdir()

    with pytest.raises(ConnectorError, match="removed"):
        sink.write(1, 1, rows(1))
