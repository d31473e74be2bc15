"""The differ against a comparison of multisets and of dictionaries in plain Python."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connect import Change
from penstock.control.gate.differ import Differ
from penstock.control.gate.row_diff import UNKNOWN, RowDiff
from tests.control.gate.rows import (
    EPOCHS,
    KEYED_EPOCHS,
    Keyed,
    Row,
    appended,
    change,
    counted,
    differing,
    frame,
    last_of_keys,
    upserted,
)

SMALL = st.sampled_from([{}, {"settle_rows": 0}, {"tolerance": 1e-9}])
TINY = st.sampled_from([{"rows_max": 2, "settle_rows": 0}, {"rows_max": 4, "settle_rows": 3}])


@given(epochs=EPOCHS, options=SMALL)
def test_appended_rows_are_multisets(epochs: list[tuple[list[Row], list[Row]]], options: dict[str, Any]) -> None:
    """Equal is what both have, over the whole window; changed and only are the rest, and nothing is counted twice."""
    old = counted([row for rows, _ in epochs for row in rows])
    new = counted([row for _, rows in epochs for row in rows])

    found = appended(epochs, **options)

    assert found.equal == (old & new).total()
    assert found.changed + found.only_old == (old - new).total()
    assert found.changed + found.only_new == (new - old).total()
    assert sum(found.changes.values()) == found.changed
    assert found.limits == ()


@given(epochs=EPOCHS, options=TINY)
def test_appended_rows_in_little_memory(epochs: list[tuple[list[Row], list[Row]]], options: dict[str, Any]) -> None:
    """With hardly any memory the sums still hold; equal rows may be told as changed, never the other way round."""
    old = counted([row for rows, _ in epochs for row in rows])
    new = counted([row for _, rows in epochs for row in rows])

    found = appended(epochs, **options)

    assert found.equal <= (old & new).total()
    assert found.equal + found.changed + found.only_old == found.rows_old == old.total()
    assert found.equal + found.changed + found.only_new == found.rows_new == new.total()
    assert found.limits or found.equal == (old & new).total()


@given(epochs=EPOCHS, shift=st.integers(1, 3))
def test_a_shifted_output_is_equal(epochs: list[tuple[list[Row], list[Row]]], shift: int) -> None:
    """Rows that the new version emits epochs later are equal, also where only their hashes fit into memory."""
    rows = [old for old, _ in epochs]
    nothing: list[list[Row]] = [[]] * shift

    for options in ({}, {"rows_max": 1, "settle_rows": 0}):
        found = appended(list(zip(rows + nothing, nothing + rows, strict=True)), **options)

        assert (found.equal, found.changed, found.only_old) == (sum(map(len, rows)), 0, 0)


@given(epochs=KEYED_EPOCHS, options=st.one_of(SMALL, TINY))
def test_upserted_rows_are_the_last_of_each_key(epochs: list[tuple[Keyed, Keyed]], options: dict[str, Any]) -> None:
    """What was done last to a key counts; with little memory the counts are as exact, only columns may be unknown."""
    old, new = last_of_keys([old for old, _ in epochs]), last_of_keys([new for _, new in epochs])
    changes = Counter(names for key in old.keys() & new.keys() if (names := differing(old[key], new[key])))

    found = upserted(epochs, **options)

    assert (found.only_old, found.only_new) == (len(old.keys() - new.keys()), len(new.keys() - old.keys()))
    assert (found.rows_old, found.rows_new) == (len(old), len(new))
    assert (found.deleted_old, found.deleted_new) == (list(old.values()).count(None), list(new.values()).count(None))
    assert found.changed == changes.total()
    assert found.changes == changes or (UNKNOWN,) in found.changes
    assert "rows_max" in options or (UNKNOWN,) not in found.changes


@given(epochs=EPOCHS, keyed=KEYED_EPOCHS, options=SMALL)
def test_a_result_may_be_asked_for_at_any_time(
    epochs: list[tuple[list[Row], list[Row]]], keyed: list[tuple[Keyed, Keyed]], options: dict[str, Any]
) -> None:
    """Asking after every epoch changes no count in the end; as JSON and back it is the same."""
    for key, found, changes in (
        ((), appended(epochs, **options), [tuple(Change(frame(rows)) for rows in entry) for entry in epochs]),
        (("id",), upserted(keyed, **options), [tuple(map(change, entry)) for entry in keyed]),
    ):
        differ = Differ("out", key, **options)
        for epoch, (old, new) in enumerate(changes, start=1):
            differ.add(epoch, old, new)
            differ.result()

        # In which epoch one of several equal rows was, is not known.
        of_epochs: dict[str, Any] = {"samples": {}, "edge_old": 0, "edge_new": 0}
        assert replace(differ.result(), **of_epochs) == replace(found, **of_epochs)
        assert RowDiff.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_too_much_ends_the_comparison() -> None:
    """What can't be kept any more is said, and the epochs until there are what was compared."""
    differ = Differ("out", rows_max=10, hashes_max=20, settle_rows=0)
    for epoch in range(1, 6):
        differ.add(epoch, Change(pl.DataFrame({"id": range(epoch * 10, epoch * 10 + 10)})), None)

    found = differ.result()

    assert differ.stopped
    assert (found.rows_old, found.only_old, found.epochs) == (30, 30, (1, 3))
    assert found.limits == (
        "more than 10 rows have no partner: the oldest of them were counted, not paired",
        "more than 20 rows have no partner: the rest was not compared (after epoch 3)",
    )


