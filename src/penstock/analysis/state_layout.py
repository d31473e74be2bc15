"""What a flow remembers, table by table: which columns, of which types, and what they mean.

The engine tells it of a compiled flow (`Program.layout`); it is kept with each version, so that two versions can be
held against each other without running either. A column is known by its *meaning*, not by its name: partial results
of aggregates are numbered as they come.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

import polars as pl

from penstock.analysis.column_types import type_from_json, type_json

__all__ = [
    "ColumnRole",
    "Empty",
    "IfChanged",
    "StateColumn",
    "StateFact",
    "StateLayout",
    "layouts_from_json",
    "layouts_json",
    "meaning_of",
    "reads_as",
    "state_fingerprint",
]

ColumnRole: TypeAlias = Literal["key", "row", "partial", "state", "own"]
"""key: names a row. row: a column of the rows that came in. partial: a partial result of an aggregate. state: declared
by the author's own function. own: the operator's, such as a count of rows or a time."""

IfChanged: TypeAlias = Literal["structure", "meaning", "grows", "time", "nothing"]
"""What a fact that differs does to rows that are there. structure: they can't be read. meaning: they mean something
else. grows: where the new number is larger, some rows were never kept; where it is smaller, the rest goes. time: they
go sooner or later. nothing: it is worth telling."""

_VERSION = 1

Empty: TypeAlias = Literal["", "zero", "null", "list"]


@dataclass(frozen=True, slots=True)
class StateColumn:
    """One column of a table of state.

    `name`: in the state's files. `label`: what the author calls it. `meaning`: a fingerprint of what gives it its
    meaning, where the name does not; `text` says it. `merge`: how partial results are put together (`sum`, `max`).
    `results`: the columns of the step's results that need it. `empty`: what a partial result is before any row.
    """

    name: str
    dtype: pl.DataType
    role: ColumnRole
    label: str = ""
    meaning: str = ""
    text: str = ""
    merge: str = ""
    results: tuple[str, ...] = ()
    empty: Empty = ""

    @property
    def shown(self) -> str:
        """What an author calls it."""
        return self.label or self.name


@dataclass(frozen=True, slots=True)
class StateFact:
    """Something that all rows of a table hang on: the size of a window, the n of a top-n. `value`: a JSON value."""

    name: str
    value: Any
    if_changed: IfChanged
    text: str = ""

    @property
    def shown(self) -> str:
        """The value as the author wrote it."""
        return self.text or str(self.value)


@dataclass(frozen=True, slots=True)
class StateLayout:
    """One table of state.

    `part`: which of a step's tables it is, empty for its own. `kind`: as in the state store. `operator`: the operation
    that keeps it. `expires`: whether rows carry a time at which they go; it is `expires_base` (a column; empty: when
    they were touched last) plus `expires_after_us` (None: never). `dialect`: whose expressions the meanings are of.
    """

    table: str
    step: str
    part: str
    kind: Literal["keyed", "log"]
    operator: str
    key: tuple[StateColumn, ...]
    values: tuple[StateColumn, ...]
    facts: tuple[StateFact, ...] = ()
    expires: bool = False
    expires_base: str = ""
    expires_after_us: int | None = None
    dialect: str = field(default_factory=lambda: f"polars {pl.__version__}")

    @property
    def columns(self) -> tuple[StateColumn, ...]:
        """Key and value columns."""
        return (*self.key, *self.values)

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """The names and types of the stored columns, without the time at which a row goes."""
        return {column.name: column.dtype for column in self.columns}

    def fact(self, name: str) -> StateFact | None:
        """The fact of this name."""
        return next((fact for fact in self.facts if fact.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "version": _VERSION,
            "table": self.table,
            "step": self.step,
            "part": self.part,
            "kind": self.kind,
            "operator": self.operator,
            "key": [_column_json(column) for column in self.key],
            "values": [_column_json(column) for column in self.values],
            "facts": [
                {"name": fact.name, "value": fact.value, "if_changed": fact.if_changed, "text": fact.text}
                for fact in self.facts
            ],
            "expires": self.expires,
            "expires_base": self.expires_base,
            "expires_after_us": self.expires_after_us,
            "dialect": self.dialect,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> StateLayout:
        """The layout of `as_json`. Fields that this program does not know are passed over."""
        return StateLayout(
            **{
                **_known(StateLayout, value),
                "key": tuple(_column(column) for column in value["key"]),
                "values": tuple(_column(column) for column in value["values"]),
                "facts": tuple(StateFact(**_known(StateFact, fact)) for fact in value["facts"]),
            }
        )


def layouts_json(layouts: Iterable[StateLayout]) -> list[dict[str, Any]]:
    """Layouts as JSON values."""
    return [layout.as_json() for layout in layouts]


def layouts_from_json(values: Iterable[Mapping[str, Any]]) -> tuple[StateLayout, ...]:
    """The layouts of `layouts_json`."""
    return tuple(StateLayout.from_json(value) for value in values)


def meaning_of(*parts: object) -> str:
    """A fingerprint of what gives a column its meaning."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def state_fingerprint(layouts: Sequence[StateLayout], step: str) -> str:
    """8 hexadecimal digits over all tables of a step but not its name: what `since=` of a migration gives."""
    own = [_essence(layout) for layout in layouts if layout.step == step]
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]


def reads_as(stored: StateLayout, layout: StateLayout) -> bool:
    """Whether rows that were stored as the one can be read as the other: the same columns, meaning the same."""
    same_words = stored.dialect == layout.dialect

    def columns(one: StateLayout) -> list[tuple[object, ...]]:
        return sorted((c.name, str(c.dtype), c.meaning if same_words else c.text) for c in one.columns)

    before, after = ((one.kind, [c.name for c in one.key], one.expires, columns(one)) for one in (stored, layout))
    return before == after


def _essence(layout: StateLayout) -> dict[str, Any]:
    """What makes a table what it is, without names that may change and words for people."""
    found = layout.as_json()
    for name in ("version", "table", "step", "dialect"):
        del found[name]
    for column in (*found["key"], *found["values"]):
        del column["text"]
    for fact in found["facts"]:
        del fact["text"]
    return found


def _column_json(column: StateColumn) -> dict[str, Any]:
    return {
        "name": column.name,
        "dtype": type_json(column.dtype),
        "role": column.role,
        "label": column.label,
        "meaning": column.meaning,
        "text": column.text,
        "merge": column.merge,
        "results": list(column.results),
        "empty": column.empty,
    }


def _column(value: Mapping[str, Any]) -> StateColumn:
    known = _known(StateColumn, value)
    return StateColumn(**{**known, "dtype": type_from_json(value["dtype"]), "results": tuple(value["results"])})


def _known(kind: type, value: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: found for name, found in value.items() if name in names}
