"""`kill -9` inside a takeover, at each of its points (`penstock.engine.HANDOVER_POINTS`): deploy, rollback and undo."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.engine import HANDOVER_POINTS
from penstock.ledger import DeploymentStatus
from tests.handovers.oracle import check
from tests.handovers.scene import QUICK, Scene

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_204
FORCED = replace(QUICK, shadow_epochs=0, watch_s=0.0, force=True, why="to be undone")
LONG = replace(QUICK, shadow_epochs=0, watch_s=3_600.0)
CUTS = tuple(point for point in HANDOVER_POINTS if not point.startswith("rewrit"))
ALWAYS = (("rewritten", 2), ("rewrite-finished", 1))
"""The undos of `make test`, which take long; `tests/engine/test_handover.py` has all points, in one thread."""
UNDOS = tuple(
    pytest.param(point, nth, marks=() if (point, nth) in ALWAYS else pytest.mark.soak)
    for point in HANDOVER_POINTS
    for nth in ((1, 2, 3) if point == "rewritten" else (1,))
)


@pytest.mark.parametrize("point", [*CUTS, "before-write", "before-commit", "committed"])
def test_a_new_version_killed_in_its_takeover_leaves_one_leader(made: Scene, point: str) -> None:
    """Before the fence the old version leads on and the deploy has failed; after it the new one is started again."""
    new = made.other()
    made.kill_at(made.names[new], point)
    done = made.settled(made.deploy(new, replace(QUICK, shadow_epochs=0)))

    expected = DeploymentStatus.FAILED if point == "flushed" else DeploymentStatus.DONE
    assert done.status is expected, done.receipt


@pytest.mark.parametrize("point", CUTS)
def test_an_old_version_killed_in_a_rollback_leads_all_the_same(made: Scene, point: str) -> None:
    """The warm process of the old version dies while it takes over again: a fresh one of the same version leads."""
    old = made.at_work().version
    made.kill_at(made.names[old], point)
    made.restart()
    begun = made.deploy(made.other(), LONG)
    made.reaches(begun, "watch")
    made.rollback()
    done = made.settled(begun)

    assert done.status is DeploymentStatus.ROLLED_BACK, done.receipt
    assert done.receipt["leads"] == old


@pytest.mark.parametrize(("point", "nth"), UNDOS)
def test_an_undo_killed_at_this_point_is_finished_by_the_next_process(made: Scene, point: str, nth: int) -> None:
    """Wrong rows are taken back whatever was taken back already: the next process of the good version ends it."""
    good = made.at_work().version
    wrong = made.version("wrong", wrong=1_000_000)
    made.settled(made.deploy(wrong, FORCED))
    made.goes_on(2)
    made.kill_at(made.names[good], f"{point}:0:{nth}")
    done = made.settled(made.undo(good))

    if point == "flushed":
        assert done.status is DeploymentStatus.FAILED, done.receipt
        done = made.settled(made.undo(good))
    assert done.status is DeploymentStatus.DONE, done.receipt
    assert done.receipt["leads"] == good


def test_none_of_the_kills_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)
