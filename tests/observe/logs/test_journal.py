"""The journal: what was logged is there, whatever becomes of the process, its threads, its children or its disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from penstock.clock import ManualClock
from penstock.observe import FlowLogs, Identity, JournalWriter, Quota, compact
from tests.disks import Disk, may_mount, small_file_system
from tests.observe.logs.lines import START_US, messages, put, written

VICTIM = """
import logging, sys
from pathlib import Path
from penstock.observe import Identity, JournalWriter, LogCapture

journal = JournalWriter(Path(sys.argv[1]), Identity("shop", "flow", "dev", "v1", "victim"), size_bytes=1 << 16)
with LogCapture(journal) as caught:
    caught.attach()
    for number in range(1_000_000):
        logging.getLogger("victim").info("line %d", number)
        if number % 100 == 0:
            sys.__stdout__.write(f"{number}\\n")
            sys.__stdout__.flush()
"""


@pytest.mark.crash
def test_a_killed_process_loses_no_line(tmp_path: Path) -> None:
    """All lines that a process logged before `kill -9` are there, once, in their order, and nothing torn."""
    folder = tmp_path / "flow"
    command = [sys.executable, "-c", VICTIM, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        logged = 0
        while logged < 5_000:
            logged = int(victim.stdout.readline())
        victim.send_signal(signal.SIGKILL)
        rest = victim.stdout.read().splitlines()
        logged = max([logged, *(int(line) for line in rest[:-1])])

    live = [message for message in messages(FlowLogs(folder)) if message.startswith("line ")]
    compact(FlowLogs(folder), ManualClock())
    kept = [message for message in messages(FlowLogs(folder)) if message.startswith("line ")]

    assert live == [f"line {number}" for number in range(len(live))]
    assert len(live) > logged
    assert kept == live
    assert not list((folder / "journals").iterdir())


@pytest.mark.parametrize(
    "rest", [b'{"s":200,"t":17', b'{"s":200,"t":1,"m":"a\0\0\0b"}\n', b"\xff\xfe\n", b"{]\n[1]\n7\n", b""]
)
def test_what_is_torn_is_left_out(rest: bytes, tmp_path: Path) -> None:
    """A line that is not whole, or no entry at all, is dropped, and the others are there."""
    written(tmp_path / "flow", [(0, "first"), (1, "second")])
    path = next((tmp_path / "flow" / "journals").iterdir())
    path.write_bytes(path.read_bytes() + rest + bytes(100))

    assert messages(FlowLogs(tmp_path / "flow")) == ["first", "second"]


def test_a_lost_first_page_loses_no_entry_behind_it(tmp_path: Path) -> None:
    """Where the line that says whose a journal is can't be read, the folder and the name still tell the flow."""
    written(tmp_path / "flow", [(0, "first"), (1, "second")])
    path = next((tmp_path / "flow" / "journals").iterdir())
    data = path.read_bytes()
    path.write_bytes(b"#" * (data.index(b"\n")) + data[data.index(b"\n") :])

    assert messages(FlowLogs(tmp_path / "flow"), 'flow="flow"') == ["first", "second"]


def test_lines_are_seen_before_a_journal_is_full(tmp_path: Path) -> None:
    """A reader sees a line as soon as it was logged, in the journal that is being written."""
    journal = written(tmp_path / "flow", [(0, "first")], seal=False)
    before = messages(FlowLogs(tmp_path / "flow"))
    put(journal, "second")

    assert before == ["first"]
    assert messages(FlowLogs(tmp_path / "flow")) == ["first", "second"]


def test_a_live_journal_is_left_to_its_process(tmp_path: Path) -> None:
    """A journal whose process is there is not moved; once it is closed it is."""
    journal = written(tmp_path / "flow", [(0, "first")], seal=False)
    logs = FlowLogs(tmp_path / "flow")

    assert compact(logs, ManualClock()) == 0
    put(journal, "second")
    journal.close()
    assert compact(logs, ManualClock()) == 2
    assert messages(logs) == ["first", "second"]


def test_threads_and_journals_share_no_line(tmp_path: Path) -> None:
    """Lines of several threads, over many journals, are all there and whole."""
    journal = written(tmp_path / "flow", [], seal=False)

    def work(name: int) -> None:
        for number in range(1_000):
            put(journal, f"thread {name} line {number} {'x' * (number % 50)}")

    threads = [Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()

    expected = {f"thread {name} line {number} {'x' * (number % 50)}" for name in range(4) for number in range(1_000)}
    found = messages(FlowLogs(tmp_path / "flow"))
    assert len(found) == 4_000
    assert set(found) == expected
    assert len(list((tmp_path / "flow" / "journals").iterdir())) > 2


def test_the_child_of_a_fork_has_a_journal_of_its_own(tmp_path: Path) -> None:
    """A child goes on in another journal and writes over nothing of its parent's."""
    journal = written(tmp_path / "flow", [(0, "before")], seal=False)
    child = os.fork()
    if child == 0:
        put(journal, "in the child", time_us=START_US + 2)
        os._exit(0)
    os.waitpid(child, 0)
    put(journal, "in the parent", time_us=START_US + 1)
    journal.close()

    assert messages(FlowLogs(tmp_path / "flow")) == ["before", "in the parent", "in the child"]
    assert messages(FlowLogs(tmp_path / "flow"), 'worker:"w1."') == ["in the child"]


def test_a_flood_is_capped_and_told(tmp_path: Path) -> None:
    """Above its quota a flow's lines are dropped and counted in a line; errors have a quota of their own."""
    folder = tmp_path / "flow"
    journal = JournalWriter(
        folder, Identity("shop", "flow", "dev", "v1", "w1"), quota=Quota(lines_per_s=10, burst=100), clock=ManualClock()
    )
    for number in range(1_000):
        put(journal, f"line {number}", time_us=START_US + number)
    put(journal, "an error", severity=500, time_us=START_US + 1_001)
    put(journal, "later", time_us=START_US + 5_000_000)
    journal.close()

    found = messages(FlowLogs(folder))
    told = messages(FlowLogs(folder), "jsonPayload.suppressed:*")
    lines = [message for message in found if message.startswith("line ")]
    assert lines == [f"line {number}" for number in range(100)]
    assert "an error" in found
    assert "later" in found
    counted = sum(int(message.split()[0].replace(",", "")) for message in told)
    assert counted == 900
    assert all("more than 10 lines a second" in message for message in told)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 4 MB."""
    yield from small_file_system(tmp_path / "disk")


if may_mount():  # nothing else fills a disk under a file that is mapped: a limit on its size is no full disk

    def test_a_full_disk_loses_lines_and_says_how_many(disk: Disk) -> None:
        """The flow goes on without its lines, and the first that has room says how many were lost."""
        folder = disk.folder / "flow"
        journal = written(folder, [(0, "before")], seal=False)
        disk.fill()
        for number in range(2_000):
            put(journal, f"line {number}", time_us=START_US + number)
        disk.make_room()
        put(journal, "after", time_us=START_US + 10_000_000)
        journal.close()

        found = messages(FlowLogs(folder))
        told = messages(FlowLogs(folder), "jsonPayload.lost:*")
        kept = [message for message in found if message.startswith("line ")]
        assert found[0] == "before"
        assert found[-1] == "after"
        assert 0 < len(kept) < 2_000
        assert [int(message.split()[0].replace(",", "")) for message in told] == [2_000 - len(kept)]
