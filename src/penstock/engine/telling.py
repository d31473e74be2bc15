"""What the engine itself says of a flow, as entries of its log: few, and each of them worth reading."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from penstock.errors import CorruptState
from penstock.ledger import DeadLetter, Savepoint
from penstock.observe import StepMark

__all__ = ["LOG", "log_damaged_state", "log_dead_letters"]

LOG = logging.getLogger("penstock.engine")
LOG.addHandler(logging.NullHandler())  # where nobody listens, it is silent
_CAUSES_MAX = 5
_MESSAGE_CHARS = 500


def log_dead_letters(dead: Sequence[DeadLetter], at: StepMark) -> None:
    """An entry for each cause (five at most) for which rows of an epoch became dead letters, with one of them."""
    if not dead:
        return
    causes: defaultdict[tuple[str, str], list[DeadLetter]] = defaultdict(list)
    for letter in dead:
        causes[letter.step, letter.signature].append(letter)
    for (step, signature), letters in list(causes.items())[:_CAUSES_MAX]:
        at.at_step = step
        sample = letters[0]
        LOG.error(
            "%s became dead letters: %s: %s",
            "1 row" if len(letters) == 1 else f"{len(letters):,} rows",
            sample.error,
            sample.message[:_MESSAGE_CHARS],
            extra={"rows": len(letters), "cause": signature, "offset": dict(sample.offset)},
        )
    if len(causes) > _CAUSES_MAX:
        at.at_step = None
        LOG.error("%s more causes of dead letters in this epoch", len(causes) - _CAUSES_MAX)
    at.at_step = None


def log_damaged_state(damage: CorruptState, savepoints: Sequence[Savepoint], epoch: int) -> None:
    """An entry for a state file that was found damaged by the process that has the state in memory: what it cost."""
    lost = [one for one in savepoints if any(ref.file in damage.message for ref in one.segments)]
    LOG.error(
        "%s; the flow goes on, and its state as of epoch %s was written anew%s. Look at the disk",
        damage.message,
        f"{epoch:,}",
        f"; no undo and no new version can begin at the savepoints of the epochs {_epochs_of(lost)}, unless that file "
        "is brought back from a copy"
        if lost
        else "",
        extra={"savepoints": [one.id for one in lost]},
    )


def _epochs_of(savepoints: Sequence[Savepoint]) -> str:
    found = sorted({one.epoch for one in savepoints})
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"
