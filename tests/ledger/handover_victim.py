"""A process whose children hand a flow over, and are killed before a statement that the test names.

For each line of JSON `[ledger, folder, environment, action, n]` it forks: the child does the action, and kills itself
(`kill -9`) just before the n-th thing that it asks of a database, a commit counts as one. The answer is `killed` or
`done`. Forking spares the second that starting a Python takes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from penstock.clock import ManualClock
from penstock.ledger import DeadLetter, EpochRecord, Ledger, Rewrite, SegmentRef, Takeover, open_ledger
from tests.ledger.facts import FLOW, letter, record

TAKEOVER = Takeover(1, 5, 4, (SegmentRef(0, 4, "branch.state", 1, 1),))
REWRITE = Rewrite("undo", 3, 5, "v0", "s")
SEGMENTS = (SegmentRef(0, 5, "good.state", 1, 1),)


def good() -> list[EpochRecord]:
    """What the good version makes of the epochs 3..5."""
    return [replace(record(epoch, 2), version="v0") for epoch in (3, 4, 5)]


def dead() -> list[DeadLetter]:
    """What the good version could not process."""
    return [letter(4, 40)]


def act(ledger: Ledger, action: str) -> None:
    """Hand over, begin an undo, or end it. Each may be done again."""
    if action == "take_over":
        ledger.take_over(FLOW, version="v2", holder="new", takeover=TAKEOVER)
    elif action == "begin_rewrite":
        ledger.take_over(FLOW, version="v0", holder="good", takeover=Takeover(1, 5, rewrite=REWRITE))
    else:
        ledger.finish_rewrite(FLOW, 2, REWRITE, good(), SEGMENTS, dead=dead())


class Countdown:
    """Kills this process before the n-th thing that it asks of a database."""

    def __init__(self) -> None:
        self.left = 0
        for event in ("before_cursor_execute", "commit"):
            sa.event.listen(sa.Engine, event, self._count)

    def _count(self, *_given: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def child(where: str, folder: str, env: str, action: str, number: int) -> None:
    """Do the action in a process of its own, which may die of it."""
    countdown = Countdown()
    ledger = open_ledger(where, env=env, clock=ManualClock(), folder=Path(folder))
    ledger.standing(FLOW)
    countdown.left = number
    act(ledger, action)
    os._exit(0)


def main() -> None:
    """Fork a child for each line, and say how it ended."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(*json.loads(line))
        _, status = os.waitpid(pid, 0)
        answer = {0: "done", signal.SIGKILL: "killed"}.get(status, f"failed: {status}")
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
