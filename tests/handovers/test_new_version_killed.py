"""`kill -9` of the new version's process after each stage's deed: before the cut the old version leads on, after it the
new one, which is started again.
"""

from __future__ import annotations

import pytest

from penstock.ledger import DeploymentStatus
from tests.handovers.oracle import check
from tests.handovers.scene import Scene, kill, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_202
BEFORE = ("catch-up", "shadow", *(pytest.param(stage, marks=pytest.mark.soak) for stage in ("gate", "approve")))
AFTER = ("watch", "retire")


def test_a_check_that_is_killed_fails_the_deploy(made: Scene) -> None:
    """The process that looks at the new version dies: the old one leads on, the receipt says so."""
    made.stand_still("check", "after")
    begun = made.deploy(made.other())
    with made.reached("check", "after"):
        kill(until(made.checker))
    done = made.settled(begun)

    assert done.status is DeploymentStatus.FAILED
    assert done.receipt["at_stage"] == "check"
    assert "can't be used" in done.receipt["why"]


def test_a_follower_killed_before_it_said_a_word_is_started_again(made: Scene) -> None:
    """It may never have had its job: that is no fault of the version, which leads in the end."""
    made.stand_still("follow", "after")
    begun = made.deploy(made.other())
    with made.reached("follow", "after"):
        kill(made.part("new"))
    done = made.settled(begun)

    assert done.status is DeploymentStatus.DONE, done.receipt


@pytest.mark.parametrize("stage", BEFORE)
def test_a_follower_killed_at_this_stage_fails_the_deploy(made: Scene, stage: str) -> None:
    """The old version leads on; the receipt says how the new one ended."""
    made.stand_still(stage, "after")
    begun = made.deploy(made.other())
    with made.reached(stage, "after"):
        kill(made.part("new"))
    done = made.settled(begun)

    assert done.status is DeploymentStatus.FAILED, done.receipt
    assert "SIGKILL" in done.receipt["why"]


def test_a_follower_killed_while_it_is_told_to_lead_leaves_one_leader(made: Scene) -> None:
    """It took over or it did not: the ledger knows, and the deploy ends with the version that leads."""
    made.stand_still("cut", "after")
    begun = made.deploy(made.other())
    with made.reached("cut", "after"):
        kill(made.part("new"))
    made.settled(begun)


@pytest.mark.parametrize("stage", AFTER)
def test_a_new_leader_killed_at_this_stage_is_started_again(made: Scene, stage: str) -> None:
    """One death is no reason to go back: the new version leads, in a process of its own."""
    made.stand_still(stage, "after")
    begun = made.deploy(made.other())
    with made.reached(stage, "after"):
        kill(until(made.leader))
    done = made.settled(begun)

    assert done.status is DeploymentStatus.DONE, done.receipt


def test_none_of_the_kills_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)
