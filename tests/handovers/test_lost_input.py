"""A source that forgot what a follower or an undo needs: refused with the reason, and the old version leads on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from penstock.ledger import DeploymentStatus
from tests.handovers.conftest import MakeScene
from tests.handovers.oracle import assert_accounted_for, assert_gapless
from tests.handovers.scene import FLOW, QUICK, Scene

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_208
FORCED = replace(QUICK, shadow_epochs=0, watch_s=0.0, force=True, why="to be undone")


@pytest.fixture(scope="module")
def files(make_scene: MakeScene) -> Iterator[Scene]:
    """A scene whose input is ever new files."""
    with make_scene(seed=SEED, tail=False) as made:
        made.version("v1")
        made.start(made.version("v0"))
        yield made


def forget(made: Scene) -> None:
    """Remove all files; each was read."""
    made.goes_on(2)
    made.writer.pause()
    made.is_idle()
    for file in (made.folder / "rows").glob("*.ndjson"):
        file.unlink()
    made.writer.resume()


def test_a_follower_whose_input_is_gone_fails_the_deploy(files: Scene) -> None:
    """Epochs that it has to catch up with can't be read any more."""
    files.stand_still("follow", "before")
    begun = files.deploy(files.other())
    with files.reached("follow", "before"):
        forget(files)
    done = files.settled(begun)

    assert done.status is DeploymentStatus.FAILED, done.receipt
    assert "in step rows" in done.receipt["why"], done.receipt["why"]
    assert "undo and replay can only go back to file" in done.receipt["error"]["hint"]


def test_an_undo_whose_input_is_gone_is_refused(files: Scene) -> None:
    """The preview says so; who asks for it all the same is told by the check; nothing was changed."""
    good = files.at_work().version
    files.settled(files.deploy(files.version("wrong", wrong=1_000_000), FORCED))
    forget(files)
    asker = files.asker
    preview = asker.preview_undo(FLOW, good)
    assert not preview.is_possible
    done = files.settled(asker.begin(asker.undo(preview, FLOW, QUICK)))

    assert done.status is DeploymentStatus.FAILED, done.receipt
    assert done.receipt["at_stage"] == "check"
    assert "the input is not there any more" in done.receipt["why"]


def test_the_flow_goes_on_without_a_gap(files: Scene) -> None:
    """All that was written was taken, and each row is in the table or a dead letter, once."""
    files.drain()
    records = files.ledger.epochs(FLOW)
    assert_gapless(records)
    assert_accounted_for(files, records)
