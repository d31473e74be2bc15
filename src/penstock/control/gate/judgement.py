"""What a gate or a watch comes to: reasons against going on, as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Judgement", "Reason"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that speaks against a new version.

    `kind`: state, error, sink, columns, rows, nothing-compared, checks, dead-letters, speed, freshness, determinism.
    `final`: nobody can wave it through.
    """

    kind: str
    text: str
    sink: str = ""
    final: bool = False

    def __str__(self) -> str:
        return self.text

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"kind": self.kind, "text": self.text, "sink": self.sink, "final": self.final}


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a new version may go on by the policy; if not, why, and whether a person may say otherwise.

    `needs_person`: somebody has to say yes, passed or not. Neither passed nor a person needed: it is refused. `notes`:
    what is worth knowing and speaks against nothing.
    """

    passed: bool
    reasons: tuple[Reason, ...] = ()
    needs_person: bool = False
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether this is the end of it."""
        return not self.passed and not self.needs_person

    @property
    def outcome(self) -> str:
        """`passed`, `passed, somebody has to say yes`, `somebody has to decide` or `refused`, for a sentence."""
        if self.passed:
            return "passed, somebody has to say yes" if self.needs_person else "passed"
        return "somebody has to decide" if self.needs_person else "refused"

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values: `reasons` are sentences, `details` the same with kind and sink."""
        return {
            "passed": self.passed,
            "needs_person": self.needs_person,
            "refused": self.refused,
            "reasons": [reason.text for reason in self.reasons],
            "details": [reason.as_json() for reason in self.reasons],
            "notes": list(self.notes),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Judgement:
        """Back from `as_json`."""
        details: Sequence[Mapping[str, Any]] = values.get("details", ())
        return Judgement(
            passed=bool(values["passed"]),
            reasons=tuple(
                Reason(entry["kind"], entry["text"], entry.get("sink", ""), bool(entry.get("final")))
                for entry in details
            ),
            needs_person=bool(values.get("needs_person")),
            notes=tuple(values.get("notes", ())),
        )
