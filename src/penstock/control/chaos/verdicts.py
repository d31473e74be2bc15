"""What came of the phases, as plain values."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Baseline", "Outcome", "Report", "Verdict"]


class Outcome(StrEnum):
    """How a phase went."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_REACHED = "not reached"
    """The flow never came to the point: there was nothing to try."""
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The run that nobody interrupted. `inputs`: read step -> rows taken, of how many (None: nobody counted)."""

    epochs: int
    rows_in: int
    rows: int
    letters: int
    late: int
    seconds: float
    inputs: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One phase: what was done, how the process ended by it, and whether all is as in the uninterrupted run.

    `rows`: how many rows of sinks were compared. `why`: what is not as it should be. `folder`: where it lies.
    """

    phase: str
    did: str
    ended: str
    outcome: Outcome
    rows: int = 0
    why: tuple[str, ...] = ()
    seconds: float = 0.0
    folder: str = ""

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "phase": self.phase,
            "did": self.did,
            "ended": self.ended,
            "verdict": self.outcome.value,
            "rows": self.rows,
            "why": list(self.why),
            "seconds": round(self.seconds, 3),
            "folder": self.folder,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. `command`: what was typed, without phases and seed; `determinism`: see `repeating.repeat_epochs`.

    `stand_ins`: by step, what was used in the place of a system that is not touched.
    """

    flow: str
    env: str
    seed: int
    command: Sequence[str]
    baseline: Baseline
    verdicts: Sequence[Verdict]
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    determinism: Mapping[str, Any] | None = None

    @property
    def failed(self) -> list[Verdict]:
        """The phases that failed."""
        return [verdict for verdict in self.verdicts if verdict.outcome is Outcome.FAILED]

    def repeat(self, verdict: Verdict) -> str:
        """The command that does a phase again."""
        return shlex.join([*self.command, "--seed", str(self.seed), "--phases", verdict.phase])

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "flow": self.flow,
            "env": self.env,
            "seed": self.seed,
            "passed": not self.failed,
            "baseline": {
                "epochs": self.baseline.epochs,
                "rows_in": self.baseline.rows_in,
                "rows": self.baseline.rows,
                "dead_letters": self.baseline.letters,
                "late": self.baseline.late,
                "seconds": round(self.baseline.seconds, 3),
                "inputs": {step: {"rows": rows, "of": of} for step, (rows, of) in self.baseline.inputs.items()},
            },
            "stand_ins": dict(self.stand_ins),
            "determinism": None if self.determinism is None else dict(self.determinism),
            "phases": [{**verdict.as_json(), "repeat": self.repeat(verdict)} for verdict in self.verdicts],
        }
