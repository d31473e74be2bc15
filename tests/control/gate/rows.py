"""Rows of two versions, as hypothesis draws them, and what a comparison in plain Python says of them."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import polars as pl
from hypothesis import strategies as st

from penstock.connect import Change
from penstock.control.gate.differ import Differ
from penstock.control.gate.row_diff import DELETED, RowDiff

SCHEMA = pl.Schema(
    {
        "id": pl.Int64(),
        "name": pl.String(),
        "amount": pl.Float64(),
        "tags": pl.List(pl.Struct({"tag": pl.String(), "weight": pl.Float64()})),
    }
)
NAN = math.nan

IDS = st.integers(0, 5)
ROWS = st.tuples(
    IDS,
    st.sampled_from([None, "", "a", "b"]),
    st.sampled_from([None, 0.0, -0.0, NAN, math.inf, 1.5, 1e300]),
    st.sampled_from([None, [], [None], [{"tag": "x", "weight": NAN}], [{"tag": None, "weight": None}]]),
)
EPOCHS = st.lists(st.tuples(st.lists(ROWS, max_size=5), st.lists(ROWS, max_size=5)), max_size=6)
"""For each epoch the rows of the old and of the new version."""

Row = tuple[Any, ...]


def frame(rows: list[Row], schema: pl.Schema = SCHEMA) -> pl.DataFrame:
    """Rows as a frame."""
    return pl.DataFrame(rows, schema=schema, orient="row")


def plain(value: Any) -> Any:
    """A value that is equal to another one where the two are the same to Penstock: NaN is NaN, -0.0 is 0.0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, list):
        return tuple(plain(part) for part in value)
    return tuple(sorted((name, plain(part)) for name, part in value.items())) if isinstance(value, dict) else value


def counted(rows: list[Row]) -> Counter[Any]:
    """A multiset of rows."""
    return Counter(tuple(plain(value) for value in row) for row in rows)


def appended(epochs: list[tuple[list[Row], list[Row]]], **options: Any) -> RowDiff:
    """What the differ says of an append sink."""
    differ = Differ("out", **options)
    for epoch, (old, new) in enumerate(epochs, start=1):
        differ.add(epoch, Change(frame(old)), Change(frame(new)))
    return differ.result()


Keyed = tuple[list[Row], list[int]]
"""Rows written and keys deleted in one epoch."""


@st.composite
def keyed_changes(draw: st.DrawFn) -> Keyed:
    """One epoch of an upsert sink: each key at most once."""
    rows = draw(st.lists(ROWS, max_size=5, unique_by=lambda row: row[0]))
    written = {row[0] for row in rows}
    return rows, [key for key in draw(st.lists(IDS, max_size=3, unique=True)) if key not in written]


KEYED_EPOCHS = st.lists(st.tuples(keyed_changes(), keyed_changes()), max_size=8)


def change(keyed: Keyed) -> Change:
    """An epoch of an upsert sink as the engine gives it."""
    rows, deleted = keyed
    return Change(frame(rows), pl.DataFrame({"id": deleted}, schema={"id": pl.Int64()}) if deleted else None)


def upserted(epochs: list[tuple[Keyed, Keyed]], **options: Any) -> RowDiff:
    """What the differ says of an upsert sink with the key `id`."""
    differ = Differ("out", ["id"], **options)
    for epoch, (old, new) in enumerate(epochs, start=1):
        differ.add(epoch, change(old), change(new))
    return differ.result()


def last_of_keys(epochs: list[Keyed]) -> dict[int, Row | None]:
    """What was done last to each key."""
    found: dict[int, Row | None] = {}
    for rows, deleted in epochs:
        found.update({row[0]: row for row in rows})
        found.update(dict.fromkeys(deleted))
    return found


def differing(old: Row | None, new: Row | None) -> tuple[str, ...]:
    """The columns in which two rows of one key differ."""
    if old is None or new is None:
        return () if old is new else (DELETED,)
    return tuple(
        name for name, one, other in zip(SCHEMA, old, new, strict=True) if plain(one) != plain(other) and name != "id"
    )
