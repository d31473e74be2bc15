"""What the engine itself says of a flow, as entries of its log: few, and each of them worth reading."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from penstock.ledger import DeadLetter
from penstock.observe import StepMark

__all__ = ["LOG", "log_dead_letters"]

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
