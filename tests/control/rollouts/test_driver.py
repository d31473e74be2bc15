"""The driver over a pretended machine: every stage, every failure, and a server that dies at every deed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.control.rollouts.driver import CALM_S, HURRY_S
from penstock.control.rollouts.handover import Handover, Memory
from penstock.control.rollouts.plans import Deploy, Manner, Rollback
from penstock.control.supervising.ends import Outcome
from penstock.errors import FlowBusy
from penstock.ledger import Deployment, DeploymentStatus, Desired, Want
from tests.control.rollouts.pretend import (
    FLOW,
    NEW,
    OLD,
    Behaviour,
    Fuse,
    Machine,
    Server,
    check_whole,
    stages_of,
)

Build = Callable[..., Machine]
DONE, FAILED = DeploymentStatus.DONE, DeploymentStatus.FAILED
REFUSED, ROLLED_BACK = DeploymentStatus.REFUSED, DeploymentStatus.ROLLED_BACK


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Makes machines on which the old version leads; each has a ledger of its own."""
    made: list[Machine] = []

    def machine(epochs: int = 5, **versions: Behaviour) -> Machine:
        found = Machine(tmp_path / str(len(made)), **versions)
        made.append(found)
        if epochs:
            found.run_old(epochs)
        return found

    yield machine
    for machine_made in made:
        machine_made.ledger.close()


def deployed(machine: Machine, manner: Manner | None = None, *, each: Any = lambda _: None) -> Deployment:
    """Deploy the new version, and see that all is whole in the end."""
    server = Server(machine, rebuilt=True)
    name = machine.begin(Deploy(NEW), manner)
    server.run(name, each)
    return check_whole(server, name)


def at(stage: str, deed: Callable[[], None]) -> Callable[[Deployment], None]:
    """Do something once, when a stage is under way."""
    waiting = [deed]

    def each(found: Deployment) -> None:
        if found.stage == stage and waiting:
            waiting.pop()()

    return each


# --- ends well --------------------------------------------------------------------------------------------------------


def test_a_good_version_leads_in_the_end(build: Build) -> None:
    """Checked, shadowed, cut, watched; the old one is stopped and the receipt says what it cost."""
    found = deployed(build())
    assert found.status is DONE
    assert list(stages_of(found)) == [stage["stage"] for stage in found.plan]
    receipt = found.receipt
    assert (receipt["leads"], receipt["asked_by"], receipt["state_rows_migrated"]) == (NEW, "ben", 10)
    assert receipt["cut"]["pause_ms"] == 0
    assert (receipt["cut"]["rows_lost"], receipt["cut"]["rows_duplicated"]) == (0, 0)
    assert receipt["shadow"]["compared"] >= 6
    assert receipt["gate"]["passed"]


def test_a_deployment_hurries_until_after_its_cut_and_not_for_ever(build: Build) -> None:
    """What can wait does; but not while a person is waited for, long after the cut, or in a shadow that takes hours."""
    machine = build()
    server = Server(machine)
    seen: dict[str, list[bool]] = {}

    def each(found: Deployment) -> None:
        seen.setdefault(found.stage, []).append(server.hurries)
        if found.stage == "approve" and not server.hurries:
            answer = {"approval": {"yes": True, "who": "cleo", "why": ""}}
            server.machine.ledger.operations.advance_deployment(found.id, facts=answer)

    server.run(machine.begin(Deploy(NEW), Manner(3, None, watch_s=4 * CALM_S, approve="person")), each)
    assert set(seen["shadow"]) == {True}
    assert (seen["approve"][0], seen["approve"][-1]) == (True, False)
    assert (seen["watch"][0], seen["watch"][-1]) == (True, False)

    other = build()
    server, seen = Server(other), {}
    server.run(other.begin(Deploy(NEW), Manner(None, 2 * HURRY_S, watch_s=1.0)), each, steps=6_000)
    assert (seen["shadow"][0], seen["shadow"][-1]) == (True, False)


