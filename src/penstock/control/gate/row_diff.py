"""What one sink got from the old and from the new version over the same epochs, compared row by row: a plain value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["DELETED", "UNKNOWN", "ColumnDiff", "RowDiff"]

DELETED = "(deleted)"
"""Stands for a column where one version deleted a key and the other one wrote it."""
UNKNOWN = "(unknown)"
"""Stands for the columns of a row that differs, where its values were no longer kept."""

_COUNTS = (
    *("rows_old", "rows_new", "equal", "changed", "only_old", "only_new"),
    *("edge_old", "edge_new", "deleted_old", "deleted_new"),
)


@dataclass(frozen=True, slots=True)
class ColumnDiff:
    """How the columns differ. Types are Polars' names of them.

    `retyped`: column -> (old type, new type). `uncompared`: those of `retyped` whose values can't be compared.
    """

    added: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    retyped: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    uncompared: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that differ."""
        return (*self.added, *self.removed, *self.retyped)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "added": dict(self.added),
            "removed": dict(self.removed),
            "retyped": {name: list(types) for name, types in self.retyped.items()},
            "uncompared": list(self.uncompared),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> ColumnDiff:
        """Back from `as_json`."""
        return ColumnDiff(
            added=dict(values.get("added", {})),
            removed=dict(values.get("removed", {})),
            retyped={name: (types[0], types[1]) for name, types in values.get("retyped", {}).items()},
            uncompared=tuple(values.get("uncompared", ())),
        )


@dataclass(frozen=True, slots=True)
class RowDiff:
    """The rows of one sink from two versions. `rows_old == equal + changed + only_old`, and so for new.

    Append (`key` is empty): rows are compared as multisets over the whole window, so a row that the new version emits
    an epoch later is equal. Which row became which is not known there: rows are paired up that agree in enough columns
    to be the same one (`penstock.control.gate.pairing` says how). Upsert: a row is what a version did last to a key in
    the window, a write or a delete.

    `changes`: which columns differ together -> how many of the changed rows. `edge_old`, `edge_new`: how many of
    `only_old`, `only_new` lie in the first or the last epoch of the window: perhaps only early or late. `deleted_old`,
    `deleted_new`: how many rows of each are deletes. `samples`: `changed`, `only_old`, `only_new`, JSON values.
    `epochs`: first and last compared. `in_old`, `in_new`: whether that version writes this sink at all. `limits`:
    sentences on what these counts do not know; not `complete`: the comparison ended before the window did.
    """

    sink: str
    key: tuple[str, ...] = ()
    rows_old: int = 0
    rows_new: int = 0
    equal: int = 0
    changed: int = 0
    changes: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    only_old: int = 0
    only_new: int = 0
    edge_old: int = 0
    edge_new: int = 0
    deleted_old: int = 0
    deleted_new: int = 0
    columns: ColumnDiff = field(default_factory=ColumnDiff)
    samples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    epochs: tuple[int, int] | None = None
    in_old: bool = True
    in_new: bool = True
    tolerance: float = 0.0
    limits: tuple[str, ...] = ()
    complete: bool = True

    @property
    def changed_by_column(self) -> dict[str, int]:
        """How many rows differ in each column, most first. A row counts once for each of its columns."""
        found: Counter[str] = Counter()
        for names, rows in self.changes.items():
            found.update(dict.fromkeys(names, rows))
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def rows(self) -> int:
        """How many rows were compared: those of the larger side."""
        return max(self.rows_old, self.rows_new)

    @property
    def is_equal(self) -> bool:
        """Whether old and new can't be told apart: rows, columns, and nothing that is not known."""
        return not (self.changed or self.only_old or self.only_new or self.columns.names or self.limits)

    def changed_outside(self, allowed: Collection[str]) -> int:
        """How many rows changed in another column than `allowed`."""
        return sum(rows for names, rows in self.changes.items() if not set(names) <= set(allowed))

    def without_samples(self) -> RowDiff:
        """The same without any values of rows: for who may not see them."""
        return replace(self, samples={})

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values, with `changed_by_column` for who reads it."""
        return {
            "sink": self.sink,
            "key": list(self.key),
            "rows_old": self.rows_old,
            "rows_new": self.rows_new,
            "equal": self.equal,
            "changed": self.changed,
            "changed_by_column": self.changed_by_column,
            "changes": [{"columns": list(names), "rows": rows} for names, rows in self.changes.items()],
            "only_old": self.only_old,
            "only_new": self.only_new,
            "edge_old": self.edge_old,
            "edge_new": self.edge_new,
            "deleted_old": self.deleted_old,
            "deleted_new": self.deleted_new,
            "columns": self.columns.as_json(),
            "samples": {name: [dict(sample) for sample in found] for name, found in self.samples.items()},
            "epochs": None if self.epochs is None else list(self.epochs),
            "in_old": self.in_old,
            "in_new": self.in_new,
            "tolerance": self.tolerance,
            "limits": list(self.limits),
            "complete": self.complete,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> RowDiff:
        """Back from `as_json`."""
        epochs = values.get("epochs")
        return RowDiff(
            sink=values["sink"],
            key=tuple(values.get("key", ())),
            **{name: int(values.get(name, 0)) for name in _COUNTS},
            changes={tuple(entry["columns"]): int(entry["rows"]) for entry in values.get("changes", ())},
            columns=ColumnDiff.from_json(values.get("columns", {})),
            samples=dict(values.get("samples", {})),
            epochs=None if epochs is None else (epochs[0], epochs[1]),
            in_old=values.get("in_old", True),
            in_new=values.get("in_new", True),
            tolerance=values.get("tolerance", 0.0),
            limits=tuple(values.get("limits", ())),
            complete=values.get("complete", True),
        )
