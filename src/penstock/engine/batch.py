"""What flows between steps in one epoch, and what is written down about it on the way."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from typing import Any, TypeAlias

import polars as pl

from penstock.engine.step_times import StepTimes
from penstock.flow import Recorder
from penstock.ledger import DeadLetter

__all__ = ["BEGINNING_US", "END_US", "Batch", "Epoch", "Watermarks", "row_json", "signature_of"]

_PAYLOAD_CHARS = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The rows that a step gives in an epoch. `retracted`: rows of earlier epochs that these replace (changelog)."""

    rows: pl.DataFrame
    retracted: pl.DataFrame | None = None


BEGINNING_US = -(1 << 62)
"""The watermark of a stream with event time that saw nothing yet."""
END_US = (1 << 62) - 1
"""The watermark after the last row there will ever be; also the expiry of what never goes."""


@dataclass(frozen=True, slots=True)
class Watermarks:
    """The watermark of a step before and after an epoch (microseconds); None: the stream has no event time."""

    before_us: int | None
    after_us: int | None

    def expiry_us(self, ttl_us: int | None, epoch: Epoch) -> int | None:
        """When state that was touched in this epoch goes: in event time where the stream has it; None without a TTL."""
        if ttl_us is None:
            return None
        now_us = epoch.now_us if self.after_us is None else self.after_us
        return END_US if now_us == BEGINNING_US else min(now_us + ttl_us, END_US)

    def past_us(self, epoch: Epoch) -> int:
        """Up to which time state may be forgotten."""
        return epoch.now_us if self.after_us is None else self.after_us


Mark: TypeAlias = tuple[int, int, int, dict[str, int], Mapping[str, Any] | None]
"""Where the notes of an epoch stood: letters, dead and late rows, parts of late rows by step, metrics."""


@dataclass(slots=True)
class Epoch:
    """One run of one epoch: its own clock and seed, and what was noted: dead letters, late rows, checks."""

    epoch: int
    now_us: int
    seed: int
    version: str
    dead: list[DeadLetter] = field(default_factory=list)
    rows_dead: int = 0
    rows_late: int = 0
    late: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    at_step: str | None = None
    """The step that runs, or ran last."""
    times: StepTimes | None = None
    """Where it is noted how long each step takes."""
    recorder: Recorder | None = None
    """Where the author's own metrics go."""

    def enter(self, step: str | None, fused: Sequence[str] = ()) -> None:
        """It is this step's turn; with `fused` that of all these, in one query of which this is the last."""
        self.at_step = step
        if self.times is not None:
            self.times.enter(fused or (() if step is None else (step,)))

    def dead_row(
        self, step: str, error: BaseException | str, payload: str, offset: Mapping[str, Any] | None = None
    ) -> None:
        """Note a row that a step could not take."""
        self.rows_dead += 1
        kind = error if isinstance(error, str) else type(error).__name__
        message = error if isinstance(error, str) else str(error) or type(error).__name__
        self.dead.append(
            DeadLetter(
                epoch=self.epoch,
                step=step,
                error=kind if not isinstance(error, str) else "Reject",
                message=message[:2000],
                signature=signature_of(step, kind if not isinstance(error, str) else "Reject", message),
                payload=payload[:_PAYLOAD_CHARS],
                offset=offset or {},
                version=self.version,
            )
        )

    def mark(self) -> Mark:
        """Where the notes stand, for `back_to`."""
        parts = {step: len(parts) for step, parts in self.late.items()}
        counted = None if self.recorder is None else self.recorder.mark()
        return len(self.dead), self.rows_dead, self.rows_late, parts, counted

    def back_to(self, mark: Mark) -> None:
        """Forget what was noted since `mark`: the step is done again."""
        letters, self.rows_dead, self.rows_late, parts, counted = mark
        if self.recorder is not None and counted is not None:
            self.recorder.back_to(counted)
        del self.dead[letters:]
        for step, frames in self.late.items():
            del frames[parts.get(step, 0) :]

    def late_rows(self, step: str, rows: pl.DataFrame) -> None:
        """Note rows that came after the watermark."""
        if rows.height:
            self.rows_late += rows.height
            self.late.setdefault(step, []).append(rows)

    def check(self, name: str, *, passed: int, failed: int, samples: Sequence[str] = ()) -> None:
        """Note how many rows kept an expectation."""
        entry = self.checks.setdefault(name, {"passed": 0, "failed": 0})
        entry["passed"] += passed
        entry["failed"] += failed
        if samples:
            entry.setdefault("samples", []).extend(samples[: 3 - len(entry.get("samples", []))])


_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")


def signature_of(step: str, kind: str, message: str) -> str:
    """A text that is the same for errors of one cause: the step, the kind, the message without its values."""
    plain = _NUMBERS.sub("#", _QUOTED.sub("'…'", message.splitlines()[0] if message else ""))
    return f"{step}: {kind}: {plain[:200]}"


def row_json(row: Mapping[str, Any]) -> str:
    """A row as JSON text; values that JSON does not know become text, times that of ISO 8601, spans microseconds."""
    return json.dumps(dict(row), default=_plain_value, ensure_ascii=False)


def _plain_value(value: object) -> str | int:
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
