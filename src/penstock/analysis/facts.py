"""What analysis finds out about a flow: for each step the columns after it and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from penstock.flow import Definition

__all__ = ["WINDOW_END", "WINDOW_START", "Analysis", "StepFacts"]

WINDOW_START = "window_start"
"""The column that windowed results carry: where the window begins (inclusive)."""
WINDOW_END = "window_end"
"""The column that windowed results carry: where the window ends (exclusive); their event time."""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """The rows after one step.

    `schema`: the columns in order. `event_time`: the column that says when a row happened, None where there is none;
    `time_lost` then says why, as a clause of an error message. `key`: for updating results the columns that name a
    row, `()` for append. `windowed`: the rows carry `window_start` and `window_end`
    as their window gave them, and all rows of one window come in one epoch.
    """

    schema: pl.Schema
    event_time: str | None = None
    key: tuple[str, ...] = ()
    updating: bool = False
    windowed: bool = False
    time_lost: str = ""


@dataclass(frozen=True, slots=True)
class Analysis:
    """The facts of every step of a definition, by the step's name."""

    definition: Definition
    steps: dict[str, StepFacts]
