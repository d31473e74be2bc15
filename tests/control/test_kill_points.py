"""`PENSTOCK_KILL_AT`: where a process kills or freezes itself, as text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from penstock.control.kill_points import KillPoint, probe_of
from penstock.errors import ConfigError

PROGRAM = """
import os, sys
from penstock.control.kill_points import probe_of
probe = probe_of(os.environ)
for epoch in (1, 2, 3):
    for sink in range(2):
        probe("after-write", epoch)
        print(epoch, sink, flush=True)
"""


@pytest.mark.parametrize(
    ("text", "passed"),
    [("after-write", 0), ("after-write:2", 2), ("after-write:2:2", 3), ("after-write:1:4:kill", 3), ("ran:1", 6)],
)
def test_a_process_dies_at_the_nth_passing_from_an_epoch_on(text: str, passed: int) -> None:
    """What is left out is epoch 0, the first time, and death; another point is passed by."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={"PENSTOCK_KILL_AT": text}, capture_output=True, text=True, check=False
    )

    assert len(done.stdout.splitlines()) == passed
    assert (done.returncode == -9) == (passed < 6)


def test_nothing_asked_is_nothing_done() -> None:
    """Without the variable the probe does nothing."""
    probe_of({})("before-commit", 1)
    assert KillPoint.parsed("before-commit:3:2:stop") == KillPoint("before-commit", 3, 2, "stop")


@pytest.mark.parametrize("text", ["before-comit", "ran:x", "ran:1:2:burn", "ran:1:2:kill:5"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    """A flow that is to die somewhere must not go on because of a misspelling."""
    with pytest.raises(ConfigError):
        KillPoint.parsed(text)