def test_a_moment_that_was_noted_is_known_by_the_stopwatch(build: Build) -> None:
    """A clock that is set between the note and the first look at it makes nobody late."""
    machine, memory, set_by = build(), Memory(), [0]
    machine.clock.__class__ = type("Set", (ManualClock,), {"now_us": lambda clock: clock._now_us + set_by[0]})
    deployment = machine.ledger.operations.deployment(machine.begin(Deploy(NEW)))
    assert deployment is not None
    Handover(machine.ledger, machine, machine.clock, deployment, memory).note(
        "catch-up", best_us=machine.clock.now_us()
    )
    set_by[0] = 5 * 3_600_000_000
    machine.clock.sleep(2)
    deployment = machine.ledger.operations.deployment(deployment.id)
    assert deployment is not None
    later = Handover(machine.ledger, machine, machine.clock, deployment, memory)
    assert later.waited_s("catch-up", "best_us") == pytest.approx(2)


def test_a_flow_that_never_ran_is_started(build: Build) -> None:
    """There is nothing to hand over."""
    machine = build(0)
    server = Server(machine)
    name = machine.begin(Deploy(NEW))
    server.run(name)
    assert check_whole(server, name).status is DONE


def test_a_person_is_waited_for(build: Build) -> None:
    """The answer is a fact in the ledger, whoever gives it and from where."""
    machine = build()

    def yes() -> None:
        name = machine.ledger.operations.deployments(FLOW, running=True)[0].id
        answer = {"approval": {"yes": True, "who": "cleo", "why": ""}}
        machine.ledger.operations.advance_deployment(name, facts=answer)

    found = deployed(machine, Manner(3, None, watch_s=1.0, approve="person"), each=at("approve", yes))
    assert found.status is DONE
    assert found.receipt["approval"]["who"] == "cleo"


def test_nothing_that_was_compared_is_kept_while_somebody_is_waited_for(build: Build) -> None:
    """A day may pass, and a spill would fill the disk; what comes after the cut is kept again."""
    machine = build()
    server = Server(machine)
    name = machine.begin(Deploy(NEW), Manner(3, None, watch_s=1.0, approve="person"))
    seen: list[int] = []

    def each(found: Deployment) -> None:
        wishes = [machine.ledger.wish_of(FLOW, process.id).get("spill_from") for process in machine.processes.values()]
        if found.stage == "approve" and None not in wishes and len(wishes) == 2:
            seen.append(min(wish for wish in wishes if wish is not None))
            answer = {"approval": {"yes": True, "who": "cleo", "why": ""}}
            machine.ledger.operations.advance_deployment(name, facts=answer)

    server.run(name, each)
    found = check_whole(server, name)
    assert found.status is DONE
    assert seen[0] > int(found.facts["savepoint"]["epoch"])


def test_a_failed_gate_can_be_forced_through(build: Build) -> None:
    """The receipt keeps the verdict and the reason."""
    machine = build(new=Behaviour(rows="wrong"))
    found = deployed(machine, Manner(3, None, watch_s=1.0, approve="policy", force=True, why="the old ones are wrong"))
    assert found.status is DONE
    gate = found.receipt["gate"]
    assert (gate["passed"], gate["forced"], gate["why"]) == (False, True, "the old ones are wrong")


def test_no_row_is_judged_before_its_counts_are_told(build: Build) -> None:
    """The new version tells of its dead letters now and then: the gate waits for those of all that was compared."""
    machine = build(new=Behaviour(counts_each=4))
    assert deployed(machine, Manner(3, None, watch_s=1.0, approve="policy")).status is DONE
    (evidence,) = machine.judged_by
    assert evidence.new is not None
    assert evidence.diff is not None
    assert evidence.new.facts["counted_epoch"] >= evidence.diff["last"] > 0


def test_the_leader_may_die_meanwhile(build: Build) -> None:
    """The supervisor starts it again, the hold is wished again, and the handover goes on to the newer generation."""
    machine = build()

    def kill() -> None:
        machine.end(machine.members_of(OLD)[0], Outcome.KILLED, "SIGKILL")

    for stage in ("hold", "follow", "shadow", "approve", "cut"):
        machine = build()
        assert deployed(machine, each=at(stage, kill)).status is DONE, stage


def test_a_flow_that_crashes_is_repaired_by_a_deploy(build: Build) -> None:
    """Nobody leads, because the old version fails on its next epoch: the new one takes over all the same."""
    machine = build(old=Behaviour(dies={"epoch:6": 1000}))
    machine.tick()
    assert not machine.processes
    assert deployed(machine).status is DONE


