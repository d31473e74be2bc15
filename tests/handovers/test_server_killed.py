"""`kill -9` of the server after the deed of every stage, before what it came to is noted: the next server goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from penstock.ledger import Deployment, DeploymentStatus
from tests.handovers.oracle import check
from tests.handovers.scene import QUICK, Scene

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_203
SPARES = 0
OPENING = ("check", "verdict", "hold", "savepoint", "follow", "catch-up")
LONG = replace(QUICK, watch_s=3_600.0)


def killed_at(made: Scene, stages: Sequence[str], begun: Deployment) -> Deployment:
    """Kill the server at each stage in turn; gives the deployment as it ended."""
    for stage in stages:
        with made.reached(stage, "after"):
            made.kill_server()
        made.up()
    return made.settled(begun)


def test_a_server_killed_at_every_stage_of_a_deploy_is_replaced_by_one_that_goes_on(made: Scene) -> None:
    """Twelve servers, one deploy: the new version leads in the end, and nothing is left behind."""
    stages = (*OPENING, "shadow", "gate", "approve", "cut", "watch", "retire")
    for stage in stages:
        made.stand_still(stage, "after")
    done = killed_at(made, stages, made.deploy(made.other()))

    assert done.status is DeploymentStatus.DONE, done.receipt


def test_a_server_killed_while_a_deploy_is_taken_back_is_replaced_by_one_that_goes_on(made: Scene) -> None:
    """A rollback out of the watch, the server killed in its cut and while it cleans up: the old version leads."""
    begun = made.deploy(made.other(), LONG)
    made.reaches(begun, "watch")
    stages = ("roll-back", "release")
    for stage in stages:
        made.stand_still(stage, "after")
    made.rollback()
    done = killed_at(made, stages, begun)

    assert done.status is DeploymentStatus.ROLLED_BACK, done.receipt


def test_a_server_killed_at_every_stage_of_an_undo_is_replaced_by_one_that_goes_on(made: Scene) -> None:
    """Wrong rows are taken back all the same, by eleven servers."""
    good = made.at_work().version
    wrong = made.version("wrong", wrong=1_000_000)
    made.settled(made.deploy(wrong, replace(QUICK, shadow_epochs=0, watch_s=0.0, force=True, why="to be undone")))
    made.goes_on(3)
    loading = [stage for stage in OPENING if stage != "verdict"]
    stages = (*loading, "compare", "approve", "cut", "corrections", "retire")
    for stage in stages:
        made.stand_still(stage, "after")
    done = killed_at(made, stages, made.undo(good))

    assert done.status is DeploymentStatus.DONE, done.receipt
    assert done.new_version == good


def test_none_of_the_kills_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)
