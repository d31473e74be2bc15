"""Trying dead letters again in memory: what would come out, with nothing written anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.connect import Change
from penstock.engine.computing import Computation
from penstock.ledger import DeadLetter, EpochPlan

__all__ = ["Rehearsed", "rehearse"]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What one letter came to. `changes`: by sink step, those without anything left out. `tables`: of state."""

    changes: Mapping[str, Change]
    dead: Sequence[DeadLetter]
    rows_late: int
    tables: Sequence[str]


def rehearse(computation: Computation, letter: Mapping[str, Any], *, now_us: int) -> Rehearsed:
    """Run one letter, as `EpochPlan.redrive` has it, as the epoch after the last one that the computation includes.

    The letters that were rehearsed before it are part of the state. Raises what epochs raise; then the computation is
    of no use any more.
    """
    last = computation.last
    assert last is not None, "a letter fell in an epoch"
    ranges: dict[str, dict[str, Any]] = {}
    for step, entry in last.ranges.items():
        finished = {"finished": True} if entry.get("finished") else {}
        ranges[step] = {"start": dict(entry["end"]), "end": dict(entry["end"])} | finished
    plan = EpochPlan(
        last.epoch + 1, ranges, max(now_us, last.now_us), last.epoch + 1, final=last.final, redrive=(letter,)
    )
    computed = computation.run(plan)
    return Rehearsed(
        changes={step: change for step, change in computed.changes.items() if not change.is_empty},
        dead=computed.dead,
        rows_late=computed.rows_late,
        tables=[change.name for change in computed.state],
    )