# --- refused and failed: the old version never stopped ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "status", "why"),
    [
        (Behaviour(check="it can't be imported"), FAILED, "it can't be imported"),
        (Behaviour(compatible=False), REFUSED, "the key of totals changed"),
        (Behaviour(dies={"loading": 1}), FAILED, "loading"),
        (Behaviour(dies={"epoch:12": 1}), FAILED, "in step clean: epoch:12"),
        (Behaviour(rows="wrong"), REFUSED, "epochs differ"),
        (Behaviour(speed=0), FAILED, "is stuck"),
        (Behaviour(dies={"before-takeover": 1}), FAILED, "before-takeover"),
    ],
    ids=["import", "state", "loading", "a row", "rows", "slow", "takeover"],
)
def test_a_bad_version_never_leads(build: Build, new: Behaviour, status: DeploymentStatus, why: str) -> None:
    """It says why, and the old version goes on as if nothing had been."""
    machine = build(new=new)
    before = machine.members_of(OLD)[0].id
    server = Server(machine, rebuilt=bool(new.speed))
    name = machine.begin(Deploy(NEW))
    server.run(name, lambda _: machine.clock.sleep(0 if new.speed else 60))
    found = check_whole(server, name)
    assert found.status is status
    assert why in found.receipt["why"]
    assert found.receipt["leads"] == OLD
    assert machine.members_of(OLD)[0].id == before
    assert all(version == OLD for version, _ in machine.sink.values())


def test_production_that_changed_since_the_plan_refuses_it(build: Build) -> None:
    """The plan says which version and generation it was made for."""
    machine = build()
    name = machine.begin(Deploy(NEW))
    machine.end(machine.members_of(OLD)[0], Outcome.KILLED, "SIGKILL")
    machine.supervise()
    machine.tick()
    server = Server(machine)
    server.run(name)
    found = check_whole(server, name)
    assert found.status is REFUSED
    assert "production changed since the plan: 0ld0 leads as generation 2" in found.receipt["why"]


def test_of_two_who_deploy_at_once_one_is_refused(build: Build) -> None:
    """The error names the other, and since when."""
    machine = build()
    machine.begin(Deploy(NEW), who="ann")
    with pytest.raises(FlowBusy, match="ann"):
        machine.begin(Deploy("third"), who="ben")


@pytest.mark.parametrize("stage", ["follow", "shadow", "approve"])
def test_a_deploy_can_be_taken_back_before_the_cut(build: Build, stage: str) -> None:
    """Whoever asks for a rollback then ends it."""
    machine = build()

    def back() -> None:
        name = machine.ledger.operations.deployments(FLOW, running=True)[0].id
        facts = {"rollback_asked": {"who": "cleo", "why": "not today"}}
        machine.ledger.operations.advance_deployment(name, facts=facts)

    found = deployed(machine, Manner(3, None, approve="person"), each=at(stage, back))
    assert found.status is REFUSED
    assert "cleo took it back before the cut: not today" in found.receipt["why"]


def test_a_person_can_say_no(build: Build) -> None:
    """It is refused with their name and reason."""
    machine = build()

    def no() -> None:
        name = machine.ledger.operations.deployments(FLOW, running=True)[0].id
        answer = {"approval": {"yes": False, "who": "cleo", "why": "look at row 3"}}
        machine.ledger.operations.advance_deployment(name, facts=answer)

    found = deployed(machine, Manner(3, None, approve="person"), each=at("approve", no))
    assert (found.status, found.receipt["why"]) == (REFUSED, "cleo said no: look at row 3")


def test_nobody_who_approves_is_a_no(build: Build) -> None:
    """A day later it is over."""
    machine = build()

    def wait() -> None:
        machine.clock.sleep(86_401)

    found = deployed(machine, Manner(3, None, approve="person"), each=at("approve", wait))
    assert found.status is REFUSED
    assert "nobody approved it" in found.receipt["why"]


def test_a_flow_that_is_stopped_meanwhile_ends_the_deploy(build: Build) -> None:
    """Whoever stops it comes first."""
    machine = build()

    def stop() -> None:
        machine.ledger.operations.desire(Desired(FLOW, Want.STOPPED, OLD, who="ann"))

    server = Server(machine)
    name = machine.begin(Deploy(NEW))
    found = server.run(name, at("shadow", stop))
    assert found.status is FAILED
    assert "ann wants the flow stopped" in found.receipt["why"]
    machine.ledger.operations.desire(Desired(FLOW, Want.RUNNING, OLD, who="ann"))
    check_whole(server, name)


