"""The supervisor in a simulated world: chance from a seed, time that the test moves, hundreds of steps in a moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from penstock.clock import ManualClock, seeded
from penstock.control import CatchUp, Crew, Schedule, Wisher
from penstock.errors import ConfigError
from penstock.ledger import Deployment, Desired, VersionFacts, Want
from tests.control.supervising.simulated import World, misfortune, world


def at(text: str) -> int:
    """A UTC time as microseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


def wisher(here: World) -> Wisher:
    """A person."""
    return Wisher(here.ledger, here.environment, here.clock, who="ann")


def survive(folder: Path, seed: int) -> None:
    """A flow with a standby lives through sixty misfortunes."""
    chance = seeded(seed)
    with world(folder) as here:
        wisher(here).start("orders", version="", options={"standby": True})
        for _ in range(60):
            here.pass_time(steps=chance.randrange(1, 6))
            misfortune(here, chance)
            check(here)
        calm_down(here)


def check(here: World) -> None:
    """At no time do two processes commit: generations grow, epochs have no gap."""
    records = here.ledger.epochs("orders")
    assert [record.epoch for record in records] == list(range(1, len(records) + 1))
    generations = [record.generation for record in records]
    assert generations == sorted(generations)


def calm_down(here: World) -> None:
    """With nothing going wrong any more, there is one leader, one standby, and the flow goes on."""
    for process in here.machine.all.values():
        process.frozen = False
    here.pass_time(1.0, steps=60)
    before = here.epoch()
    here.pass_time(steps=20)
    leaders, members = here.leaders(), here.ledger.members()

    assert len(leaders) == 1, here.lines[-20:]
    assert here.epoch() > before
    assert len(members) == 2, [(member.wish, member.facts) for member in members]
    assert [member.facts["state"] for member in members if member.id != leaders[0].id] == ["ready"]
    wisher(here).stop("orders")
    here.pass_time(steps=5)
    assert here.ledger.members() == []


@pytest.mark.parametrize("seed", range(4))
def test_misfortunes(tmp_path: Path, seed: int) -> None:
    """Kills, freezes, restarts of the server, clocks that jump: afterwards one leads, one stands by."""
    survive(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4, 300))
def test_more_misfortunes(tmp_path: Path, seed: int) -> None:
    """The same with many seeds."""
    survive(tmp_path, seed)


def test_a_clock_that_jumps_kills_nobody(tmp_path: Path) -> None:
    """The watchdog goes by the stopwatch; a clock set forward by a day is no hang."""
    with world(tmp_path) as here:
        wisher(here).start("orders", version="")
        here.pass_time(steps=5)
        leader = here.leaders()[0]
        stopwatch = here.clock.stopwatch_s()
        here.clock.__class__ = type("Jumped", (ManualClock,), {"stopwatch_s": lambda _: stopwatch})
        here.clock.sleep(86_400)
        here.pass_time(0, steps=5)

        assert [member.id for member in here.leaders()] == [leader.id]


def test_who_says_that_it_failed_is_waited_for(tmp_path: Path) -> None:
    """How it ended is known when its process has: no second one is started beside it, until it takes too long."""
    with world(tmp_path) as here:
        wisher(here).start("orders", version="")
        here.pass_time(steps=5)
        (leader,) = here.leaders()
        process = here.process_of(leader)
        process.frozen = True
        here.ledger.tell("orders", leader.id, {**process.facts, "role": "failed", "state": "failed"})
        here.pass_time(steps=10)
        assert [member.id for member in here.ledger.members()] == [leader.id]
        here.pass_time(1.0, steps=6)
        assert [member.id for member in here.ledger.members()] != [leader.id]


