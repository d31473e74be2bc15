"""`kill -9` of the process that leads, before each stage of a deploy: the deploy goes on, and nothing shows."""

from __future__ import annotations

import pytest

from penstock.ledger import DeploymentStatus
from tests.handovers.oracle import check
from tests.handovers.scene import Scene, kill, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_201
MOMENTS = ("verdict", "hold", "savepoint", "gate", "approve", "retire")
"""Stages that are over in the step that begins them, for `make soak`: what is on disk is what their neighbours find."""
STAGES = (
    *("check", "follow", "catch-up", "shadow", "cut", "watch"),
    *(pytest.param(stage, marks=pytest.mark.soak) for stage in MOMENTS),
)


@pytest.mark.parametrize("stage", STAGES)
def test_a_leader_killed_at_this_stage_is_replaced_and_the_deploy_ends(made: Scene, stage: str) -> None:
    """Before the cut the old version is started again, after it the new one; then the new version leads."""
    made.stand_still(stage, "before")
    begun = made.deploy(made.other())
    with made.reached(stage, "before"):
        kill(until(made.leader))
    done = made.settled(begun)

    assert done.status is DeploymentStatus.DONE, done.receipt


def test_a_hidden_version_killed_in_the_watch_is_started_again(made: Scene) -> None:
    """The way back is warm again, and the receipt says what became of it."""
    made.stand_still("watch", "before")
    begun = made.deploy(made.other())
    with made.reached("watch", "before"):
        kill(made.hidden())
    done = made.settled(begun)

    assert done.status is DeploymentStatus.DONE, done.receipt
    assert "gone" in done.receipt["hidden"]


def test_none_of_the_kills_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)
