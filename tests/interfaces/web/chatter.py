"""A process that logs a thousand lines a second through Python's logging, as a flow's does, until it has logged all.

`python chatter.py FOLDER LINES`; FOLDER is the one of the flow's logs. Each line has its number.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from threading import Event

from penstock.clock import SystemClock
from penstock.observe import Identity, JournalWriter, LogCapture, Scope, StepMark, log_scope

FLOW = "chatter"
_RATE_PER_S = 1_000
_TURN_S = 0.05


def chat(folder: Path, lines: int) -> None:
    """Log them; where it came late, it makes up for it."""
    clock = SystemClock()
    journal = JournalWriter(folder, Identity("shop", FLOW, "dev", "v1", "worker"))
    log = logging.getLogger("chatter")
    with (
        LogCapture(journal, clock=clock) as caught,
        log_scope(Scope(FLOW, generation=1, epoch=1, at=StepMark("talk"))),
    ):
        caught.attach()
        began_s, told = clock.stopwatch_s(), 0
        while told < lines:
            due = min(lines, int((clock.stopwatch_s() - began_s) * _RATE_PER_S))
            for number in range(told, due):
                log.info("line %d of order %d is priced, in cents, at the rate of the day", number, number // 3)
            told = due
            Event().wait(_TURN_S)
    journal.close()


if __name__ == "__main__":
    chat(Path(sys.argv[1]), int(sys.argv[2]))
