"""Old epochs go to Parquet and stay readable: nothing lost, nothing twice, wherever the process is killed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from penstock.clock import ManualClock
from penstock.errors import LedgerError
from penstock.ledger import Ledger, Rewrite, Takeover, open_ledger, rollup
from penstock.ledger.databases import FlowDatabase
from tests.ledger.facts import FLOW, Open, commit_epochs, plan, record


@pytest.fixture
def busy(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger of 40 epochs, and roll-ups of small files."""
    monkeypatch.setattr(rollup, "FILE_EPOCHS", 10)
    monkeypatch.setattr(rollup, "DELETE_ROWS", 3)
    ledger.claim(FLOW, version="v1", holder="pid 1")
    ledger.plan(FLOW, 1, plan(1))
    commit_epochs(ledger, 1, 40)
    return ledger


def files(tmp_path: Path) -> list[str]:
    """The names of all rolled up files, sorted."""
    return sorted(file.name for file in tmp_path.rglob("epochs-*"))


def test_rolled_up_epochs_read_back_as_they_were(busy: Ledger, tmp_path: Path) -> None:
    """Records are equal before and after, from either end and across the border of files and table."""
    moved = busy.roll_up(FLOW, 26)

    assert moved == 25
    assert files(tmp_path) == ["epochs-1-10.parquet", "epochs-11-20.parquet", "epochs-21-25.parquet"]
    assert busy.epochs(FLOW) == [record(epoch) for epoch in range(1, 41)]
    for first, last, limit, newest, expected in (
        (9, 12, None, False, range(9, 13)),
        (24, 28, None, False, range(24, 29)),
        (0, None, 12, False, range(1, 13)),
        (0, None, 18, True, range(23, 41)),
        (0, 22, 4, True, range(19, 23)),
        (0, 5, 0, True, range(0)),
    ):
        found = busy.epochs(FLOW, first=first, last=last, limit=limit, newest=newest)
        assert [record(epoch) for epoch in expected] == found


def test_the_last_epoch_is_never_rolled_up(busy: Ledger) -> None:
    """A flow resumes after its last epoch, so that one stays, whatever was asked; rolling up goes on later."""
    assert busy.roll_up(FLOW, 1000) == 39
    assert busy.roll_up(FLOW, 1000) == 0
    assert busy.claim(FLOW, version="v1", holder="pid 2").last == record(40)
    commit_epochs(busy, 41, 45, generation=2)
    assert busy.roll_up(FLOW, 43) == 3
    assert [found.epoch for found in busy.epochs(FLOW)] == list(range(1, 46))


def test_a_rolled_up_file_is_a_table_for_everybody(busy: Ledger, tmp_path: Path) -> None:
    """Any Parquet reader sees flat columns with times and totals."""
    busy.roll_up(FLOW, 11)
    table = pl.read_parquet(next(tmp_path.rglob("epochs-1-10.parquet")))

    assert table["epoch"].to_list() == list(range(1, 11))
    assert table["rows_out"].to_list() == [13] * 10
    assert table.schema["committed_at"] == pl.Datetime("us", "UTC")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", ["_write", "_register", "_delete_rows"])
@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_killed_roll_up_loses_nothing_and_doubles_nothing(
    busy: Ledger, open_it: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int, *, after: bool
) -> None:
    """Killed before or after each of its steps, every epoch reads once; the next roll-up, of more, cleans up."""
    real = getattr(rollup, step)
    calls = []

    def killing(db: FlowDatabase, *given: object) -> object:
        calls.append(given)
        if len(calls) == call and not after:
            raise Killed
        result = real(db, *given)
        if len(calls) == call:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(rollup, step, killing)
        with pytest.raises(Killed):
            busy.roll_up(FLOW, 15)
    again = open_it()
    expected = [record(epoch) for epoch in range(1, 41)]

    assert again.epochs(FLOW) == expected
    again.roll_up(FLOW, 31)
    assert again.epochs(FLOW) == expected
    assert sum(pl.read_parquet(file).height for file in tmp_path.rglob("epochs-*")) == 30


