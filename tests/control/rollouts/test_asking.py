"""What may be asked of handovers: intents from a real ledger, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.control import (
    Asker,
    Environment,
    Extent,
    Manner,
    begin_by_request,
    epochs_of,
    flow_folder,
    flow_lock,
    manner_of,
    project_for,
)
from penstock.control.policies import DeployPolicy
from penstock.control.rollouts.asking import situation_of
from penstock.control.rollouts.plans import Deploy
from penstock.control.rollouts.stages import Cut, Gate, Shadow, Watch, plan_from_json
from penstock.errors import ConfigError, FlowBusy
from penstock.ledger import Deployment, DeploymentStatus, EpochPlan, EpochRecord, Ledger, Member, open_ledger

FLOW = "orders"
OLD, NEW = "0ld0ld0ld0ld", "2e42e42e42e4"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Six epochs: four by the old version, two by the new one, which leads."""
    ledger = open_ledger(tmp_path / "ledger", env="dev", clock=ManualClock())
    for version, first, last in ((OLD, 1, 4), (NEW, 5, 6)):
        generation = ledger.claim(FLOW, version=version, holder=f"{version[:3]} (process 1)").generation
        for epoch in range(first, last + 1):
            plan = EpochPlan(epoch, {"in": {"start": epoch - 1, "end": epoch}}, epoch, epoch)
            ledger.plan(FLOW, generation, plan)
            ledger.commit(FLOW, EpochRecord(epoch, generation, version, plan, rows_out={"out": 2}))
    yield ledger
    ledger.close()


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """`dev` of an empty project."""
    return project_for(tmp_path).environment("dev")


@pytest.fixture
def asker(ledger: Ledger, environment: Environment) -> Asker:
    """Ann, who asks."""
    return Asker(ledger, environment, ManualClock(), who="ann", why="because")


