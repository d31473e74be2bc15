"""What an author says of state that changes: values in the definition, every mistake told."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.errors import DefinitionError
from penstock.flow import Flow, flow_version


def customers() -> Flow:
    """A flow with one step that keeps state."""
    flow = ps.Flow("shop")
    orders = flow.read(ps.topic("orders", schema={"customer": str, "amount": float}))
    totals = orders.group_by("customer").agg(orders=pl.len(), spent=pl.col("amount").sum())
    totals.write(ps.table("totals", key="customer"))
    return flow


def fault(flow: Flow) -> DefinitionError:
    """Why a flow can't be built."""
    with pytest.raises(DefinitionError) as caught:
        flow.build()
    return caught.value


def test_what_an_author_says_is_part_of_the_definition() -> None:
    """Renames and migrations are values of the definition, with the line where they stand."""
    flow = customers()
    flow.renamed("sums", "totals")
    flow.migrate("totals", columns={"spent": 0.0}, since="ab12")

    @flow.migrate("totals")
    def anew(rows: pl.DataFrame) -> pl.DataFrame:
        return rows

    definition = flow.build()
    (renamed,) = definition.renames
    given, function = definition.migrations
    assert (renamed.old, renamed.new) == ("sums", "totals")
    assert (given.step, given.columns, given.since, given.function) == ("totals", {"spent": 0.0}, "ab12", None)
    assert function.function is anew
    assert "test_migrations.py:" in renamed.location
    assert "test_migrations.py:" in given.location


def test_they_do_not_change_what_the_flow_is() -> None:
    """A flow with and without them has the same version: they say how to come from another one."""
    flow = customers()
    flow.renamed("sums", "totals")
    flow.migrate("totals", keep=True)

    assert flow_version(flow.build()) == flow_version(customers().build())


@pytest.mark.parametrize(
    ("says", "message", "hint"),
    [
        (
            lambda flow: flow.renamed("sums", "total"),
            r"renamed\('sums', 'total'\) at test_migrations.py:\d+: there is no step 'total'. Did you mean 'totals'\?",
            "old name first",
        ),
        (lambda flow: flow.renamed("totals", "totals"), "both names are the same", "take the line out"),
        (
            lambda flow: [flow.renamed(old, "totals") for old in ("a", "b")],
            r"2 calls of renamed\(\) have 'totals' as new name",
            "keep the one",
        ),
        (
            lambda flow: flow.migrate("total", reset=True),
            r"migrate\('total'\) at test_migrations.py:\d+: there is no step 'total'. Did you mean 'totals'\?",
            "steps with state: totals",
        ),
        (lambda flow: flow.migrate("orders", reset=True), r"\(read\) keeps no state", "steps with state: totals"),
        (
            lambda flow: flow.migrate("totals", columns={"spend": 0}),
            "the step has no column 'spend'. Did you mean 'spent'?",
            "it has: orders, spent",
        ),
        (
            lambda flow: [flow.migrate("totals", keep=True), flow.migrate("totals", reset=True)],
            r"2 calls of migrate\('totals'\) are for the same state",
            "say all in one call",
        ),
    ],
)
def test_mistakes_are_told(says: Any, message: str, hint: str) -> None:
    """A wrong name, a step without state, and lines that contradict each other are errors with the way out."""
    flow = customers()
    says(flow)

    error = fault(flow)

    assert error.code == "definition"
    with pytest.raises(DefinitionError, match=message):
        raise error
    assert hint in str(error.hint)


def test_a_reset_keeps_nothing() -> None:
    """Asking for both is a mistake, however it was typed."""
    flow = customers()
    flow.migrate("totals", reset=True, keep=True)  # type: ignore[call-overload]

    assert "a state that is reset keeps nothing" in fault(flow).message