@pytest.mark.parametrize(("lag", "leads"), [(100, True), (101, False)])
def test_a_standby_that_is_a_little_behind_takes_over(tmp_path: Path, *, lag: int, leads: bool) -> None:
    """It has the state, and gets there sooner than who would load it; one that is far behind does not."""
    with world(tmp_path) as here:
        wisher(here).start("orders", version="", options={"standby": True})
        here.pass_time(steps=10)
        (leader,) = here.leaders()
        (standby,) = (member for member in here.ledger.members() if member.id != leader.id)
        behind = here.process_of(standby)
        behind.frozen = True
        here.ledger.tell("orders", standby.id, {**behind.facts, "state": "catching-up", "lag": lag})
        here.process_of(leader).code = -9
        here.pass_time()

        assert (here.ledger.wish_of("orders", standby.id)["role"] == "lead") is leads
        assert (len(here.ledger.members()) == 1) is leads


def test_a_follower_that_is_long_in_getting_ready_gets_its_share(tmp_path: Path) -> None:
    """On a machine that is busy all the time a tenth may be too little; after ten seconds it has the full weight."""
    with world(tmp_path) as here:
        wisher(here).start("orders", version="", options={"standby": True})
        here.pass_time(steps=10)
        (leader,) = here.leaders()
        (standby,) = (member for member in here.ledger.members() if member.id != leader.id)
        behind = here.process_of(standby)
        behind.frozen = True
        weights = []
        for state, seconds in (("catching-up", 9.0), ("catching-up", 2.0), ("ready", 0.0), ("catching-up", 9.0)):
            here.ledger.tell("orders", standby.id, {**behind.facts, "state": state, "beat_us": here.clock.now_us()})
            here.pass_time(0.1)
            here.machine.nice[behind.pid] = 10
            here.pass_time(seconds)
            here.pass_time(0.0)
            weights.append(here.machine.nice[behind.pid])
        assert weights == [10, 0, 10, 10]


def test_a_resume_at_a_cut_is_no_other_versions_start(tmp_path: Path) -> None:
    """The new version leads, the wish still says the old one: a deployment settles that; without one it is refused."""
    with world(tmp_path) as here:
        wisher(here).start("orders", version="")
        here.pass_time(steps=5)
        for version in ("v0", "v1"):
            here.ledger.operations.add_version(VersionFacts("orders", version, {"id": version}))
        known = here.ledger.operations.desired("orders")
        assert known is not None
        here.ledger.operations.desire(replace(known, version="v0", want=Want.PAUSED, changed_us=0))
        with pytest.raises(ConfigError, match="has the state of version"):
            wisher(here).resume("orders")
        here.ledger.operations.begin_deployment(Deployment("d", "orders", "deploy", "v0", "v1", []))
        assert wisher(here).resume("orders").want is Want.RUNNING


def test_two_who_say_something_at_once_are_both_heard(tmp_path: Path) -> None:
    """A deployment notes its version between somebody's look and word: the pause holds, and so does the version."""
    with world(tmp_path) as here:
        person = wisher(here)
        person.start("orders", version="")
        operations = here.ledger.operations
        meant: list[Desired] = []
        said = operations.desire

        def interrupted(desired: Desired, *, over: int | None = None) -> bool:
            if not meant:
                meant.append(desired)
                known = operations.desired("orders")
                assert known is not None
                said(replace(known, version="v9", changed_us=known.changed_us + 1))
            return said(desired, over=over)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(operations, "desire", interrupted)
            person.pause("orders")
        found = operations.desired("orders")
        assert found is not None
        assert (found.want, found.version) == (Want.PAUSED, "v9")


def test_no_spare_is_warmed_while_a_duty_hurries(tmp_path: Path) -> None:
    """Importing takes a core; once nobody hurries there is a spare again."""
    with world(tmp_path) as here:
        hurry = Hurry()
        here.server = here.new_server(duties=[hurry])
        here.pass_time(steps=3)
        assert not here.machine.all
        hurry.hurries = False
        here.pass_time()
        assert len(here.machine.all) == 1


