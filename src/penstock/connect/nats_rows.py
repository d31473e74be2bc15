"""What a message of the NATS sink says of itself in its headers: a row of an epoch, or a correction of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.connect.nats_stream import Stored

__all__ = ["CORRECTION_HEADER", "RETRACTED", "Correction", "Newest", "Row"]

CORRECTION_HEADER = "Penstock-Correction"
RETRACTED = b"Penstock-Correction: retract"
"""How the headers of a message say that a row that was published earlier is none any more."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of an epoch, as a message. `before`: the newest message of the subject before its epoch began."""

    sequence: int
    epoch: int
    generation: int
    index: int
    before: int
    digest: str

    @classmethod
    def of(cls, stored: Stored) -> Row | None:
        """The row in a message; None where it is none of ours, or a correction."""
        found = stored.headers
        if "Penstock-Index" not in found or CORRECTION_HEADER in found:
            return None
        return cls(
            stored.sequence,
            int(found["Penstock-Epoch"]),
            int(found["Penstock-Generation"]),
            int(found["Penstock-Index"]),
            int(found["Penstock-Before"]),
            found["Penstock-Digest"],
        )

    @property
    def spelled(self) -> str:
        """The row as a correction that follows it carries it along."""
        return f"{self.sequence} {self.epoch} {self.generation} {self.index} {self.before} {self.digest}"

    @classmethod
    def spelled_in(cls, headers: Mapping[str, str]) -> Row | None:
        """The row that a correction carries along."""
        words = headers.get("Penstock-Row", "").split()
        if not words:
            return None
        sequence, epoch, generation, index, before = (int(word) for word in words[:5])
        return cls(sequence, epoch, generation, index, before, words[5])


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction of an epoch, as a message.

    `run` names the call that published it: the first epoch that it was about, the first of them that differed, and how.
    `before`: the newest message of the subject before that call began. `index` counts the corrections of the epoch,
    `digest` says what was wrong and right in it. `row`: the newest row that is no correction.
    """

    sequence: int
    epoch: int
    generation: int
    index: int
    before: int
    digest: str
    run: str
    row: Row | None

    @classmethod
    def of(cls, stored: Stored) -> Correction | None:
        """The correction in a message; None where it is none."""
        found = stored.headers
        if CORRECTION_HEADER not in found:
            return None
        return cls(
            stored.sequence,
            int(found["Penstock-Epoch"]),
            int(found["Penstock-Generation"]),
            int(found["Penstock-Index"]),
            int(found["Penstock-Before"]),
            found["Penstock-Digest"],
            found["Penstock-Run"],
            Row.spelled_in(found),
        )


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest messages of a subject: the last row, and the last of all where that is a correction."""

    sequence: int = 0
    generation: int = 0
    row: Row | None = None
    correction: Correction | None = None

    @classmethod
    def of(cls, stored: Stored | None) -> Newest:
        """What the newest message says."""
        if stored is None:
            return cls()
        correction = Correction.of(stored)
        if correction is not None:
            return cls(stored.sequence, correction.generation, correction.row, correction)
        row = Row.of(stored)
        return cls(stored.sequence, row.generation if row is not None else 0, row)
