"""Disks that are full under a handover, and files of state that are not what they were."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.control import flow_folder
from penstock.ledger import DeploymentStatus
from tests.disks import Disk, may_mount, small_file_system
from tests.handovers.conftest import MakeScene
from tests.handovers.oracle import check
from tests.handovers.scene import FLOW, QUICK, Scene, kill, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_209
ENDLESS = replace(QUICK, shadow_epochs=100_000)
UNWATCHED = replace(QUICK, shadow_epochs=0, watch_s=0.0)
needs_root = pytest.mark.skipif(not may_mount(), reason="a small file system is mounted by root only")


@contextmanager
def on_small_disk(make_scene: MakeScene, folder: Path, name: str) -> Iterator[tuple[Scene, Disk]]:
    """A scene with one folder of the flow on a disk of 4 MB; in the end all is as nothing had befallen it."""
    with make_scene(seed=SEED) as made, contextmanager(small_file_system)(folder / "disk") as disk:
        place = flow_folder(made.environment, FLOW)
        place.mkdir(parents=True)
        (place / name).symlink_to(disk.folder)
        made.version("v1")
        made.start(made.version("v0"))
        yield made, disk
        made.settled(made.deploy(made.other()))
        check(made)


@needs_root
def test_a_disk_that_is_full_in_the_shadow_ends_the_deploy_and_not_the_flow(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    """There is no room for what is compared: the deploy fails and says so; the leader goes on without a copy."""
    with on_small_disk(make_scene, tmp_path, "members") as (made, disk):
        leader = made.at_work()
        begun = made.deploy(made.other(), ENDLESS)
        made.reaches(begun, "shadow")
        disk.fill()
        done = made.ended(begun)
        made.goes_on(2)
        disk.make_room()
        made.settled(begun)

        assert done.status is DeploymentStatus.FAILED, done.receipt
        assert "No space left" in done.receipt["why"]
        assert made.at_work().id == leader.id


@needs_root
def test_a_disk_that_is_full_at_the_cut_fails_the_deploy(make_scene: MakeScene, tmp_path: Path) -> None:
    """The follower has no room for its state: it ends, and with room the old version goes on."""
    with on_small_disk(make_scene, tmp_path, "state") as (made, disk):
        made.stand_still("cut", "before")
        begun = made.deploy(made.other(), UNWATCHED)
        with made.reached("cut", "before"):
            made.goes_on()
            disk.fill()
        done = made.ended(begun)
        disk.make_room()
        made.settled(begun)

        assert done.status is DeploymentStatus.FAILED, done.receipt
        assert "No space left" in done.receipt["why"]


def torn(file: Path) -> None:
    """The second half did not reach the disk."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file: Path) -> None:
    """One bit in the middle is another one."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [torn, flipped])
def test_damaged_state_fails_a_deploy_and_names_the_file(made: Scene, damage: Callable[[Path], None]) -> None:
    """The follower loads the savepoint's files, and one is not what it was: the old version leads on.

    Where it merges its files meanwhile, and comes upon that one too, it writes its state anew.
    """
    made.stand_still("savepoint", "after")
    begun = made.deploy(made.other())
    with made.reached("savepoint", "after"):
        file = made.state_of(made.ledger.savepoints(FLOW)[-1].segments[-1])
        whole = file.read_bytes()
        damage(file)
    done = made.ended(begun)
    file.write_bytes(whole)
    made.settled(begun)

    assert done.status is DeploymentStatus.FAILED, done.receipt
    assert file.name in done.receipt["why"]
    assert done.receipt["error"]["code"] == "corrupt-state"


@pytest.mark.parametrize("damage", [torn, flipped])
def test_damaged_state_holds_a_recovery_and_names_the_file(made: Scene, damage: Callable[[Path], None]) -> None:
    """The leader dies, the next can't load: the flow is held with the name of the file; restored, it goes on."""
    leader = made.at_work()
    kill(leader, signal.SIGSTOP)
    file = made.state_of(made.ledger.segments(FLOW)[-1])
    whole = file.read_bytes()
    damage(file)
    kill(leader)
    held = until(lambda: status if (status := made.wisher.status(FLOW)) and status.state == "held" else None)
    file.write_bytes(whole)
    made.wisher.start(FLOW, retry=True)
    made.is_whole(leader.version)

    assert file.name in held.note


def test_damaged_state_left_no_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)