class Hurry:
    """A duty that hurries until it is told otherwise."""

    hurries = True

    def step(self, _: Crew) -> bool:
        """Say so."""
        return self.hurries


def test_failures_wait_ever_longer(tmp_path: Path) -> None:
    """An error that heals: the pauses between starts double, up to a minute, and the flow is never held."""
    with world(tmp_path) as here:
        here.fails = {"code": "connector", "message": "the sink is away", "heals": True, "step": "out"}
        wisher(here).start("orders", version="")
        starts: list[float] = []
        for _ in range(2000):
            count = len([line for line in here.lines if "started" in line])
            here.pass_time(0.1)
            if len([line for line in here.lines if "started" in line]) > count:
                starts.append(here.clock.stopwatch_s())
        gaps = [round(later - earlier) for earlier, later in pairwise(starts)]

        assert gaps[:7] == [1, 2, 4, 8, 16, 32, 60]
        assert here.ledger.operations.events("orders", kind="held") == []
        status = wisher(here).status("orders")
        assert status is not None
        assert status.note == "epoch 1 failed in step out with the sink is away; it is tried again"


def test_the_count_of_failures_survives_the_server(tmp_path: Path) -> None:
    """Each try is watched by another server; the third holds the flow all the same, and it stays held."""
    with world(tmp_path) as here:
        here.fails = {"code": "step", "message": "ZeroDivisionError: division by zero", "step": "clean"}
        wisher(here).start("orders", version="")
        for _ in range(12):
            here.pass_time(1.0, steps=2)
            here.restart_server()
        events = here.ledger.operations.events("orders", kind="held")

        assert len(events) == 1
        assert events[0].body["sentence"] == (
            "epoch 1 failed 3 times in step clean with ZeroDivisionError: division by zero; "
            "the flow is held; nothing is lost"
        )
        assert here.ledger.members() == []
        here.fails = None
        wisher(here).start("orders", retry=True)
        here.pass_time(steps=5)
        assert here.epoch() > 0


def scheduled(here: World, catch_up: CatchUp) -> None:
    """A flow that runs at every full hour, from half past nine on."""
    assert here.clock.now_us() < at("2026-03-01 09:30")
    here.clock.sleep((at("2026-03-01 09:30") - here.clock.now_us()) / 1e6)
    wisher(here).schedule("orders", Schedule("0 * * * *", catch_up), version="")


def runs(here: World) -> list[str]:
    """The hours whose runs have finished."""
    events = reversed(here.ledger.operations.events("orders", kind="finished"))
    return [f"{datetime.fromtimestamp(event.body['due_us'] / 1e6, UTC):%H:%M}" for event in events]


def test_a_scheduled_flow_runs_at_its_times(tmp_path: Path) -> None:
    """Each run is a process that drains and ends; between them none is there."""
    with world(tmp_path) as here:
        scheduled(here, CatchUp.LAST)
        here.pass_time(60, steps=29)
        assert here.ledger.members() == []
        here.pass_time(60, steps=120)

        assert runs(here) == ["10:00", "11:00"]
        status = wisher(here).status("orders")
        assert status is not None
        assert (status.state, status.next_us) == ("scheduled", at("2026-03-01 12:00"))


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        (CatchUp.NONE, ["10:00", "15:00"]),
        (CatchUp.LAST, ["10:00", "14:00", "15:00"]),
        (CatchUp.ALL, ["10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]),
    ],
)
def test_times_that_passed_without_a_server(tmp_path: Path, catch_up: CatchUp, expected: list[str]) -> None:
    """The next server makes up for them as the schedule says."""
    with world(tmp_path) as here:
        scheduled(here, catch_up)
        here.pass_time(60, steps=45)
        here.clock.sleep(4 * 3600)  # until a quarter past two
        here.restart_server()
        here.pass_time(1, steps=60)
        here.pass_time(60, steps=50)

        assert runs(here) == expected


