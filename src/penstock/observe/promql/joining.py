"""Two vectors to one: arithmetic, comparisons and set operations, with Prometheus's rules of which series meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from penstock.errors import QueryError
from penstock.observe.promql.series import NAME, Flags, Floats, Vector, label_key

__all__ = ["ARITHMETIC", "COMPARISONS", "Meeting", "joined", "set_joined", "with_scalar"]

Key: TypeAlias = tuple[tuple[str, str], ...]
Row: TypeAlias = tuple[Mapping[str, str], Floats]

ARITHMETIC: Mapping[str, Callable[[Floats, Floats], Floats]] = MappingProxyType(
    {
        "+": np.add,
        "-": np.subtract,
        "*": np.multiply,
        "/": np.divide,
        "%": np.fmod,
        "^": np.power,
        "atan2": np.arctan2,
    }
)
COMPARISONS: Mapping[str, Callable[[Floats, Floats], Flags]] = MappingProxyType(
    {
        "==": np.equal,
        "!=": np.not_equal,
        ">": np.greater,
        "<": np.less,
        ">=": np.greater_equal,
        "<=": np.less_equal,
    }
)


@dataclass(frozen=True, slots=True)
class Meeting:
    """How series meet. `on`: by `labels` only, else by all but these. `many`: which side may have several, `left` or
    `right`; `included`: the labels that it takes from the other side.
    """

    labels: tuple[str, ...] = ()
    on: bool = False
    many: str = ""
    included: tuple[str, ...] = ()

    def key(self, labels: Mapping[str, str]) -> Key:
        """What is equal for two series that meet."""
        if self.on:
            return label_key({name: labels.get(name, "") for name in self.labels})
        return label_key({name: value for name, value in labels.items() if name not in (*self.labels, NAME)})


def with_scalar(operator: str, vector: Vector, scalar: Floats, *, scalar_first: bool, as_bool: bool) -> Vector:
    """Each value with a number; a comparison leaves the values for which it holds, or says 0 or 1."""
    return Vector(tuple(_scalar_row(operator, row, scalar, scalar_first, as_bool) for row in vector.rows))


def _scalar_row(operator: str, row: Row, scalar: Floats, scalar_first: bool, as_bool: bool) -> Row:  # noqa: FBT001
    labels, values = row
    left, right = (scalar, values) if scalar_first else (values, scalar)
    return _result(operator, labels, left, right, kept=values, as_bool=as_bool)


def _result(
    operator: str, labels: Mapping[str, str], left: Floats, right: Floats, *, kept: Floats, as_bool: bool
) -> Row:
    """The value of an operator where both sides have one."""
    there = ~(np.isnan(left) | np.isnan(right))
    nameless = {name: value for name, value in labels.items() if name != NAME}
    with np.errstate(all="ignore"):  # a division by zero is infinite or not a number, and no reason to stop
        if operator in ARITHMETIC:
            return nameless, np.where(there, ARITHMETIC[operator](left, right), np.nan)
        holds = COMPARISONS[operator](left, right)
    if as_bool:
        return nameless, np.where(there, holds.astype(np.float64), np.nan)
    return labels, np.where(there & holds, kept, np.nan)


def joined(operator: str, left: Vector, right: Vector, meeting: Meeting, *, as_bool: bool) -> Vector:
    """The values of series that meet. Raises QueryError where one meets several and neither side may."""
    many, one = (right, left) if meeting.many == "right" else (left, right)
    partners = {key: _merged(rows, meeting) for key, rows in _by_key(one, meeting).items()}
    rows: list[Row] = []
    met: dict[Key, Flags] = {}
    for labels, values in many.rows:
        key = meeting.key(labels)
        if key not in partners:
            continue
        other_labels, other = partners[key]
        if not meeting.many:
            there = ~(np.isnan(values) | np.isnan(other))
            if key in met and (met[key] & there).any():
                raise _many(meeting, key)
            met[key] = met.get(key, np.zeros(len(values), bool)) | there
        first, second = (other, values) if meeting.many == "right" else (values, other)
        named = _joined_labels(labels, other_labels, meeting)
        rows.append(_result(operator, named, first, second, kept=first, as_bool=as_bool))
    return Vector(tuple(rows))


def _joined_labels(many: Mapping[str, str], one: Mapping[str, str], meeting: Meeting) -> Mapping[str, str]:
    if not meeting.many:
        if meeting.on:
            return {name: value for name, value in many.items() if name in meeting.labels}
        return {name: value for name, value in many.items() if name not in meeting.labels}
    taken = {name: one.get(name, "") for name in meeting.included}
    return {name: value for name, value in {**many, **taken}.items() if value}


def _by_key(vector: Vector, meeting: Meeting) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = {}
    for labels, values in vector.rows:
        found.setdefault(meeting.key(labels), []).append((labels, values))
    return found


def _merged(rows: Sequence[Row], meeting: Meeting) -> Row:
    """One row of several that are there at different times. Raises QueryError where two are there at once."""
    labels, values = rows[0]
    for further, others in rows[1:]:
        if (~np.isnan(values) & ~np.isnan(others)).any():
            raise _many(meeting, meeting.key(further))
        values = np.where(np.isnan(values), others, values)
    return labels, values


def _many(meeting: Meeting, key: Key) -> QueryError:
    shown = ", ".join(f'{name}="{value}"' for name, value in key) or "no labels"
    hint = "aggregate one side, or let it have several by group_left or group_right"
    if not meeting.many:
        return QueryError(f"several series of one side have {shown} in common with the other", hint=hint)
    return QueryError(f"several series of the side that may have one only have {shown}", hint=hint)


def set_joined(operator: str, left: Vector, right: Vector, meeting: Meeting) -> Vector:
    """`and`, `or`, `unless`: the series of one side by whether the other has one, at each time."""
    there = {key: _any(rows) for key, rows in _by_key(right, meeting).items()}
    if operator == "or":
        mine = {key: _any(rows) for key, rows in _by_key(left, meeting).items()}
        further = [(labels, _unless(values, mine.get(meeting.key(labels)))) for labels, values in right.rows]
        return Vector((*left.rows, *further))
    if operator == "unless":
        return Vector(tuple((labels, _unless(values, there.get(meeting.key(labels)))) for labels, values in left.rows))
    return Vector(
        tuple(
            (labels, np.where(there[meeting.key(labels)], values, np.nan))
            for labels, values in left.rows
            if meeting.key(labels) in there
        )
    )


def _any(rows: Sequence[Row]) -> Flags:
    found: Flags = np.logical_or.reduce([~np.isnan(values) for _, values in rows])
    return found


def _unless(values: Floats, there: Flags | None) -> Floats:
    return values if there is None else np.where(there, np.nan, values)
