"""Which time a filter can be true of: so that files of other times need not be opened."""

from __future__ import annotations

from datetime import datetime

from penstock.observe.filters.fields import FIELDS, Column, field_of
from penstock.observe.filters.grammar import parse
from penstock.observe.filters.literals import Source
from penstock.observe.filters.tree import And, Comparison, Node

__all__ = ["time_bounds"]


def time_bounds(text: str, *, now_us: int) -> tuple[int | None, int | None]:
    """The first microsecond, and the one after the last, that entries of a filter can have; None: no bound.

    Comparisons with `timestamp` count where all entries must meet them. Raises QueryError for whatever is no filter.
    """
    since_us: int | None = None
    until_us: int | None = None
    for comparison in _required(parse(text)):
        field = field_of(text, comparison.name)
        if not (isinstance(field, Column) and field == FIELDS["timestamp"]):
            continue
        value = _us(Source(text, now_us).time(comparison.literal))
        if comparison.operator in (">", ">=", "="):
            since_us = value if since_us is None else max(since_us, value)
        if comparison.operator in ("<", "<=", "="):
            end_us = value if comparison.operator == "<" else value + 1
            until_us = end_us if until_us is None else min(until_us, end_us)
    return since_us, until_us


def _required(node: Node) -> list[Comparison]:
    """The comparisons that an entry must meet."""
    match node:
        case Comparison():
            return [node]
        case And(parts):
            return [found for part in parts for found in _required(part)]
        case _:
            return []


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