def test_runs_never_overlap(tmp_path: Path) -> None:
    """A run that takes longer than an hour: the time that comes meanwhile is missed, and no second process starts."""
    with world(tmp_path) as here:
        here.machine.work = 100  # a minute each
        scheduled(here, CatchUp.NONE)
        counts = []
        for _ in range(140):
            here.pass_time(60)
            counts.append(len(here.leaders()))
            here.machine.work = 3

        assert max(counts) == 1
        assert runs(here) == ["10:00"]
        here.pass_time(60, steps=60)
        assert runs(here) == ["10:00", "12:00"]


def test_a_run_that_fails_is_run_again(tmp_path: Path) -> None:
    """The same run, by the rules of restarts, and by the next server too."""
    with world(tmp_path) as here:
        scheduled(here, CatchUp.LAST)
        here.pass_time(60, steps=29)
        here.fails = {"code": "connector", "message": "away", "heals": True}
        here.pass_time(1, steps=70)
        here.restart_server()
        here.pass_time(1, steps=5)
        here.fails = None
        here.pass_time(10, steps=20)

        assert runs(here) == ["10:00"]


def test_members_of_a_deployment_are_left_alone(tmp_path: Path) -> None:
    """While it runs nobody stops its members; where it says so nobody is made leader; afterwards they are ours."""
    with world(tmp_path) as here:
        operations = here.ledger.operations
        wisher(here).start("orders", version="")
        here.pass_time(steps=5)
        operations.begin_deployment(Deployment("d1", "orders", "deploy", "", "v2", ()))
        follower = here.server.crew.start_member("orders", "", "follow", owner="d1")
        operations.advance_deployment("d1", facts={"holds": True})
        here.pass_time(steps=5)
        here.process_of(here.leaders()[0]).code = -9
        here.pass_time(steps=20)

        assert [member.id for member in here.ledger.members()] == [follower]
        assert here.leaders() == []
        operations.advance_deployment("d1", facts={"holds": False})
        here.pass_time(steps=20)
        assert len(here.leaders()) == 1
        assert len(here.ledger.members()) == 2
        operations.advance_deployment("d1", status=Deployment("", "", "", "", "", ()).status.FAILED)
        here.pass_time(steps=5)
        assert len(here.leaders()) == 1
        assert len(here.ledger.members()) == 1


def test_a_promotion_that_is_refused_is_not_the_end(tmp_path: Path) -> None:
    """Somebody else claimed the flow meanwhile and is gone: the standby is asked again, with what it must expect."""
    with world(tmp_path) as here:
        wisher(here).start("orders", version="", options={"standby": True})
        here.pass_time(steps=10)
        leader = here.leaders()[0]
        standby = next(member for member in here.ledger.members() if member.id != leader.id)
        here.process_of(leader).code = -9
        here.server.step()  # it is told to expect generation 1
        here.ledger.claim("orders", version="v1", holder="somebody")
        here.pass_time(steps=10)

        assert here.leaders()[0].id == standby.id
        standing = here.ledger.standing("orders")
        assert standing is not None
        assert standing.generation == 3


def test_a_flow_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    """Its version is not there: that is told, once, and tried again; the others go on."""
    with world(tmp_path) as here:
        wisher(here).start("orders", version="gone")
        wisher(here).start("other", version="")
        here.pass_time(steps=30)
        status = wisher(here).status("orders")

        assert status is not None
        assert status.note == "there is no version 'gone' of orders"
        assert len(here.ledger.operations.events("orders", kind="start-refused")) == 1
        assert [member.flow for member in here.leaders()] == ["other"]


def test_a_flow_without_a_wish_is_left_alone(tmp_path: Path) -> None:
    """What ran by itself before the server came, and what is stopped, is not started."""
    with world(tmp_path) as here:
        here.ledger.claim("orders", version="v1", holder="penstock run")
        here.ledger.operations.desire(Desired("other", Want.STOPPED, ""))
        here.pass_time(steps=5)

        assert here.ledger.members() == []
