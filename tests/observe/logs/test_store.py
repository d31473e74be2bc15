"""The store: every entry once, whoever does what and dies when; old ones go; counts stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.parquet as pq
import pytest

from penstock.clock import ManualClock
from penstock.observe import FlowLogs, LogRetention, compact, log_schema, severity_counts
from penstock.observe.logs import compacting
from tests.observe.logs.lines import HOUR_US, START_US, messages, written

NOW = ManualClock(START_US + 2 * HOUR_US)


def test_entries_become_sorted_typed_files_of_an_hour(tmp_path: Path) -> None:
    """Journals of two processes make one sorted file for each hour, with the types of the log."""
    logs = FlowLogs(tmp_path / "flow")
    written(logs.folder, [(0, "a"), (20, "c"), (HOUR_US, "e")], worker="w1")
    written(logs.folder, [(10, "b"), (30, "d")], worker="w2")

    assert compact(logs, NOW) == 5
    files = logs.index().files
    tables = [pq.read_table(logs.path_of(file)) for file in files]
    assert [file.rows for file in files] == [4, 1]
    assert [table.schema.equals(log_schema()) for table in tables] == [True, True]
    assert tables[0].column("message").to_pylist() == ["a", "b", "c", "d"]
    assert messages(logs) == ["a", "b", "c", "d", "e"]


def test_compacting_twice_changes_nothing(tmp_path: Path) -> None:
    """A second pass finds nothing to do, and two at once leave each entry there once."""
    logs = FlowLogs(tmp_path / "flow")
    for number in range(20):
        written(logs.folder, [(number, f"line {number}")], worker=f"w{number}")
    threads = [Thread(target=compact, args=(logs, NOW)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert compact(logs, NOW) == 0
    assert messages(logs) == [f"line {number}" for number in range(20)]


class _Dies(BaseException):
    """Instead of the process: what comes after it is not done."""


@pytest.mark.parametrize("point", ["written", "indexed"])
def test_a_crash_between_two_deeds_doubles_and_loses_nothing(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a pass dies before the index, or between that and the end of the journals, readers and the next pass see
    each entry once.
    """
    logs = FlowLogs(tmp_path / "flow")
    written(logs.folder, [(0, "a"), (1, "b")])
    real: Callable[..., Any] = FlowLogs.replace_index

    def dying(self: FlowLogs, index: Any) -> None:
        if point == "indexed":
            real(self, index)
        raise _Dies

    with monkeypatch.context() as patched:
        patched.setattr(FlowLogs, "replace_index", dying)
        with pytest.raises(_Dies):
            compact(logs, NOW)
    after_crash = messages(logs)
    counted = logs.counts()
    compact(logs, NOW)

    assert after_crash == ["a", "b"]
    assert counted == {200: 2}
    assert messages(logs) == ["a", "b"]
    assert logs.counts() == {200: 2}
    assert len(list((logs.folder / "entries").iterdir())) == 1
    assert not list((logs.folder / "journals").iterdir())


def test_files_of_a_day_that_is_over_are_merged(tmp_path: Path) -> None:
    """Many small files become one, entries stay, and what was replaced goes after a while."""
    logs = FlowLogs(tmp_path / "flow")
    for hour in range(5):
        written(logs.folder, [(hour * HOUR_US, f"hour {hour}")])
        compact(logs, ManualClock(START_US + hour * HOUR_US))
    clock = ManualClock(START_US + 48 * HOUR_US)
    compact(logs, clock)
    merged = logs.index().files
    clock.sleep(120)
    compact(logs, clock)

    assert len(merged) < 5
    assert messages(logs) == [f"hour {hour}" for hour in range(5)]
    assert len(list((logs.folder / "entries").iterdir())) == len(merged)
    assert logs.counts() == {200: 5}


def test_old_entries_go_and_counts_stay(tmp_path: Path) -> None:
    """Files behind `keep`, and the oldest above `max_bytes`, are dropped; how many there ever were is still known."""
    logs = FlowLogs(tmp_path / "flow")
    for hour in (0, 30, 60):
        written(logs.folder, [(hour * HOUR_US, f"hour {hour}")])
    clock = ManualClock(START_US + 61 * HOUR_US)
    compact(logs, clock, LogRetention(keep_us=48 * HOUR_US))
    kept = messages(logs)
    compact(logs, clock, LogRetention(max_bytes=logs.index().files[-1].size_bytes))

    assert kept == ["hour 30", "hour 60"]
    assert messages(logs) == ["hour 60"]
    assert severity_counts(tmp_path) == {"flow": {200: 3}}


def test_many_journals_are_moved_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass works through all journals that there are, a few at a time."""
    monkeypatch.setattr(compacting, "_JOURNALS_AT_ONCE", 3)
    logs = FlowLogs(tmp_path / "flow")
    for number in range(10):
        written(logs.folder, [(number, f"line {number}")], worker=f"w{number}")

    assert compact(logs, NOW) == 10
    assert messages(logs) == [f"line {number}" for number in range(10)]


def test_an_index_that_cant_be_read_hides_no_journal(tmp_path: Path) -> None:
    """Garbage in the place of the index is no reason not to show what is logged."""
    logs = FlowLogs(tmp_path / "flow")
    written(logs.folder, [(0, "a")])
    (logs.folder / "index.json").write_text("{garbage")

    assert messages(logs) == ["a"]
    assert compact(logs, NOW) == 1
    assert messages(logs) == ["a"]