def both(old: pl.DataFrame, new: pl.DataFrame, *key: str, **options: Any) -> RowDiff:
    """One epoch."""
    differ = Differ("out", key, **options)
    differ.add(7, Change(old), Change(new))
    return differ.result()


ORDERS = pl.DataFrame(
    {
        "id": range(100),
        "country": ["NL", "DE"] * 50,
        "amount": [float(number) for number in range(100)],
        "note": [None] * 100,
    },
    schema_overrides={"note": pl.String},
)


def test_changed_columns_are_named() -> None:
    """Rows without a key pair up by what they have in common; a row counts once for each column that changed."""
    wrong = pl.col("id") < 10
    new = ORDERS.with_columns(
        amount=pl.when(wrong).then(pl.col("amount") + 0.5).otherwise("amount"),
        note=pl.when(pl.col("id") < 3).then(pl.lit("late")).otherwise("note"),
    )

    for found in (both(ORDERS, new), both(ORDERS, new, "id")):
        assert found.changes == {("amount",): 7, ("amount", "note"): 3}
        assert found.changed_by_column == {"amount": 10, "note": 3}
        assert (found.equal, found.changed, found.only_old, found.only_new) == (90, 10, 0, 0)
        assert found.changed_outside(["amount"]) == 3
        assert found.changed_outside(["amount", "note"]) == 0
    sample = both(ORDERS, new, "id").samples["changed"][0]
    assert sample == {
        "key": {"id": 0},
        "columns": ["amount", "note"],
        "old": {"id": 0, "country": "NL", "amount": 0.0, "note": None},
        "new": {"id": 0, "country": "NL", "amount": 0.5, "note": "late"},
        "epoch_old": 7,
        "epoch_new": 7,
    }


def test_other_rows_are_no_changed_rows() -> None:
    """Rows that agree only in what many rows have are not one row that changed its identity."""
    old, new = ORDERS.filter(pl.col("id") != 4), ORDERS.filter(pl.col("id") != 5)

    found = both(old.drop("amount"), new.drop("amount"))

    assert (found.changed, found.only_old, found.only_new) == (0, 1, 1)
    assert found.samples["only_old"] == [
        {"key": {}, "row": {"id": 5, "country": "DE", "note": None}, "epoch": 7, "rows": 1}
    ]


def test_all_rows_differ_in_most_columns() -> None:
    """A column that identifies rows pairs them, whatever else has changed."""
    new = ORDERS.with_columns(country=pl.lit("FR"), amount=pl.col("amount") * 2 + 1, note=pl.lit("x"))

    assert both(ORDERS, new).changes == {("country", "amount", "note"): 100}


def test_equal_rows_occur_as_often() -> None:
    """A row that is written twice is one too many, not equal."""
    found = both(ORDERS, pl.concat([ORDERS, ORDERS.head(2)]))

    assert (found.rows_new, found.equal, found.only_new) == (102, 100, 2)
    assert both(pl.concat([ORDERS.head(1)] * 5), ORDERS.head(1)).samples["only_old"][0]["rows"] == 4


