"""A condition of SQL and the values that go with it. Values of a person are never part of the text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

__all__ = ["Condition", "Parameter", "all_of", "any_of", "negated", "never_null"]

Parameter: TypeAlias = str | int | float | datetime
"""What is bound to a `?`."""


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression for the WHERE of DuckDB over the columns of `LOG_COLUMNS`, true or false, never null.

    `parameters` are bound to the `?` of `sql`, in their order.
    """

    sql: str
    parameters: tuple[Parameter, ...] = ()


def negated(condition: Condition) -> Condition:
    """What the condition is not true of."""
    return Condition(f"(not {condition.sql})", condition.parameters)


def all_of(conditions: Iterable[Condition]) -> Condition:
    """Where all of them are true; true where there are none."""
    return _joined(tuple(conditions), " and ", "true")


def any_of(conditions: Iterable[Condition]) -> Condition:
    """Where at least one of them is true; false where there are none."""
    return _joined(tuple(conditions), " or ", "false")


def never_null(sql: str, *parameters: Parameter) -> Condition:
    """An expression that may be null, as false where it is: so a missing field makes its comparison false."""
    return Condition(f"coalesce({sql}, false)", parameters)


def _joined(conditions: tuple[Condition, ...], word: str, empty: str) -> Condition:
    if len(conditions) == 1:
        return conditions[0]
    text = word.join(condition.sql for condition in conditions)
    parameters = tuple(parameter for condition in conditions for parameter in condition.parameters)
    return Condition(f"({text})" if conditions else empty, parameters)
