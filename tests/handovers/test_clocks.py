"""The clock of all processes is set forward and back in the middle of a deploy, by hours.

Beside these real processes, `tests/simulation` sets clocks in hundreds of lives of a flow.
"""

from __future__ import annotations

import pytest

from penstock.ledger import DeploymentStatus
from tests.handovers.oracle import check
from tests.handovers.scene import FLOW, Scene

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_213
HOUR_US = 3_600_000_000


@pytest.mark.parametrize("hours", [5, -7], ids=["forward", "back"])
@pytest.mark.parametrize("stage", ["catch-up", "cut", "watch"])
def test_a_clock_that_is_set_in_a_deploy_fails_nothing(made: Scene, stage: str, hours: int) -> None:
    """Who waits counts by a stopwatch: nobody is late because a clock says so, and none waits for hours."""
    made.stand_still(stage, "before")
    begun = made.deploy(made.other())
    with made.reached(stage, "before"):
        made.set_clock(hours * HOUR_US)
    done = made.settled(begun)
    made.set_clock(0)

    assert done.status is DeploymentStatus.DONE, done.receipt


def test_no_clock_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell; no epoch's time goes back."""
    records = made.ledger.epochs(FLOW)
    assert max(record.plan.now_us for record in records) - records[0].plan.now_us > 4 * HOUR_US
    check(made)
