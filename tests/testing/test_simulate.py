"""`penstock.testing.simulate`: an author's own flow through a life that a seed decides."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.errors import DefinitionError
from penstock.flow import Flow
from penstock.testing import simulate

ORDERS = pl.DataFrame({"customer": [n % 5 for n in range(60)], "amount": list(range(60))})
SCHEMA = dict(ORDERS.schema)


def revenue(*, factor: int = 1, name: str = "revenue") -> Flow:
    """Totals by customer."""
    flow = ps.Flow(name)
    orders = flow.read(ps.topic("orders", schema=SCHEMA), name="orders")
    totals = orders.group_by("customer").agg(total=pl.col("amount").sum(), name="totals")
    totals.with_columns(total=pl.col("total") * factor, name="shown").write(
        ps.table("totals", key=["customer"]), name="out"
    )
    return flow


def dice(row: Mapping[str, Any]) -> dict[str, Any]:
    """Another row each time."""
    return {**row, "amount": random.randrange(1_000_000)}  # noqa: S311 - what must not be


def test_a_flow_that_is_right_passes() -> None:
    """Whatever the seed does to it, its tables are those of a run that nobody disturbed."""
    right = {(customer, sum(range(customer, 60, 5))) for customer in range(5)}
    for seed in range(5):
        outcome = simulate(revenue(), {"orders": ORDERS}, seed=seed)
        outcome.verify()
        assert outcome.passed
        assert set(outcome.tables["totals"].rows()) == right


def test_versions_take_over_from_each_other() -> None:
    """Other versions are deployed, and each epoch is of the one that the ledger names."""
    outcomes = [simulate(revenue(), {"orders": ORDERS}, seed=seed, versions=[revenue(factor=2)]) for seed in range(8)]
    for outcome in outcomes:
        outcome.verify()
    assert any(outcome.handovers and len(set(outcome.versions)) == 2 for outcome in outcomes)


def test_a_step_that_throws_dice_is_found_out() -> None:
    """The report has the steps, what is wrong, and the call that does it again."""
    flow = ps.Flow("dice")
    orders = flow.read(ps.topic("orders", schema=SCHEMA), name="orders")
    orders.map(dice, schema=SCHEMA, name="thrown").write(ps.topic("out"), name="out")
    outcome = simulate(flow, {"orders": ORDERS}, seed=3)
    assert not outcome.passed
    with pytest.raises(AssertionError) as told:
        outcome.verify()
    text = str(told.value)
    assert "PROBLEM: " in text
    assert "again: simulate(..., seed=3)" in text
    assert "claims generation" in text


def test_what_is_no_version_is_refused() -> None:
    """A flow of another name, or one that reads what was not given, is said to be so."""
    with pytest.raises(DefinitionError, match="'sales' is no version of 'revenue'"):
        simulate(revenue(), {"orders": ORDERS}, seed=1, versions=[revenue(name="sales")])
    with pytest.raises(DefinitionError, match="no rows were given for"):
        simulate(revenue(), {}, seed=1)
