"""Rows that no step can take, steps that hang, processes that want too much memory: in what leads, and in a shadow."""

from __future__ import annotations

import re

import pytest

from penstock.control import FlowStatus
from penstock.ledger import DeploymentStatus
from tests.handovers.oracle import check
from tests.handovers.rows import POISON_EVERY
from tests.handovers.scene import FLOW, Scene, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_212
HANG_AFTER_S = 3.0
MEMORY_BYTES = 600_000_000


def held(made: Scene) -> FlowStatus:
    """How the flow is, once it is held."""
    return until(lambda: found if (found := made.wisher.status(FLOW)) is not None and found.state == "held" else None)


def test_a_poison_row_is_a_dead_letter_and_the_flow_goes_on(made: Scene) -> None:
    """The process that leads is the same, and the row is kept with its step."""
    leader = made.at_work()
    before = made.ledger.count_dead_letters(FLOW)
    made.writer.write(POISON_EVERY)
    until(lambda: made.ledger.count_dead_letters(FLOW) > before)
    letter = made.ledger.dead_letters(FLOW)[-1]
    made.goes_on()

    assert (letter.step, letter.error) == ("shared", "ZeroDivisionError")
    assert made.at_work().id == leader.id


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        ("hang", {"hang_after_s": HANG_AFTER_S}, "hung 3 times in step worked"),
        (
            "eat",
            {"memory_bytes": MEMORY_BYTES},
            r"ran 3 times out of memory (in step worked )?\(.* GB at \w+\.py:\d+ in \w+\)",
        ),
    ],
)
def test_a_flow_that_misbehaves_three_times_in_one_epoch_is_held(
    made: Scene, what: str, options: dict[str, float], words: str
) -> None:
    """It is killed each time; the note names the epoch and where it was. Told to try again, it goes on where it was."""
    version = made.at_work().version
    made.wisher.start(FLOW, options=options)
    file = made.befalls(made.names[version], what)
    found = held(made)
    epoch = made.last_epoch() + 1
    file.unlink()
    made.wisher.start(FLOW, retry=True, options=dict.fromkeys(options))
    made.is_whole(version)

    assert re.search(f"epoch {epoch} {words}", found.note), found.note


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        ("hang", {"hang_after_s": HANG_AFTER_S}, "hung in step worked"),
        ("eat", {"memory_bytes": MEMORY_BYTES}, r"ran out of memory (in step worked )?\(.* GB at \w+\.py:\d+ in \w+\)"),
    ],
)
def test_a_new_version_that_misbehaves_in_the_shadow_fails_the_deploy(
    made: Scene, what: str, options: dict[str, float], words: str
) -> None:
    """It is killed, once; the old version leads on, and the receipt names where it was."""
    leader = made.at_work()
    made.wisher.start(FLOW, options=options)
    new = made.other()
    file = made.befalls(made.names[new], what)
    done = made.ended(made.deploy(new))
    file.unlink()
    made.wisher.start(FLOW, options=dict.fromkeys(options))
    made.settled(done)

    assert done.status is DeploymentStatus.FAILED, done.receipt
    assert re.search(words, done.receipt["why"]), done.receipt["why"]
    assert made.at_work().id == leader.id


def test_no_limit_left_a_trace(made: Scene) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    check(made)