def test_rows_that_an_undo_replaced_meanwhile_are_not_rolled_up(
    busy: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A roll-up that read rows before an undo ended does not register them: the file would hold what is no fact."""
    real = rollup._write

    def undo_first(file: Path, rows: list[tuple[int, int, str]], flow: str) -> None:
        real(file, rows, flow)
        monkeypatch.setattr(rollup, "_write", real)
        asked = Rewrite("undo", 8, 0, "v0", "s")
        resume = busy.take_over(FLOW, version="v0", holder="good", takeover=Takeover(1, 40, rewrite=asked))
        assert resume.rewrite is not None
        good = [record(epoch, 2, rows_late=7) for epoch in range(8, 41)]
        busy.finish_rewrite(FLOW, 2, resume.rewrite, good, ())

    monkeypatch.setattr(rollup, "_write", undo_first)
    assert busy.roll_up(FLOW, 15) == 0
    assert busy.roll_up(FLOW, 15) == 14
    assert files(tmp_path) == ["epochs-1-10.parquet", "epochs-11-14.parquet"]
    assert [found.rows_late for found in busy.epochs(FLOW)] == [1] * 7 + [7] * 33


def undone(ledger: Ledger, first: int, *, name: str = "undo", expected: int = 1) -> None:
    """The good version takes over and writes the epochs from `first` on anew."""
    takeover = Takeover(expected, 40, rewrite=Rewrite(name, first, 0, "v0", "s"))
    resume = ledger.take_over(FLOW, version="v0", holder="good", takeover=takeover)
    assert resume.rewrite is not None
    good = [record(epoch, resume.generation, rows_late=7) for epoch in range(first, 41)]
    ledger.finish_rewrite(FLOW, resume.generation, resume.rewrite, good, ())


def test_rolled_up_epochs_are_undone_like_others(busy: Ledger, tmp_path: Path) -> None:
    """They come back to the table, whole files of them, and are rolled up again as what they are by then."""
    busy.roll_up(FLOW, 26)
    undone(busy, 15)

    expected = [1] * 14 + [7] * 26
    assert [found.rows_late for found in busy.epochs(FLOW)] == expected
    assert busy.roll_up(FLOW, 26) == 15
    assert [found.rows_late for found in busy.epochs(FLOW)] == expected
    assert sum(pl.read_parquet(file).height for file in tmp_path.rglob("epochs-*")) == 25
    undone(busy, 3, name="once more", expected=2)
    assert [found.rows_late for found in busy.epochs(FLOW)] == [1] * 2 + [7] * 38


@pytest.mark.parametrize("step", ["_bring_back", "_unregister"])
@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
def test_a_killed_way_back_loses_nothing_and_doubles_nothing(
    busy: Ledger, open_it: Open, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool
) -> None:
    """Killed before or after each of its steps, every epoch reads once; a roll-up and an undo go on from there."""
    busy.roll_up(FLOW, 26)
    real = getattr(rollup, step)

    def killing(*given: object, **named: object) -> object:
        if after:
            real(*given, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(rollup, step, killing)
        with pytest.raises(Killed):
            undone(busy, 15)
    again = open_it()

    assert again.epochs(FLOW) == [record(epoch) for epoch in range(1, 41)]
    again.roll_up(FLOW, 31)
    assert again.epochs(FLOW) == [record(epoch) for epoch in range(1, 41)]
    undone(again, 15)
    assert [found.rows_late for found in again.epochs(FLOW)] == [1] * 14 + [7] * 26


def test_a_roll_up_that_is_behind_deletes_nothing_that_came_back(busy: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It read how far epochs are rolled up before some of them came back."""
    busy.roll_up(FLOW, 26)
    real = rollup._delete_rows

    def undo_first(db: FlowDatabase, flow: str, upto: int) -> None:
        monkeypatch.setattr(rollup, "_delete_rows", real)
        undone(busy, 15)
        real(db, flow, upto)

    monkeypatch.setattr(rollup, "_delete_rows", undo_first)
    busy.roll_up(FLOW, 31)
    assert [found.rows_late for found in busy.epochs(FLOW)] == [1] * 14 + [7] * 26


def test_an_undo_whose_files_are_gone_is_refused_before_anything_is_fenced(busy: Ledger, tmp_path: Path) -> None:
    """The error names the file."""
    busy.roll_up(FLOW, 26)
    file = next(tmp_path.rglob("epochs-11-20.parquet"))
    file.unlink()
    before = busy.standing(FLOW)
    with pytest.raises(LedgerError, match=file.name):
        undone(busy, 15)
    assert busy.standing(FLOW) == before
    assert len(busy.epochs(FLOW, first=21)) == 20


def test_a_missing_or_damaged_file_is_named(busy: Ledger, tmp_path: Path) -> None:
    """Reading a range that needs the file says which; the epochs after it can still be read."""
    busy.roll_up(FLOW, 21)
    first, second = (next(tmp_path.rglob(name)) for name in ("epochs-1-10.parquet", "epochs-11-20.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    for epoch, file in ((3, first), (13, second)):
        with pytest.raises(LedgerError, match=file.name) as caught:
            busy.epochs(FLOW, first=epoch, last=epoch)
        assert not caught.value.heals

    assert len(busy.epochs(FLOW, first=21)) == 20


def test_a_shared_ledger_needs_a_folder_to_roll_up(ledger_dsn: str) -> None:
    """PostgreSQL without a folder refuses to roll up, and says how to give one."""
    bare = open_ledger(ledger_dsn, env="no-folder", clock=ManualClock())
    bare.claim(FLOW, version="v1", holder="pid 1")
    bare.plan(FLOW, 1, plan(1))
    commit_epochs(bare, 1, 5)
    with pytest.raises(LedgerError, match="folder=") as caught:
        bare.roll_up(FLOW, 3)
    bare.close()

    assert not caught.value.heals
