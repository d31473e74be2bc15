"""What an epoch changed in a flow's tables of state, and what such a table is when all changes are folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import polars as pl

from penstock.errors import LedgerError
from penstock.ledger.failures import permanent

__all__ = ["Segment", "TableChange", "TableImage", "TableKind"]

TableKind: TypeAlias = Literal["keyed", "log"]
"""keyed: rows have a key and are put in place. log: rows are appended."""


@dataclass(frozen=True, slots=True)
class TableChange:
    """What one epoch (or several, merged) did to one table.

    keyed: `upserts` are rows put in place of those with the same key, `deletes` (the key columns only) are keys that
    go; where a key is in both, the row stays. log: `appends` are rows behind the others. Nulls and NaN are keys like
    any other.
    `expiry` names an integer column (microseconds): rows whose value is <= `horizon` are gone; a null never ends. The
    horizon only grows; None leaves it where it was. `scalars` replace earlier values of the same names.
    """

    name: str
    kind: TableKind
    key: tuple[str, ...] = ()
    upserts: pl.DataFrame | None = None
    deletes: pl.DataFrame | None = None
    appends: pl.DataFrame | None = None
    expiry: str | None = None
    horizon: int | None = None
    scalars: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise permanent(LedgerError(f"the change of state table {self.name!r} {problem}"))

    @property
    def parts(self) -> Mapping[str, pl.DataFrame]:
        """The frames that are there, by role, in the order in which they apply."""
        roles = {"deletes": self.deletes, "upserts": self.upserts, "appends": self.appends}
        return {role: frame for role, frame in roles.items() if frame is not None}


def _problem(change: TableChange) -> str | None:
    rows = change.appends if change.kind == "log" else change.upserts
    if change.kind == "keyed":
        if not change.key:
            return "is keyed but names no key"
        if change.appends is not None:
            return "is keyed but appends rows"
        if change.deletes is not None and set(change.deletes.columns) != set(change.key):
            return f"deletes by {change.deletes.columns}, and its key is {list(change.key)}"
        missing = [name for name in change.key if rows is not None and name not in rows.columns]
        if missing:
            return f"has rows without the key column {missing[0]!r}"
    elif change.upserts is not None or change.deletes is not None:
        return "is a log but puts or deletes rows"
    if rows is not None and change.expiry is not None:
        dtype = rows.schema.get(change.expiry)
        if dtype is None or not dtype.is_integer():
            return f"has no integer column {change.expiry!r} to expire by"
    return None


@dataclass(frozen=True, slots=True)
class TableImage:
    """A table of state as it is after some epoch: every change before it folded. The order of keyed rows is any."""

    name: str
    kind: TableKind
    key: tuple[str, ...]
    rows: pl.DataFrame
    expiry: str | None = None
    horizon: int | None = None
    scalars: Mapping[str, Any] = field(default_factory=dict)

    def as_change(self) -> TableChange:
        """The change that makes this table out of nothing, for a segment that holds a whole state."""
        rows = self.rows if self.rows.width else None
        return TableChange(
            self.name,
            self.kind,
            self.key,
            upserts=rows if self.kind == "keyed" else None,
            appends=rows if self.kind == "log" else None,
            expiry=self.expiry,
            horizon=self.horizon,
            scalars=self.scalars,
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """The changes of the epochs first..last; `whole`: everything, nothing before it counts (then `first` is 0)."""

    first: int
    last: int
    whole: bool
    tables: Sequence[TableChange]
