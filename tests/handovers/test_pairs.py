"""Two things at once: deploys and deploys, deploys and pauses, rollbacks and deaths, undos and deaths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import FlowBusy
from penstock.ledger import DeploymentStatus
from tests.handovers.oracle import check
from tests.handovers.scene import FLOW, QUICK, Scene, kill, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_214
UNSEEN = replace(QUICK, shadow_epochs=0, watch_s=0.0)
FORCED = replace(UNSEEN, force=True, why="to be undone")
LONG = replace(QUICK, shadow_epochs=0, watch_s=3_600.0)


def test_of_two_deploys_at_once_the_second_is_refused(made: Scene) -> None:
    """It names who is at it; one that was planned before the first had ended is refused by what leads now."""
    made.stand_still("shadow", "before")
    begun = made.deploy(made.other())
    late = made.asker.deploy(FLOW, made.version("v2"), QUICK)
    with made.reached("shadow", "before"), pytest.raises(FlowBusy, match="test"):
        made.asker.begin(late)
    leads = made.settled(begun).new_version
    refused = made.ended(made.asker.begin(late))
    made.is_whole(leads)

    assert refused.status is DeploymentStatus.REFUSED
    assert refused.receipt["leads"] == leads
    assert "production changed since the plan" in refused.receipt["why"]


def test_a_flow_that_is_paused_is_handed_over_paused(made: Scene) -> None:
    """Nothing is planned by either version until somebody resumes it."""
    made.wisher.pause(FLOW)
    until(lambda: (leader := made.leader()) is not None and leader.facts.get("state") == "paused")
    until(lambda: (standing := made.ledger.standing(FLOW)) is not None and standing.planned is None)
    before = made.last_epoch()
    begun = made.deploy(made.other(), UNSEEN)
    done = made.ended(begun)
    until(lambda: (leader := made.leader()) is not None and leader.facts.get("state") == "paused")
    assert made.last_epoch() == before
    made.wisher.resume(FLOW)
    made.settled(begun)

    assert done.status is DeploymentStatus.DONE, done.receipt


def test_a_flow_that_is_paused_in_the_shadow_waits_with_its_deploy(made: Scene) -> None:
    """There is nothing to compare until it goes on; then the deploy goes on, too."""
    made.stand_still("shadow", "before")
    begun = made.deploy(made.other(), replace(QUICK, shadow_epochs=5))
    with made.reached("shadow", "before"):
        made.wisher.pause(FLOW)
    until(lambda: (leader := made.leader()) is not None and leader.facts.get("state") == "paused")
    made.wisher.resume(FLOW)

    assert made.settled(begun).status is DeploymentStatus.DONE


def test_a_flow_that_is_stopped_in_a_deploy_stays_stopped(made: Scene) -> None:
    """The stop comes first: the deploy fails and says so; started again, the old version leads."""
    version = made.at_work().version
    made.stand_still("shadow", "before")
    begun = made.deploy(made.other())
    with made.reached("shadow", "before"):
        made.wisher.stop(FLOW)
    done = made.ended(begun)
    until(lambda: not made.members())
    made.wisher.start(FLOW)
    made.settled(begun)

    assert done.status is DeploymentStatus.FAILED
    assert "wants the flow stopped" in done.receipt["why"]
    assert made.at_work().version == version


def test_a_rollback_after_the_hidden_version_died_is_made_by_another_process(made: Scene) -> None:
    """Asked for at the moment at which nobody is warm: a fresh process of the old version takes over."""
    old = made.at_work().version
    made.stand_still("watch", "before")
    begun = made.deploy(made.other(), LONG)
    with made.reached("watch", "before"):
        kill(made.hidden())
        made.rollback()
    done = made.settled(begun)

    assert done.status is DeploymentStatus.ROLLED_BACK, done.receipt
    assert done.receipt["leads"] == old


def test_a_rollback_and_the_death_of_the_new_version_leave_the_old_one(made: Scene) -> None:
    """The leader dies at the moment at which the old version is to take over from it."""
    old = made.at_work().version
    begun = made.deploy(made.other(), LONG)
    made.reaches(begun, "watch")
    made.stand_still("roll-back", "before")
    made.rollback()
    with made.reached("roll-back", "before"):
        kill(until(made.leader))
    done = made.settled(begun)

    assert done.status is DeploymentStatus.ROLLED_BACK, done.receipt
    assert done.receipt["leads"] == old


@pytest.mark.parametrize("point", [pytest.param("rewritten:0:2", marks=pytest.mark.soak), "rewrite-finished"])
def test_an_undo_by_the_hidden_version_that_dies_is_ended_by_another_process(made: Scene, point: str) -> None:
    """Wrong rows are taken back in the watch, by the version that is warm still; it dies in the middle."""
    old = made.at_work().version
    made.kill_at(made.names[old], point)
    made.restart()
    wrong = made.version("wrong", wrong=1_000_000)
    begun = made.deploy(wrong, replace(FORCED, watch_s=3_600.0))
    made.reaches(begun, "watch")
    made.goes_on(3)
    until(lambda: made.asker.preview_undo(FLOW, old).hidden)
    made.undo(old)
    done = made.settled(begun)

    assert done.status is DeploymentStatus.ROLLED_BACK, done.receipt
    assert done.receipt["leads"] == old


@pytest.mark.parametrize("stage", ["compare", pytest.param("cut", marks=pytest.mark.soak)])
def test_an_undo_and_the_death_of_what_leads_take_the_rows_back(made: Scene, stage: str) -> None:
    """The version that wrote the wrong rows dies while they are taken back."""
    old = made.at_work().version
    made.settled(made.deploy(made.version("wrong", wrong=1_000_000), FORCED))
    made.goes_on(2)
    made.stand_still(stage, "before")
    begun = made.undo(old)
    with made.reached(stage, "before"):
        kill(until(made.leader))
    done = made.settled(begun)

    assert done.status is DeploymentStatus.DONE, done.receipt
    assert done.receipt["leads"] == old


def test_an_undo_to_before_every_savepoint_runs_the_whole_input_again(made: Scene) -> None:
    """No restore point is that old: it starts from nothing, by the version that ran the first epoch."""
    (first,) = made.ledger.epochs(FLOW, first=1, last=1)
    done = made.settled(made.undo("1"))

    assert done.status is DeploymentStatus.DONE, done.receipt
    assert done.facts["savepoint"]["epoch"] == 0
    assert done.receipt["leads"] == first.version


def test_no_pair_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)
