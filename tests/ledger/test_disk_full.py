"""A disk that is full, or a file that may not grow: a clear error, nothing torn, and on as soon as there is room."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from penstock.clock import ManualClock
from penstock.errors import LedgerError
from penstock.ledger import Ledger, LocalStateStore, TableChange, open_ledger
from tests.disks import KINDS, Disk
from tests.ledger.facts import FLOW, commit_epochs, letter, plan, record


@pytest.fixture(params=sorted(KINDS))
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk with room; `fill` and `make_room` change that."""
    yield from KINDS[request.param](tmp_path / "disk")


@pytest.fixture
def ledger(disk: Disk) -> Iterator[Ledger]:
    """A ledger of three epochs on that disk."""
    opened = open_ledger(disk.folder / "ledger", env="dev", clock=ManualClock())
    opened.claim(FLOW, version="v1", holder="test")
    opened.plan(FLOW, 1, plan(1))
    commit_epochs(opened, 1, 3)
    yield opened
    opened.close()


def test_a_commit_on_a_full_disk_leaves_the_epoch_planned(disk: Disk, ledger: Ledger) -> None:
    """The error says that it heals and what is left; with room again the same commit succeeds, in the same process."""
    big = [letter(4, number) for number in range(5_000)]
    disk.fill()
    with pytest.raises(LedgerError) as caught:
        ledger.commit(FLOW, record(4), next_plan=plan(5), dead=big)
    disk.make_room()

    assert caught.value.heals
    assert caught.value.epoch == 4
    assert "epoch 4 is planned and will run again" in str(caught.value)
    assert len(ledger.epochs(FLOW)) == 3
    ledger.commit(FLOW, record(4), next_plan=plan(5), dead=big)
    assert [record(epoch) for epoch in range(1, 5)] == ledger.epochs(FLOW)
    assert ledger.count_dead_letters(FLOW) == len(big)


def test_a_ledger_can_be_opened_and_read_on_a_full_disk(disk: Disk, ledger: Ledger) -> None:
    """Whoever looks for the cause at night can still see the epochs."""
    disk.fill()
    other = open_ledger(disk.folder / "ledger", env="dev", clock=ManualClock())
    found = other.epochs(FLOW)
    disk.make_room()
    other.close()

    assert found == ledger.epochs(FLOW)


def test_a_state_file_on_a_full_disk_leaves_no_half_file(disk: Disk) -> None:
    """The error names the file and says that it heals; nothing is left over; with room again it is written."""
    store = LocalStateStore(disk.folder / "state", flow=FLOW)
    change = TableChange("t", "keyed", ("k",), upserts=pl.select(k=pl.int_range(100_000)))
    kept = store.write(1, 1, [TableChange("t", "keyed", ("k",), upserts=pl.DataFrame({"k": [-1]}))])
    disk.fill()
    with pytest.raises(LedgerError, match="disk is full") as caught:
        store.write(2, 2, [change])
    disk.make_room()

    assert caught.value.heals
    assert os.strerror(errno.ENOSPC) in str(caught.value) or os.strerror(errno.EFBIG) in str(caught.value)
    assert "epoch 2 is planned and will run again" in str(caught.value)
    assert [entry.name for entry in (disk.folder / "state").iterdir()] == [kept.file]
    assert store.load([kept, store.write(2, 2, [change])])["t"].rows.height == 100_001
