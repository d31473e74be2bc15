"""Which column of a new table of state is which of the old one: by meaning where there is one, else by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from penstock.analysis.column_types import is_wider
from penstock.analysis.faults import type_text
from penstock.analysis.state_layout import StateColumn, StateLayout
from penstock.errors import did_you_mean

__all__ = ["ColumnChange", "ColumnVerdict", "Lack", "match_columns"]

ColumnChange: TypeAlias = Literal["same", "renamed", "widened", "added", "dropped", "meaning-changed", "retyped"]


@dataclass(frozen=True, slots=True)
class ColumnVerdict:
    """What became of one column. `name`, `old_name`: in the state's files, empty where there is none.

    `default`: what rows that are there get, as text; empty: nothing was said. `before`, `after`: its type, or what it
    means, where that changed.
    """

    name: str
    old_name: str
    label: str
    change: ColumnChange
    default: str = ""
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        words = f"{self.label} {self.change}"
        if self.change in ("widened", "retyped", "meaning-changed"):
            words += f" from {self.before} to {self.after}"
        return f"{words} ({self.default} for rows that are there)" if self.default else words


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a table does not fit by itself.

    `weight`: structure (the rows can't be read), meaning (the author may keep them), column (one needs a value).
    `columns`: what an author would give values for.
    """

    weight: Literal["structure", "meaning", "column"]
    reason: str
    columns: tuple[str, ...] = ()


def match_columns(
    old: StateLayout, new: StateLayout, given: Mapping[str, str]
) -> tuple[list[ColumnVerdict], list[Lack]]:
    """What became of each value column, and what is lacking.

    `given`: what the author says of new columns, by what they call them, as text.
    """
    pairs = _pairs(old, new)
    verdicts: list[ColumnVerdict] = []
    lacks: list[Lack] = []
    for column in new.values:
        was = pairs.get(column.name)
        verdict, lack = _added(column, given) if was is None else _paired(was, column, old, new, given)
        verdicts.append(verdict)
        lacks += [lack] if lack is not None else []
    lacks += _mixed(new, {verdict.name: verdict for verdict in verdicts})
    taken = {was.name for was in pairs.values()}
    verdicts += [
        ColumnVerdict("", column.name, column.shown, "dropped") for column in old.values if column.name not in taken
    ]
    return verdicts, lacks


def _pairs(old: StateLayout, new: StateLayout) -> dict[str, StateColumn]:
    """New column -> the old column that it goes on from."""
    free = {column.name: column for column in old.values}
    found: dict[str, StateColumn] = {}

    def take(column: StateColumn, was: StateColumn | None) -> None:
        if was is not None:
            found[column.name] = free.pop(was.name)

    for column in new.values:
        if column.role != "partial":
            take(column, free.get(column.name))
    partials = [column for column in new.values if column.role == "partial"]
    for column in partials:
        take(column, next((was for was in free.values() if _means_the_same(was, column, old, new)), None))
    for column in partials:
        if column.name not in found:  # the same result by another expression; its old value may be needed twice
            before = [was for was in (*free.values(), *old.values) if _stands_for(was, column)]
            found.update({column.name: before[0]} if before else {})
    return found


def _means_the_same(was: StateColumn, column: StateColumn, old: StateLayout, new: StateLayout) -> bool:
    if was.role != "partial" or was.merge != column.merge:
        return False
    # Another version of Polars may write the same expression otherwise; people read it the same.
    return was.meaning == column.meaning or (old.dialect != new.dialect and was.text == column.text)


def _stands_for(was: StateColumn, column: StateColumn) -> bool:
    return was.role == "partial" and was.shown == column.shown and bool(set(was.results) & set(column.results))


def _paired(
    was: StateColumn,
    column: StateColumn,
    old: StateLayout,
    new: StateLayout,
    given: Mapping[str, str],
) -> tuple[ColumnVerdict, Lack | None]:
    label = column.shown
    types = (type_text(was.dtype), type_text(column.dtype))
    fits = was.dtype == column.dtype or is_wider(column.dtype, was.dtype)
    if column.role == "partial" and not _means_the_same(was, column, old, new):
        if _given(column, given) is not None:
            return _added(column, given)
        verdict = ColumnVerdict(column.name, was.name, label, "meaning-changed", before=was.text, after=column.text)
        if was.merge == column.merge and fits:
            reason = f"{label!r} was {was.text}, it is {column.text} now"
            return verdict, Lack("meaning", reason, column.results)
        reason = f"{label!r} was {was.text} ({types[0]}), it is {column.text} ({types[1]}) now"
        return verdict, Lack("column", reason, column.results)
    if not fits or (label in given and was.dtype != column.dtype):
        default = given.get(label)
        verdict = ColumnVerdict(column.name, was.name, label, "retyped", default or "", *types)
        reason = f"column {label!r} was {types[0]}, and {types[1]} does not hold all of its values"
        return verdict, None if default is not None else Lack("column", reason, (label,))
    if was.dtype != column.dtype:
        return ColumnVerdict(column.name, was.name, label, "widened", "", *types), None
    change: ColumnChange = "same" if was.name == column.name else "renamed"
    return ColumnVerdict(column.name, was.name, label, change), None


def _given(column: StateColumn, given: Mapping[str, str]) -> str | None:
    """What the author says of a column: by its own name, or by that of a result that needs it."""
    if column.shown in given:
        return given[column.shown]
    return next((given[name] for name in column.results if name in given), None)


def _added(column: StateColumn, given: Mapping[str, str]) -> tuple[ColumnVerdict, Lack | None]:
    label = column.shown
    default = _given(column, given)
    if column.role == "own":
        return ColumnVerdict(column.name, "", label, "added"), Lack("structure", f"the state has no {label} yet")
    if column.role == "state":
        return ColumnVerdict(column.name, "", label, "added", default or "None"), None
    if default is None:
        names = column.results if column.role == "partial" else (label,)
        what = f"result {', '.join(map(repr, names))} needs {column.text}" if column.role == "partial" else repr(label)
        close = "".join(did_you_mean(name, list(given)) for name in names)
        reason = f"{what}, which rows that are there don't have" + (f".{close}" if close else "")
        return ColumnVerdict(column.name, "", label, "added"), Lack("column", reason, names)
    if default != "None" and column.role == "partial" and (label not in column.results or column.empty == "list"):
        reason = f"{label!r} is one of several values that are kept for {', '.join(map(repr, column.results))}: "
        lack = Lack("column", f"{reason}None is the only value for it in columns=", column.results)
        return ColumnVerdict(column.name, "", label, "added", default), lack
    return ColumnVerdict(column.name, "", label, "added", default), None


def _mixed(new: StateLayout, verdicts: Mapping[str, ColumnVerdict]) -> list[Lack]:
    """Results that would be made of a column with a past and one without: a mean of all sums by new counts is none."""
    lacks = []
    partials = [column for column in new.values if column.role == "partial"]
    for result in dict.fromkeys(name for column in partials for name in column.results):
        parts = [column for column in partials if result in column.results]
        fresh = [column for column in parts if verdicts[column.name].change == "added"]
        if fresh and len(fresh) < len(parts) and all(verdicts[column.name].default == "None" for column in fresh):
            with_past = next(column for column in parts if column not in fresh)
            reason = (
                f"{result!r} is made of {with_past.shown!r}, which goes back to the first row, and of "
                f"{fresh[0].shown!r}, which would begin now: it would be neither"
            )
            lacks.append(Lack("structure", reason))
    return lacks
