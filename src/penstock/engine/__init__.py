"""Runs ONE flow: compile, epochs, operators, state, dead letters, and the two ends of a handover."""

from __future__ import annotations

from penstock.engine.assembly import Assembly
from penstock.engine.background import Background, one_thread
from penstock.engine.computing import Computation, Computed
from penstock.engine.duty import Duty, Orders
from penstock.engine.following import Follower
from penstock.engine.handover import step_down, take_over
from penstock.engine.leading import Leader, Outcome, Post
from penstock.engine.loop import lookup_tables, run_flow
from penstock.engine.migrating import (
    Adopted,
    adopt,
    migrate,
    refuse_incompatible,
    renamed_facts,
    renamed_plan,
    stored_layouts,
)
from penstock.engine.options import Progress, RunOptions, RunResult, StopSignal
from penstock.engine.patience import Patience
from penstock.engine.points import HANDOVER_POINTS, POINTS, Probe
from penstock.engine.program import Program
from penstock.engine.rehearsing import Rehearsed, rehearse
from penstock.engine.spill import Spill, SpillReader
from penstock.engine.starting import claim, follow, stand_by
from penstock.engine.tally import Tally

__all__ = [
    "HANDOVER_POINTS",
    "POINTS",
    "Adopted",
    "Assembly",
    "Background",
    "Computation",
    "Computed",
    "Duty",
    "Follower",
    "Leader",
    "Orders",
    "Outcome",
    "Patience",
    "Post",
    "Probe",
    "Program",
    "Progress",
    "Rehearsed",
    "RunOptions",
    "RunResult",
    "Spill",
    "SpillReader",
    "StopSignal",
    "Tally",
    "adopt",
    "claim",
    "follow",
    "lookup_tables",
    "migrate",
    "one_thread",
    "refuse_incompatible",
    "rehearse",
    "renamed_facts",
    "renamed_plan",
    "run_flow",
    "stand_by",
    "step_down",
    "stored_layouts",
    "take_over",
]
