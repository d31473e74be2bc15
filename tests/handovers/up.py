"""`penstock up` that stands still where a scene wants it to: `python -m tests.handovers.up FOLDER [OPTION...]`.

Around each deed of a stage of a handover it looks for the file `misfortunes/at.STAGE.WHEN` (`before` or `after` the
deed, before what it came to is noted). Where it is there, it is renamed to `reached.STAGE.WHEN`, and the server waits
until that file is gone. All else is what `penstock up` does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Event

from penstock.control.rollouts.driver import Driver
from penstock.control.rollouts.handover import Handover, Outcome
from penstock.interfaces.cli import main as penstock
from tests.handovers import misfortune

__all__ = ["main"]

_PAUSE = Event()


def stand_still(folder: Path, stage: str, when: str) -> None:
    """Wait here, where a scene wants that; not for ever, should the scene be gone."""
    wanted, reached = folder / f"at.{stage}.{when}", folder / f"reached.{stage}.{when}"
    try:
        wanted.rename(reached)
    except FileNotFoundError:
        return
    scene = os.getppid()
    while reached.exists() and os.getppid() == scene:
        _PAUSE.wait(0.005)


def main(arguments: list[str]) -> None:
    """Serve the project of a scene."""
    folder, *options = arguments
    misfortunes = Path(folder) / misfortune.FOLDER
    misfortune.FOLDER = misfortunes
    misfortune.turn_clock()
    deed = Driver._outcome

    def outcome(self: Driver, h: Handover) -> Outcome:
        stage = h.current
        stand_still(misfortunes, stage, "before")
        found = deed(self, h)
        stand_still(misfortunes, stage, "after")
        return found

    Driver._outcome = outcome  # type: ignore[method-assign]
    penstock(["up", "--port", "0", "-C", folder, *options])


if __name__ == "__main__":
    main(sys.argv[1:])
