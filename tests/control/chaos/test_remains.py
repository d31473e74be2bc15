"""Whether two runs left the same: each kind of difference is found and told in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from penstock.control.chaos.remains import Remains, differences
from penstock.ledger import DeadLetter, EpochPlan, EpochRecord


def record(epoch: int, start: int, end: int, rows: int | None = None) -> EpochRecord:
    """An epoch that read `rows` from one place to another."""
    ranges = {"orders": {"start": {"p": start}, "end": {"p": end}}}
    plan = EpochPlan(epoch, ranges, 0, 0)
    return EpochRecord(epoch, 1, "v1", plan, rows_in={"orders": end - start if rows is None else rows})


LETTER = DeadLetter(1, "orders", "Reject", "no JSON", "s", "{")
RIGHT = Remains(
    tables={"out": pl.DataFrame({"id": [1, 2, 2], "mean": [0.1, 0.2, 0.2]})},
    letters=[LETTER],
    records=[record(1, 0, 2), record(2, 2, 3)],
    state={"sums": pl.DataFrame({"key": ["a"], "total": [3]})},
)


def test_order_and_the_last_digits_of_floats_are_no_difference() -> None:
    """Rows are a multiset, and sums may be added up in another order."""
    other = pl.DataFrame({"id": [2, 1, 2], "mean": [0.2 + 1e-16, 0.1, 0.2]})
    assert differences(RIGHT, replace(RIGHT, tables={"out": other})) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"tables": {"out": pl.DataFrame({"id": [1, 2], "mean": [0.1, 0.2]})}}, "sink out, of 3 rows: 1 missing"),
        ({"tables": {"out": pl.concat([*RIGHT.tables.values()] * 2)}}, "sink out, of 3 rows: 3 too many"),
        ({"tables": {"out": pl.DataFrame({"id": [1, 2, 2], "mean": [0.1, 0.2, 9.0]})}}, "1 changed in mean"),
        ({"tables": {"out": pl.DataFrame()}}, "sink out, of 3 rows: 3 missing"),
        ({"state": {"sums": pl.DataFrame({"key": ["a"], "total": [4]})}}, "state sums, of 1 rows: 1 changed in total"),
        ({"letters": []}, "dead letters, 1 missing, e.g. of orders: no JSON"),
        ({"letters": [LETTER, LETTER]}, "dead letters, 1 too many"),
        ({"records": [record(1, 0, 2), record(2, 2, 3, rows=0)]}, "2 rows of orders were read, not 3"),
        ({"records": [record(1, 0, 2), record(2, 1, 3, rows=1)]}, "epoch 2 begins to read orders at {'p': 1}"),
        ({"records": [record(1, 0, 2), record(3, 2, 3)]}, "the ledger has the epochs [1, 3]"),
        ({"records": [record(1, 0, 2, rows=3)]}, "orders was read up to {'p': 2}, not to {'p': 3}"),
    ],
)
def test_what_is_not_right_is_told(wrong: dict[str, Any], told: str) -> None:
    """Rows lost, twice or changed; state; dead letters; input left out or read twice."""
    assert any(told in line for line in differences(RIGHT, replace(RIGHT, **wrong)))
