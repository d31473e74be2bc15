"""A process that commits epochs for ever, to be killed: it prints the number of each one that was acknowledged."""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.clock import SystemClock
from penstock.errors import Fenced
from penstock.ledger import open_ledger, rollup
from tests.ledger.facts import FLOW, letter, plan, record, segment

ROLL_EVERY = 20


def say(word: object) -> None:
    """Tell the parent, at once."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(where: str, folder: str, env: str) -> None:
    """Claim, go on from where the flow stands, roll up every 20 epochs in files of 7; end when fenced."""
    rollup.FILE_EPOCHS, rollup.DELETE_ROWS = 7, 3
    ledger = open_ledger(where, env=env, clock=SystemClock(), folder=Path(folder))
    resume = ledger.claim(FLOW, version="v1", holder="committer")
    epoch = resume.last.epoch + 1 if resume.last else 1
    say("claimed")
    try:
        if resume.planned is None:
            ledger.plan(FLOW, resume.generation, plan(epoch))
        while True:
            ledger.commit(
                FLOW,
                record(epoch, resume.generation, state=segment(epoch)),
                next_plan=plan(epoch + 1),
                dead=[letter(epoch, 1), letter(epoch, 2)],
            )
            say(epoch)
            if epoch % ROLL_EVERY == 0:
                ledger.roll_up(FLOW, epoch - 5)
            epoch += 1
    except Fenced:
        say("fenced")
    ledger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