def member(ledger: Ledger, name: str, version: str, wish: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """A process that is there."""
    ledger.join(Member(name, FLOW, version, 1, "here", "s", wish=wish, facts=facts, joined_us=1))


def watched(ledger: Ledger, asker: Asker) -> Deployment:
    """A deploy of the new version whose cut is made, with the old one hidden since epoch 4."""
    deployment = asker.begin(asker.deploy(FLOW, "third", Manner()))
    ledger.operations.advance_deployment(deployment.id, stage=Watch.name)
    member(ledger, "2e4", NEW, {"role": "lead"}, {"role": "leading"})
    hidden = {"role": "following", "start_epoch": 4}
    member(ledger, "0ld", OLD, {"role": "follow", "part": "old", "owner": deployment.id}, hidden)
    return deployment


def test_a_manner_is_the_policys_unless_a_person_says_otherwise() -> None:
    """Who approves, how long is looked at; a forced gate wants a reason."""
    policy = DeployPolicy(approve="always", shadow=Extent(epochs=9), watch_s=7.0)
    assert manner_of(policy) == Manner(9, None, 7.0, "person")
    assert manner_of(policy, shadow=Extent(seconds_s=3.0), watch_s=0.0, auto_approve=True) == Manner(
        None, 3.0, 0.0, "policy"
    )
    assert manner_of(DeployPolicy(approve="differences")).approve == "differences"
    assert manner_of(DeployPolicy(approve="never")).approve == "policy"
    assert manner_of(policy, force=True, why="so").why == "so"
    with pytest.raises(ConfigError, match="only with a reason"):
        manner_of(policy, force=True)


def test_a_deployment_that_begins_is_noted_with_its_plan(ledger: Ledger, asker: Asker) -> None:
    """Who, why, from which version to which, and an event for people."""
    made = asker.begin(asker.deploy(FLOW, "third", Manner()))

    assert (made.kind, made.old_version, made.new_version, made.who, made.why) == (
        "deploy",
        NEW,
        "third",
        "ann",
        "because",
    )
    cut = next(stage for stage in plan_from_json(made.plan) if isinstance(stage, Cut))
    assert (cut.expected_version, cut.expected_generation) == (NEW, 2)
    assert ledger.operations.events(FLOW, kind="deployment-begun")[0].who == "ann"


def test_a_second_deployment_is_refused_with_the_first(asker: Asker) -> None:
    """It names who and which."""
    asker.begin(asker.deploy(FLOW, "third", Manner()))
    with pytest.raises(FlowBusy, match="ann"):
        asker.begin(asker.deploy(FLOW, "fourth", Manner()))


def test_a_rollback_is_said_to_the_deploy_that_is_under_way(ledger: Ledger, asker: Asker) -> None:
    """In the watch its plan is one cut; the deployment is asked, and none begins."""
    deployment = watched(ledger, asker)
    intent = asker.rollback(FLOW)

    assert intent.said_to == deployment.id
    asker.begin(intent)
    asked = asker.known(deployment.id).facts["rollback_asked"]
    assert (asked["who"], asked["why"]) == ("ann", "because")
    with pytest.raises(FlowBusy, match="a deploy of this flow by ann is under way"):
        asker.rollback(FLOW, "other")


def test_what_penstock_run_runs_is_not_handed_over(asker: Asker, environment: Environment) -> None:
    """Its process looks at no wishes; the error says which one it is."""
    with flow_lock(flow_folder(environment, FLOW), FLOW, "dev"), pytest.raises(FlowBusy, match="by `penstock run`"):
        asker.deploy(FLOW, "third", Manner())


def test_the_hidden_version_is_seen(ledger: Ledger, asker: Asker) -> None:
    """With the first epoch whose rows it has."""
    watched(ledger, asker)
    found = situation_of(ledger, FLOW)
    assert found.hidden is not None
    assert (found.hidden.member, found.hidden.version, found.hidden.first_epoch) == ("0ld", OLD, 5)
    assert found.running


def test_an_answer_to_what_is_over_is_refused(ledger: Ledger, asker: Asker) -> None:
    """It says how it ended."""
    made = asker.begin(asker.deploy(FLOW, "third", Manner()))
    ledger.operations.advance_deployment(made.id, status=DeploymentStatus.FAILED)
    with pytest.raises(FlowBusy, match="is over: failed"):
        asker.approve(made.id, yes=True)


def test_no_version_before_is_kept_here(asker: Asker) -> None:
    """A rollback needs its files."""
    with pytest.raises(ConfigError, match="no version that is kept here led before"):
        asker.rollback(FLOW)


@pytest.mark.parametrize(
    ("kind", "version", "options", "message"),
    [
        ("dance", None, {}, "there is no 'dance'"),
        ("deploy", None, {}, "which version"),
        ("deploy", "nosuch", {}, "has no version 'nosuch'"),
        ("replay", None, {"epochs": "all"}, "is no range of epochs"),
        ("replay", None, {"epochs": "1..2", "speed": 2}, "replay has no option speed"),
        ("deploy", "x", {"shadow": "soon"}, "an option is wrong"),
        ("deploy", "x", {"watch": "soon"}, "an option is wrong"),
        ("deploy", "x", {"force": True}, "only with a reason"),
    ],
)
def test_a_wrong_request_is_told(
    ledger: Ledger, environment: Environment, kind: str, version: str | None, options: dict[str, Any], message: str
) -> None:
    """As an error of the command line would be; nothing is noted."""
    begin = begin_by_request(environment, ledger, ManualClock())
    with pytest.raises(ConfigError, match=message):
        begin(FLOW, kind, version, options, "ann", "")
    assert ledger.operations.deployments() == []


def test_a_replay_is_begun_by_a_request(ledger: Ledger, environment: Environment) -> None:
    """Its epochs and folder are in the plan."""
    begin = begin_by_request(environment, ledger, ManualClock())
    made = begin(FLOW, "replay", None, {"epochs": "2..4", "out": "/srv/rows"}, "ann", "")
    stages = {stage["stage"]: stage for stage in made.plan}
    assert (made.new_version, stages["follow"]["until"], stages["keep"]["folder"]) == (NEW, 4, "/srv/rows")


@pytest.mark.parametrize(("text", "range_"), [("3..7", (3, 7)), ("5", (5, 5)), (" 1..1 ", (1, 1))])
def test_a_range_of_epochs_is_read(text: str, range_: tuple[int, int]) -> None:
    """`A..B` or one."""
    assert epochs_of(text) == range_


def test_a_deploy_has_what_its_manner_says(asker: Asker, ledger: Ledger) -> None:
    """Shadow and gate in the plan of a flow that runs."""
    member(ledger, "2e4", NEW, {"role": "lead"}, {"role": "leading"})
    plan = asker.deploy(FLOW, "third", Manner(5, None, 9.0, "policy", force=True, why="so")).plan
    assert isinstance(asker.deploy(FLOW, "third", Manner()).ask, Deploy)
    assert Shadow(5, None) in plan
    assert Gate(force=True, why="so") in plan
    assert Watch(9.0) in plan
