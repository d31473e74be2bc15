"""Kills of processes that are about to replace one that was killed, and bursts of kills, from a seed."""

from __future__ import annotations

from random import Random
from threading import Event

import pytest

from penstock.clock import seeded
from tests.handovers.conftest import MakeScene
from tests.handovers.oracle import check
from tests.handovers.scene import FLOW, Scene, kill, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_205
KILLS = 8
"""Fewer than what makes the server think that somebody wants the flow dead."""
_PAUSE = Event()


def test_processes_killed_while_they_recover_are_replaced(made: Scene) -> None:
    """Each next process dies a little later than the one before it: in its claim, its load, its first epoch."""
    leader = made.at_work()
    for number, point in enumerate(("claimed", "loaded", "read", "before-write", "state-written", "before-commit")):
        (made.misfortunes / f"v0.kill-at.{number:02}").write_text(point)
    kill(leader)
    until(lambda: not list(made.misfortunes.glob("v0.kill-at.*")))
    made.is_whole(leader.version)


@pytest.mark.parametrize("point", ["flushed", "taken-over", "sinks-open"])
def test_a_standby_killed_while_it_takes_over_is_replaced(made: Scene, point: str) -> None:
    """The leader dies, the standby dies in its place: a fresh process leads."""
    leader = made.at_work()
    made.kill_at("v0", point)
    made.wisher.start(FLOW, options={"standby": True})
    until(lambda: [member for member in made.members() if member.facts.get("state") == "ready"])
    kill(leader)
    until(lambda: leader.id not in {member.id for member in made.members()} and made.leader())
    made.wisher.start(FLOW, options={"standby": None})
    made.is_whole(leader.version)
    gone = [one for one in made.ledger.members(FLOW, ended=True) if (one.ended_us or 0) > leader.facts_us]
    assert sum(one.facts["exit"]["outcome"] == "killed" for one in gone) == 2


def storm(made: Scene, chance: Random) -> None:
    """Kill whoever is there, members and server, at random moments of a deploy."""
    begun = made.deploy(made.other())
    for _ in range(KILLS):
        _PAUSE.wait(chance.uniform(0, 0.8))
        victims = [member.pid for member in made.members()]
        victim = chance.choice([*victims, None])
        if victim is None:
            made.kill_server()
            made.up()
        else:
            kill(victim)
    made.settled(begun)


def test_a_burst_of_kills_in_a_deploy_leaves_one_version(made: Scene) -> None:
    """Eight kills of members and servers at moments drawn from a seed: one version leads, and the status says which."""
    storm(made, seeded(SEED))


def test_none_of_the_kills_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_many_bursts_of_kills_leave_no_trace(make_scene: MakeScene, seed: int) -> None:
    """The same for many seeds, three deploys each."""
    chance = seeded(seed)
    with make_scene(seed=seed) as made:
        made.version("v1")
        made.start(made.version("v0"))
        for _ in range(3):
            storm(made, chance)
        check(made)
