"""Processes, spares and logs, as the supervisor meets them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.control.supervising.launching import Launcher, log_tail, rotate_log
from penstock.control.supervising.processes import Ended, SystemProcesses, process_started
from penstock.errors import ConfigError
from tests.control.supervising.serving import until

ECHO = ("-c", "import sys; print('ready', flush=True); line = sys.stdin.readline(); print('got', line)")


@pytest.fixture
def processes() -> Iterator[SystemProcesses]:
    """The machine's processes."""
    found = SystemProcesses()
    yield found
    found.close()


def spawn(processes: SystemProcesses, folder: Path, text: str) -> int:
    """A Python program as a watched process."""
    command = [sys.executable, "-c", text]
    return processes.spawn(command, log=folder / "log.txt", folder=folder, variables=dict(os.environ))


def ends(processes: SystemProcesses) -> list[Ended]:
    """The next ends, once there are some."""
    return until(lambda: list(processes.ended()))


def test_the_code_of_a_child_is_told_once(processes: SystemProcesses, tmp_path: Path) -> None:
    """Exit codes, and signals as negative numbers."""
    exits = spawn(processes, tmp_path, "raise SystemExit(7)")
    assert ends(processes) == [Ended(exits, 7)]
    killed = spawn(processes, tmp_path, "import time; time.sleep(600)")
    processes.kill(killed)
    assert ends(processes) == [Ended(killed, -signal.SIGKILL)]
    assert processes.ended() == []
    assert processes.started(killed) is None
    processes.kill(killed)  # it is watched no more: whoever has its id now is left alone


def test_a_process_of_somebody_else_is_watched(processes: SystemProcesses) -> None:
    """Its end is told, without a code; one that is gone, or began at another time, is not taken."""
    with subprocess.Popen(["sleep", "600"]) as other:
        started = process_started(other.pid)
        assert started is not None
        assert not processes.watch(other.pid, "another start")
        assert processes.watch(other.pid, started)
        assert processes.ended() == []
        other.kill()
        assert ends(processes) == [Ended(other.pid, None)]
        assert process_started(other.pid) is None  # dead, though nobody has asked for its code yet
    assert not processes.watch(other.pid, started)


def test_waiting_ends_at_an_end(processes: SystemProcesses, tmp_path: Path) -> None:
    """`wait` comes back when a process ends or somebody wakes it, long before its time."""
    spawn(processes, tmp_path, "")
    processes.wait(600)
    assert len(processes.ended()) == 1
    processes.wake()
    processes.wait(600)


def test_a_program_that_is_not_there(processes: SystemProcesses, tmp_path: Path) -> None:
    """It is an error with its name."""
    with pytest.raises(ConfigError, match="no process could be started: /no/python: No such file"):
        processes.spawn(["/no/python"], log=tmp_path / "log.txt", folder=tmp_path, variables={})


def test_a_spare_takes_the_job_and_its_log_moves(processes: SystemProcesses, tmp_path: Path) -> None:
    """What it says before and after is in the log of the member that it becomes; another Python can't use it."""
    launcher = Launcher(processes, ManualClock(), folder=tmp_path / "env", root=tmp_path, command=ECHO)
    launcher.refill()
    launcher.refill()
    (spare,) = launcher.spares
    (tmp_path / "python").symlink_to(sys.executable)
    other = launcher.launch(tmp_path / "other" / "log.txt", python=str(tmp_path / "python"))
    assert other.pid != spare
    log = tmp_path / "members" / "m1" / "log.txt"
    launched = launcher.launch(log)
    assert launched.pid == spare
    assert launcher.give(launched, {"flow": "orders"})
    until(lambda: 'got {"flow": "orders"}' in log.read_text())
    assert log.read_text().startswith("ready\n")
    assert list((tmp_path / "env" / "spares").iterdir()) == []
    processes.kill(other.pid)


def test_spares_that_die_are_started_ever_less_often(processes: SystemProcesses, tmp_path: Path) -> None:
    """A broken installation does not keep a core busy."""
    clock = ManualClock()
    launcher = Launcher(processes, clock, folder=tmp_path, root=tmp_path, command=("-c", "raise SystemExit(1)"))
    pauses = []
    for _ in range(4):
        waited = 0
        launcher.refill()
        while not launcher.spares:
            clock.sleep(1)
            waited += 1
            launcher.refill()
        pauses.append(waited)
        (ended,) = ends(processes)
        assert launcher.ended(ended.pid)

    assert pauses == [0, 2, 4, 8]


def test_spares_end_when_they_are_let_go(processes: SystemProcesses, tmp_path: Path) -> None:
    """Without a job, by the end of their input."""
    launcher = Launcher(processes, ManualClock(), folder=tmp_path, root=tmp_path, command=ECHO)
    launcher.refill()
    launcher.close()

    assert [end.code for end in ends(processes)] == [0]


def test_a_long_log_is_moved(tmp_path: Path) -> None:
    """Its end is kept beside it, and the process goes on writing to the same file."""
    log = tmp_path / "log.txt"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 900 + b"the end")
        rotate_log(log, most_bytes=1000)
        assert log.stat().st_size == 907
        writer.write(b"y" * 200)
        rotate_log(log, most_bytes=1000)
        writer.write(b"more")

    assert log.read_bytes() == b"more"
    assert (tmp_path / "log.1.txt").read_bytes() == (b"x" * 900 + b"the end" + b"y" * 200)[-500:]
    assert log_tail(log) == "more"
    assert log_tail(tmp_path / "none") == ""
