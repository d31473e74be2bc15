"""Expectations on rows, as frozen values; the engine counts who keeps them and who does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Check", "OnFail", "between", "matches", "not_null", "one_of", "that", "unique"]

OnFail: TypeAlias = Literal["warn", "dead_letter", "stop"]
"""`warn`: count them and go on. `dead_letter`: take the rows out. `stop`: do not commit the epoch, hold the flow."""


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One expectation: `kind` and its arguments; `name` is what the ledger and the metrics call it."""

    kind: str
    name: str
    columns: tuple[str, ...] = ()
    arguments: tuple[Any, ...] = ()


def not_null(*columns: str) -> Check:
    """Every one of `columns` has a value."""
    return Check("not_null", f"not_null({', '.join(columns)})", columns)


def unique(*columns: str) -> Check:
    """No two rows of one epoch have the same values in `columns`."""
    return Check("unique", f"unique({', '.join(columns)})", columns)


def between(column: str, low: Any, high: Any) -> Check:
    """`low <= column <= high`; rows without a value pass (say `not_null` too)."""
    return Check("between", f"between({column}, {low}, {high})", (column,), (low, high))


def one_of(column: str, values: Sequence[Any]) -> Check:
    """The value is one of `values`; rows without a value pass."""
    return Check("one_of", f"one_of({column})", (column,), (tuple(values),))


def matches(column: str, pattern: str) -> Check:
    """The text matches a regular expression (Rust's syntax, as in Polars); rows without a value pass."""
    return Check("matches", f"matches({column}, {pattern})", (column,), (pattern,))


def that(predicate: Any, *, name: str) -> Check:
    """A Polars expression that is true for a good row; null counts as kept, as in SQL's CHECK."""
    return Check("that", name, (), (predicate,))
