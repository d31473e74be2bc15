"""Plans and records of epochs as JSON text, in one canonical form: equal values give equal text.

Reading is tolerant both ways: a field that an older version did not write gets its default, one that a newer version
wrote is passed over. The time of the commit is a column beside the text, because only the ledger knows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields
from typing import Any

from penstock.errors import LedgerError
from penstock.ledger.contract import EpochPlan, EpochRecord, Rewrite, SegmentRef

__all__ = [
    "clean_text",
    "dump_json",
    "dump_plan",
    "dump_record",
    "dump_rewrite",
    "dump_segments",
    "load_plan",
    "load_record",
    "load_rewrite",
    "load_segments",
]

_PLAN = tuple(field.name for field in fields(EpochPlan))
_RECORD = tuple(field.name for field in fields(EpochRecord) if field.name != "committed_us")
_LATER = ("bytes_in", "bytes_out", "steps", "metrics")
"""Fields that came after version 1: left out where they are empty, so that the text is the one that version 1 wrote."""
_SEGMENT = tuple(field.name for field in fields(SegmentRef))
_REWRITE = tuple(field.name for field in fields(Rewrite))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} {value!r:.80} is not a JSON value")


def dump_json(value: object, *, what: str) -> str:
    """JSON in its canonical form: sorted keys, no spaces, ASCII (so it holds any character in any database).

    Raises LedgerError, naming `what`, for a value that JSON does not have (a date, NaN).
    """
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as problem:
        error = LedgerError(
            f"{what} can't be written as JSON: {problem}",
            state_left="nothing was written",
            hint="offsets, receipts and checks must be plain JSON values",
        )
        error.heals = False
        raise error from problem


def clean_text(text: str) -> str:
    r"""Text that every database can hold: NUL and lone surrogates, as garbage has them, become `\x00`, `\ud800`."""
    if "\x00" in text:
        text = text.replace("\x00", "\\x00")
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plan_values(plan: EpochPlan) -> dict[str, Any]:
    values = {name: getattr(plan, name) for name in _PLAN}
    if not plan.redrive:
        del values["redrive"]  # nearly all have none; and so the text is the one that version 1 wrote
    return values


def dump_plan(plan: EpochPlan) -> str:
    """A plan as canonical JSON. Raises LedgerError."""
    return dump_json(_plan_values(plan), what=f"the plan of epoch {plan.epoch}")


def load_plan(text: str) -> EpochPlan:
    """The plan that `dump_plan` wrote."""
    return _plan_of(json.loads(text))


def _plan_of(values: Mapping[str, Any]) -> EpochPlan:
    known = {name: values[name] for name in _PLAN if name in values}
    if "redrive" in known:
        known["redrive"] = tuple(known["redrive"])
    return EpochPlan(**known)


def dump_record(record: EpochRecord) -> str:
    """A record as canonical JSON, without the time of its commit. Raises LedgerError."""
    values = {name: getattr(record, name) for name in _RECORD}
    for name in _LATER:
        if not values[name]:
            del values[name]
    values["plan"] = _plan_values(record.plan)
    if record.segment is not None:
        values["segment"] = _segment_values(record.segment)
    return dump_json(values, what=f"the record of epoch {record.epoch}")


def load_record(text: str, committed_us: int) -> EpochRecord:
    """The record that `dump_record` wrote."""
    values = json.loads(text)
    known = {name: values[name] for name in _RECORD if name in values}
    known["plan"] = _plan_of(values["plan"])
    if known.get("segment") is not None:
        known["segment"] = _segment_of(known["segment"])
    return EpochRecord(**known, committed_us=committed_us)


def _segment_values(segment: SegmentRef) -> dict[str, Any]:
    return {name: getattr(segment, name) for name in _SEGMENT}


def _segment_of(values: Mapping[str, Any]) -> SegmentRef:
    return SegmentRef(**{name: values[name] for name in _SEGMENT})


def dump_segments(segments: Iterable[SegmentRef]) -> str:
    """The state files of a savepoint as canonical JSON."""
    return dump_json([_segment_values(segment) for segment in segments], what="the state files of a savepoint")


def load_segments(text: str) -> tuple[SegmentRef, ...]:
    """The state files that `dump_segments` wrote."""
    return tuple(_segment_of(values) for values in json.loads(text))


def dump_rewrite(rewrite: Rewrite) -> str:
    """A rewrite as canonical JSON."""
    return dump_json({name: getattr(rewrite, name) for name in _REWRITE}, what="an undo")


def load_rewrite(text: str) -> Rewrite:
    """The rewrite that `dump_rewrite` wrote."""
    values = json.loads(text)
    return Rewrite(**{name: values[name] for name in _REWRITE if name in values})