def test_columns_that_come_and_go_are_told() -> None:
    """What both have is compared, as the type that holds both."""
    old = ORDERS.with_columns(id=pl.col("id").cast(pl.Int32), country=pl.col("country").cast(pl.Categorical))
    new = ORDERS.rename({"note": "remark"}).with_columns(amount=pl.col("amount").cast(pl.Int64))

    found = both(old, new)

    assert (found.equal, found.is_equal) == (100, False)
    assert found.columns.added == {"remark": "String"}
    assert found.columns.removed == {"note": "String"}
    assert found.columns.retyped == {
        "id": ("Int32", "Int64"),
        "country": ("Categorical", "String"),
        "amount": ("Float64", "Int64"),
    }
    assert RowDiff.from_json(found.as_json()) == found


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        (pl.Series([1, 2]), pl.Series(["1", "2"]), 2),
        (pl.Series([datetime(2026, 1, 1)]), pl.Series([datetime(2026, 1, 1, tzinfo=UTC)]), 1),  # noqa: DTZ001
        (pl.Series([datetime(2026, 1, 1)]).cast(pl.Datetime("ms")), pl.Series([datetime(2026, 1, 1, 0, 0, 0, 1)]), 0),  # noqa: DTZ001
        (pl.Series([[1], [2]]), pl.Series([[1.0], [2.5]]), 1),
        (pl.Series([None], dtype=pl.Null), pl.Series([None], dtype=pl.Int8), 1),
    ],
)
def test_values_of_other_types(old: pl.Series, new: pl.Series, equal: int) -> None:
    """The type that holds both decides: a number is its text, an instant its time in UTC, the finer unit counts."""
    assert both(old.to_frame("x"), new.to_frame("x")).equal == equal


def test_types_that_nothing_holds() -> None:
    """A list and a number are not compared; the rest of the row is."""
    found = both(pl.DataFrame({"id": [1], "x": [[1]]}), pl.DataFrame({"id": [1], "x": [True]}))

    assert (found.equal, found.columns.uncompared, found.is_equal) == (1, ("x",), False)


def test_no_column_in_common() -> None:
    """Then nothing is equal, and all that can be done is count."""
    found = both(pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"b": [1, 2, 3]}))

    assert (found.equal, found.changed, found.only_old, found.only_new) == (0, 0, 2, 3)


def test_a_sink_of_one_version() -> None:
    """A new sink has only new rows, one that goes only old ones; one that nobody wrote has none."""
    differ = Differ("out")
    differ.add(1, None, Change(ORDERS))
    found = differ.result()

    assert (found.in_old, found.in_new, found.only_new, found.changed) == (False, True, 100, 0)
    assert Differ("out").result() == RowDiff(
        "out", in_old=False, in_new=False, samples={"changed": [], "only_old": [], "only_new": []}
    )


def test_a_key_that_one_version_lacks() -> None:
    """Without the key there is no telling which row is which."""
    found = both(ORDERS, ORDERS.rename({"id": "number"}), "id")

    assert found.limits == ("id of its key is not in both versions: rows can't be compared",)
    assert not found.is_equal


def test_the_other_side_may_come_late() -> None:
    """Columns of the second version may become known in the last epoch only."""
    differ = Differ("out")
    for epoch in range(10):
        differ.add(epoch, Change(ORDERS[epoch * 10 : epoch * 10 + 10]), None)
    differ.add(10, None, Change(ORDERS.drop("note").with_columns(id=pl.col("id").cast(pl.Int16))))
    found = differ.result()

    assert (found.equal, found.columns.names) == (100, ("note", "id"))


@pytest.mark.parametrize("key", [(), ("id",)])
def test_floats_within_the_tolerance_are_equal(key: tuple[str, ...]) -> None:
    """Absolute for small numbers, relative for large ones; NaN and infinities are equal to themselves only."""
    values = [0.0, 1e-10, -1.0, 1e15, float("nan"), float("inf"), 3.0, None]
    others = [1e-10, -1e-10, -1.0000000001, 1e15 + 1000, float("nan"), float("inf"), 3.1, None]
    old, new = (pl.DataFrame({"id": range(8), "x": found}) for found in (values, others))

    assert both(old, new, *key).changed == 5
    assert both(old, new, *key, tolerance=1e-9).changes == {("x",): 1}
    assert both(old, new.with_columns(x=-pl.col("x")), *key, tolerance=1e-9).changed == 4


def test_rows_at_the_edges_of_the_window() -> None:
    """Rows of the first or last epoch that only one has are counted apart: they may be early or late only."""
    differ = Differ("out")
    rows = pl.DataFrame({"id": [1, 2, 3], "x": [1, 2, 3]})
    for epoch, (old, new) in enumerate([(rows[:0], rows[:0]), (rows[:1], rows[:0]), (rows[1:], rows[:0])]):
        differ.add(epoch, Change(old), Change(new))

    assert (differ.result().only_old, differ.result().edge_old) == (3, 2)