# --- after the cut ----------------------------------------------------------------------------------------------------


def test_a_version_that_does_worse_in_the_watch_is_rolled_back(build: Build) -> None:
    """By the hidden old version, in one takeover; the receipt has both cuts."""
    machine = build()

    def worse() -> None:
        machine.judgement = {"passed": False, "reasons": ["3 checks fail that passed before"]}

    found = deployed(machine, each=at("watch", worse))
    assert found.status is ROLLED_BACK
    assert found.receipt["leads"] == OLD
    assert found.receipt["why"] == "3 checks fail that passed before"
    assert found.receipt["back"]["generation"] == 3
    assert machine.started == 2, "the old version never stopped"


@pytest.mark.parametrize(("lasts", "status"), [(False, DONE), (True, ROLLED_BACK)])
def test_a_new_version_that_is_slow_is_given_a_moment(build: Build, lasts: bool, status: DeploymentStatus) -> None:  # noqa: FBT001
    """Time may be the machine's doing: it counts where it lasts, and the watch does not end before that is known."""
    machine = build()
    judged = {"passed": False, "reasons": ["twice as long"], "details": [{"kind": "speed"}]}

    def each(found: Deployment) -> None:
        slow_us = found.facts.get("watch", {}).get("slow_us")
        over = slow_us is not None and machine.clock.now_us() - slow_us > 5_000_000
        machine.judgement = {"passed": True, "reasons": []} if over and not lasts else judged

    assert deployed(machine, each=each).status is status


def test_a_watch_that_has_seen_nothing_does_not_end(build: Build) -> None:
    """While input waits, time alone is no reason to trust a new leader."""
    new = Behaviour(stuck=True)
    machine = build(new=new)
    begun: list[float] = []

    def each(found: Deployment) -> None:
        if found.stage == "watch":
            begun.append(machine.clock.stopwatch_s())
        new.stuck = not begun or machine.clock.stopwatch_s() < begun[0] + 10

    found = deployed(machine, Manner(3, None, watch_s=1.0, approve="policy"), each=each)
    assert found.status is DONE
    assert found.receipt["stages_s"]["watch"] >= 10


def test_a_watch_ends_where_no_input_comes(build: Build) -> None:
    """The leader has told that it found none."""
    new = Behaviour(stuck=True, waits=False)
    machine = build(new=new)

    def each(found: Deployment) -> None:
        new.stuck = found.stage == "watch"

    found = deployed(machine, Manner(3, None, watch_s=1.0, approve="policy"), each=each)
    assert found.status is DONE
    assert found.receipt["stages_s"]["watch"] < 10


def test_a_person_rolls_back_in_the_watch(build: Build) -> None:
    """With name and reason."""
    machine = build()

    def back() -> None:
        name = machine.ledger.operations.deployments(FLOW, running=True)[0].id
        machine.ledger.operations.advance_deployment(name, facts={"rollback_asked": {"who": "cleo", "why": "odd"}})

    found = deployed(machine, each=at("watch", back))
    assert (found.status, found.receipt["why"]) == (ROLLED_BACK, "cleo asked for it: odd")


@pytest.mark.parametrize(
    ("dies", "status", "why"),
    [
        ({"after-takeover": 1}, DONE, ""),
        ({"after-takeover": 1, "claimed": 99}, ROLLED_BACK, "it failed 2 times in epoch"),
        ({"leading": 1}, DONE, ""),
        ({"leading": 99}, ROLLED_BACK, "it failed 2 times in epoch"),
        ({"leading": 1, "claimed": 99}, ROLLED_BACK, "it failed 2 times in epoch"),
    ],
    ids=["once in the takeover", "can't start", "once", "again and again", "can't start again"],
)
def test_a_new_leader_that_dies(build: Build, dies: dict[str, int], status: DeploymentStatus, why: str) -> None:
    """Once it is started again; twice in the same epoch, and the old version leads."""
    machine = build(new=Behaviour(dies=dies))
    found = deployed(machine)
    assert found.status is status
    assert why in found.receipt["why"]
    if status is DONE:
        assert len(found.receipt["watch"]["deaths"]) == 1


