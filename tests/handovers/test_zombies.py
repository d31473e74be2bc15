"""SIGSTOP of the process that leads, another one takes over, SIGCONT: the zombie writes nothing and does no harm."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.control import is_there
from penstock.ledger import DeploymentStatus, Member
from tests.handovers.oracle import check
from tests.handovers.scene import FLOW, QUICK, Scene, kill, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_206
LONG = replace(QUICK, shadow_epochs=0, watch_s=3_600.0)
AHEAD = 30
"""So many epochs are there at most from the arming of a leader until it is at work."""


def is_frozen(member: Member) -> bool:
    """Whether it is stopped, as the system sees it."""
    assert is_there(member), member
    return Path(f"/proc/{member.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def freezes(made: Scene, point: str) -> Member:
    """A new leader that freezes itself at a point of an epoch that is far away."""
    made.kill_at(made.names[made.at_work().version], point.replace("EPOCH", str(made.last_epoch() + AHEAD)))
    return made.restart()


@pytest.mark.parametrize("point", ["read:EPOCH:1:stop", "before-write:EPOCH:2:stop", "before-commit:EPOCH:1:stop"])
def test_a_leader_that_was_frozen_in_an_epoch_follows_when_it_wakes_up(made: Scene, point: str) -> None:
    """It is stopped before, between or after its sinks; the new version writes that epoch; then it wakes up."""
    zombie = freezes(made, point)
    made.writer.pause()
    made.stand_still("cut", "before")
    begun = made.deploy(made.other(), LONG)
    with made.reached("cut", "before"):
        made.writer.resume()
        until(lambda: is_frozen(zombie))
    made.reaches(begun, "watch")
    made.goes_on(2)
    kill(zombie, signal.SIGCONT)
    assert made.hidden().id == zombie.id
    made.goes_on(2)
    made.rollback()
    done = made.settled(begun)

    assert done.status is DeploymentStatus.ROLLED_BACK, done.receipt
    assert made.at_work().id == zombie.id


def test_a_leader_that_was_frozen_and_given_up_ends_when_it_wakes_up(made: Scene) -> None:
    """It is believed to be of a machine that is gone: a fresh process leads; what the zombie had computed is fenced."""
    zombie = freezes(made, "before-write:EPOCH:2:stop")
    found = next(one for one in made.members() if one.id == zombie.id)
    made.ledger.join(replace(found, host="another-machine"))
    until(lambda: is_frozen(zombie))
    leader = until(lambda: one if (one := made.leader()) is not None and one.id != zombie.id else None)
    made.goes_on(2)
    kill(zombie, signal.SIGCONT)
    until(lambda: not is_there(replace(zombie, ended_us=None)))

    assert made.at_work().id == leader.id
    made.is_whole(leader.version)
    gone = next(one for one in made.ledger.members(FLOW, ended=True) if one.id == zombie.id)
    assert gone.facts["exit"]["outcome"] == "lost"


def test_no_zombie_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)
