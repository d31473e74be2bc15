"""Which rows are in one frame and not in the other, held to a count in Python."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from penstock.connect import only_in

SCHEMA = pl.Schema(
    {
        "n": pl.Int64(),
        "nth": pl.Float64(),
        "word": pl.String(),
        "list": pl.List(pl.Float64),
        "struct": pl.Struct({"x": pl.Int64, "y": pl.List(pl.String)}),
        "bytes": pl.Binary(),
    }
)

numbers = st.sampled_from([None, 1.0, -1.5, float("nan"), float("inf")])
rows = st.tuples(
    st.sampled_from([None, 0, 1]),
    numbers,
    st.sampled_from([None, "", "a", "null"]),
    st.none() | st.lists(numbers, max_size=2),
    st.none()
    | st.fixed_dictionaries(
        {"x": st.sampled_from([None, 1]), "y": st.none() | st.lists(st.sampled_from([None, "a"]), max_size=2)}
    ),
    st.sampled_from([None, b"", b"\x00"]),
)
frames = st.lists(rows, max_size=12).map(lambda found: pl.DataFrame(found, SCHEMA, orient="row"))


def counted(frame: pl.DataFrame) -> Counter[str]:
    """How often each row is there; NaN is itself in JSON."""

    def plain(value: Any) -> Any:
        return value.hex() if isinstance(value, bytes) else value

    return Counter(json.dumps([plain(value) for value in row]) for row in frame.rows())


@given(frames, frames)
def test_it_is_the_difference_of_two_counts(left: pl.DataFrame, right: pl.DataFrame) -> None:
    """Nulls, NaN, lists and structs included; together with what both have, it is the left frame again."""
    found = only_in(left, right)
    assert found.schema == left.schema
    assert counted(found) == counted(left) - counted(right)
    assert only_in(left, left).is_empty()
    assert_frame_equal(only_in(left, right.clear()), left)


def test_rows_keep_their_order() -> None:
    """Of equal rows the later ones are left over."""
    left = pl.DataFrame({"a": [3, 1, 2, 1, 3, 1], "nth": list("xyzyxy")})
    right = pl.DataFrame({"nth": ["x", "y"], "a": [3, 1]})
    assert only_in(left, right).rows() == [(2, "z"), (1, "y"), (3, "x"), (1, "y")]


def test_other_types_are_other_rows() -> None:
    """Frames of different columns or types have no row in common."""
    left = pl.DataFrame({"a": [1, 2]})
    assert only_in(left, left.cast(pl.Int32)).rows() == [(1,), (2,)]
    assert only_in(left, left.with_columns(b=1)).rows() == [(1,), (2,)]