def test_the_hidden_version_is_started_again_and_the_receipt_says_so(build: Build) -> None:
    """The way back stays warm."""
    machine = build()

    def kill() -> None:
        machine.end(machine.members_of(OLD)[0], Outcome.KILLED, "SIGKILL")

    found = deployed(machine, each=at("watch", kill))
    assert found.status is DONE
    assert "SIGKILL" in found.receipt["hidden"]["gone"]
    assert found.receipt["hidden"]["again"]


def test_a_rollback_finds_its_way_without_a_hidden_process(build: Build) -> None:
    """The old version is started from the state that it left, catches up, and leads."""
    machine = build()

    def kill() -> None:
        machine.end(machine.members_of(OLD)[0], Outcome.KILLED, "SIGKILL")
        machine.judgement = {"passed": False, "reasons": ["late"]}

    assert deployed(machine, each=at("watch", kill)).status is ROLLED_BACK


def test_a_rollback_that_can_not_be_leaves_the_new_version(build: Build) -> None:
    """The old version fails wherever it is started: the receipt says that the new one leads."""
    machine = build()

    def kill() -> None:
        machine.end(machine.members_of(OLD)[0], Outcome.KILLED, "SIGKILL")
        machine.versions["old"].dies = {"loading": 99}
        machine.judgement = {"passed": False, "reasons": ["late"]}

    found = deployed(machine, each=at("watch", kill))
    assert (found.status, found.receipt["leads"]) == (FAILED, NEW)
    assert "late; it could not be rolled back" in found.receipt["why"]


def test_a_rollback_after_the_watch_starts_the_version_before(build: Build) -> None:
    """As a deploy of it, without a gate."""
    machine = build()
    deployed(machine)
    server = Server(machine, rebuilt=True)
    name = machine.begin(Rollback(OLD), kind="rollback")
    server.run(name)
    found = check_whole(server, name)
    assert (found.status, found.receipt["leads"]) == (DONE, OLD)


# --- a server that dies -----------------------------------------------------------------------------------------------


def _wrong_in_the_watch(machine: Machine) -> Callable[[Deployment], None]:
    def worse() -> None:
        machine.judgement = {"passed": False, "reasons": ["late"]}

    return at("watch", worse)


STORIES: dict[str, tuple[Callable[[], Behaviour], Any, DeploymentStatus]] = {
    "done": (Behaviour, None, DONE),
    "rolled back": (Behaviour, _wrong_in_the_watch, ROLLED_BACK),
    "refused": (lambda: Behaviour(rows="wrong"), None, REFUSED),
    "failed beside the leader": (lambda: Behaviour(dies={"run": 99}), None, FAILED),
    "failed at the cut": (lambda: Behaviour(dies={"before-takeover": 1}), None, FAILED),
    "died in the takeover": (lambda: Behaviour(dies={"after-takeover": 1}), None, DONE),
    "failed after the cut": (lambda: Behaviour(dies={"leading": 99}), None, ROLLED_BACK),
}


def _killed_at_each(build: Build, story: str, *, every: int) -> None:
    """Play a story once whole, then once for every n-th place at which the server can die, killed there."""
    behaviour, events, status = STORIES[story]
    quick = Manner(2, None, watch_s=0.5, approve="policy")

    def played(fuse: Fuse) -> None:
        machine = build(3, new=behaviour())
        server = Server(machine, fuse)
        name = machine.begin(Deploy(NEW), quick)
        server.run(name, events(machine) if events else lambda _: None)
        found = check_whole(server, name)
        assert found.status is status, f"killed at {fuse.place} ({fuse.at}): {found.receipt}"

    whole = Fuse()
    played(whole)
    # Stories have different numbers of places, so that together they meet every deed whatever the step.
    for place in range(1 + len(story) % every, whole.count + 1, every):
        played(Fuse(place))


@pytest.mark.parametrize("story", STORIES)
def test_a_server_may_die_at_a_deed(build: Build, story: str) -> None:
    """Before it or after it: the deployment comes to the same end, and all is whole."""
    _killed_at_each(build, story, every=11)


@pytest.mark.soak
@pytest.mark.parametrize("story", STORIES)
def test_a_server_may_die_at_every_deed(build: Build, story: str) -> None:
    """As above, at each of them."""
    _killed_at_each(build, story, every=1)
