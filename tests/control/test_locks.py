"""One live process a flow and environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.control import flow_lock, lock_holder
from penstock.errors import ConfigError, FlowBusy

HOLD = """
import sys
from pathlib import Path
from penstock.control import flow_lock
with flow_lock(Path(sys.argv[1]), "f", "dev"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_refused_with_the_first_ones_id(tmp_path: Path) -> None:
    """Within one process too; after it was given back it can be had again."""
    with flow_lock(tmp_path, "f", "dev"):
        assert lock_holder(tmp_path) == os.getpid()
        with pytest.raises(FlowBusy, match=f"process {os.getpid()}"), flow_lock(tmp_path, "f", "dev"):
            raise AssertionError

    assert lock_holder(tmp_path) is None
    with flow_lock(tmp_path, "f", "dev"):
        pass


def test_members_share_it_and_keep_out_who_wants_it_alone(tmp_path: Path) -> None:
    """Members run beside each other; `penstock run` is refused while one is there, and keeps members out."""
    with flow_lock(tmp_path, "f", "dev", shared=True), flow_lock(tmp_path, "f", "dev", shared=True):
        assert lock_holder(tmp_path) is None
        assert lock_holder(tmp_path, shared=True) == 0
        said = pytest.raises(FlowBusy, match="processes of the server run this flow")
        with said as refused, flow_lock(tmp_path, "f", "dev"):
            raise AssertionError
        assert refused.value.hint == "stop it first: penstock stop f --env dev"

    assert lock_holder(tmp_path, shared=True) is None
    with flow_lock(tmp_path, "f", "dev"):
        with pytest.raises(FlowBusy, match=f"process {os.getpid()}"), flow_lock(tmp_path, "f", "dev", shared=True):
            raise AssertionError
        assert lock_holder(tmp_path, shared=True) == os.getpid()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    """The lock of a process that was killed is free at once, whatever its file still says."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert lock_holder(tmp_path) == holder.pid
        holder.kill()
        holder.wait()

    assert lock_holder(tmp_path) is None
    with flow_lock(tmp_path, "f", "dev"):
        assert lock_holder(tmp_path) == os.getpid()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is a clear error, not a traceback."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="can't be written"), flow_lock(tmp_path / "file" / "f", "f", "dev"):
        raise AssertionError


def test_no_lock_where_nothing_ran(tmp_path: Path) -> None:
    """Asking makes no file."""
    assert lock_holder(tmp_path / "nothing") is None
    assert list(tmp_path.iterdir()) == []
