"""New versions that are no good: each is found out before it leads, and the old version never stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from penstock.ledger import Deployment, DeploymentStatus
from tests.handovers.conftest import MakeScene
from tests.handovers.oracle import check
from tests.handovers.scene import FLOW, QUICK, Scene

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_211
FORCED = replace(QUICK, force=True, why="the old rows are wrong")


@pytest.fixture(scope="module")
def made(make_scene: MakeScene) -> Iterator[Scene]:
    """v0 leads. What is slower than twenty times as slow is too slow."""
    with make_scene(seed=SEED, project={"slower_max = 100.0": "slower_max = 20.0"}) as found:
        found.start(found.version("v0"))
        yield found


def found_out(made: Scene, version: str, begun: Deployment) -> Deployment:
    """How a deploy ended; the leader is the process that it was before, and the version never led."""
    leader = made.at_work()
    done = made.settled(begun)
    assert made.at_work().id == leader.id
    assert version not in {record.version for record in made.ledger.epochs(FLOW)}
    return done


def kinds(done: Deployment) -> Sequence[str]:
    """What speaks against a version, by the gate."""
    details: Sequence[dict[str, Any]] = done.receipt["gate"]["details"]
    return [detail["kind"] for detail in details]


def test_a_version_that_raises_at_import_fails_the_check(made: Scene) -> None:
    """Nothing was started; the receipt has the author's error."""
    bad = made.version("import", head='if misfortune.FOLDER.exists():\n    raise RuntimeError("not today")')
    done = found_out(made, bad, made.deploy(bad))

    assert done.status is DeploymentStatus.FAILED
    assert done.receipt["at_stage"] == "check"
    assert "RuntimeError: not today" in done.receipt["why"]
    assert bad not in {member.version for member in made.ledger.members(FLOW, ended=True)}


def test_a_version_that_raises_at_import_in_its_process_only_fails_the_deploy(made: Scene) -> None:
    """The check could not see it; the process says it before it ends."""
    bad = made.version("late import", head='if misfortune.is_member():\n    raise RuntimeError("not here")')
    done = found_out(made, bad, made.deploy(bad))

    assert done.status is DeploymentStatus.FAILED
    assert done.receipt["at_stage"] == "follow"
    assert "RuntimeError: not here" in done.receipt["why"]


def test_a_version_that_raises_on_the_thousandth_row_is_refused(made: Scene) -> None:
    """The row is a dead letter of the new version alone, and one is too many."""
    share = 'if row["id"] % 1_000 == 998:\n        raise ValueError("the thousandth")'
    bad = made.version("thousandth", share=share)
    made.stand_still("shadow", "before")
    begun = made.deploy(bad)
    with made.reached("shadow", "before"):
        made.writer.write(1_000)
        made.goes_on(3)
    done = found_out(made, bad, begun)

    assert done.status is DeploymentStatus.REFUSED
    assert "dead-letters" in kinds(done)


def test_a_version_that_is_slow_is_refused(made: Scene) -> None:
    """An epoch takes twenty times as long at the median."""
    bad = made.version("slow", work="threading.Event().wait(2 if misfortune.is_member() else 0)")
    made.stand_still("follow", "before")
    begun = made.deploy(bad)
    with made.reached("follow", "before"):
        made.writer.pause()
        made.is_idle()
    made.reaches(begun, "shadow")
    while made.known(begun).stage == "shadow":
        made.writer.write(10)
        made.goes_on()
    made.writer.resume()
    done = found_out(made, bad, begun)

    assert done.status is DeploymentStatus.REFUSED
    assert "speed" in kinds(done)


def test_a_version_whose_state_does_not_fit_is_refused_before_anything_starts(made: Scene) -> None:
    """Rows are told apart by another key: the verdict says so, also to who would force it."""
    bad = made.version("other key", once='"id", "key"')
    done = found_out(made, bad, made.deploy(bad, FORCED))

    assert done.status is DeploymentStatus.REFUSED
    assert done.receipt["at_stage"] == "verdict"
    assert "once" in done.receipt["why"]
    assert bad not in {member.version for member in made.ledger.members(FLOW, ended=True)}


def test_a_version_that_asks_chance_is_refused_and_its_step_is_named(made: Scene) -> None:
    """Its epochs ran twice in the shadow and came to other rows."""
    bad = made.version("chance", share='row = {**row, "amount": row["amount"] + random.randrange(2)}')
    done = found_out(made, bad, made.deploy(bad))

    assert done.status is DeploymentStatus.REFUSED
    assert "determinism" in kinds(done)
    assert "shared gives other rows when an epoch runs again" in done.receipt["why"]


def test_a_version_that_writes_wrong_rows_is_refused(made: Scene) -> None:
    """Every row of one sink differs; the gate shows some."""
    bad = made.version("wrong", wrong=1_000_000)
    done = found_out(made, bad, made.deploy(bad))

    assert done.status is DeploymentStatus.REFUSED
    assert kinds(done) == ["rows"]
    diff = done.receipt["gate"]["diff"]
    assert diff["each_out"]["changed_by_column"] == {"amount": diff["each_out"]["changed"]}
    assert diff["totals_out"]["changed"] == 0


def test_wrong_rows_can_be_forced_through(made: Scene) -> None:
    """Somebody said why: it leads, the watch does not mind what was let through; then it is rolled back."""
    good = made.at_work().version
    done = made.settled(made.deploy(made.version("wrong", wrong=1_000_000), FORCED))
    assert done.status is DeploymentStatus.DONE
    assert done.receipt["gate"]["why"] == "the old rows are wrong"
    made.goes_on(2)
    back = made.settled(made.rollback())

    assert back.status is DeploymentStatus.DONE
    assert back.receipt["leads"] == good


def test_no_bad_version_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)
