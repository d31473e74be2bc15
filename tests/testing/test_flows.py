"""A flow is tested as a function of frames: what it writes, what fell out, and what it says of wrong input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.clock import ManualClock
from penstock.connect import clear, finish, put_rows
from penstock.engine import RunOptions, run_flow
from penstock.errors import DefinitionError
from penstock.ledger import MemoryStateStore, open_ledger
from penstock.testing import Results, run

ORDERS = pl.DataFrame(
    [
        (1, datetime(2026, 3, 2, 9, 0, 5, tzinfo=UTC), "NL", 20.0),
        (2, datetime(2026, 3, 2, 9, 0, 40, tzinfo=UTC), "DE", 35.0),
        (3, datetime(2026, 3, 2, 9, 1, 10, tzinfo=UTC), "NL", 12.5),
        (4, datetime(2026, 3, 2, 9, 5, 30, tzinfo=UTC), None, -5.0),
        (5, datetime(2026, 3, 2, 9, 0, 10, tzinfo=UTC), "DE", 90.0),
    ],
    schema={"id": pl.Int64, "at": pl.Datetime("us", "UTC"), "country": pl.String, "amount": pl.Float64},
    orient="row",
)
SCHEMA = {"id": int, "at": pl.Datetime("us", "UTC"), "country": str, "amount": float}


def half(row: Mapping[str, Any]) -> dict[str, Any]:
    """Half the amount; a negative one is a fault."""
    if row["amount"] < 0:
        raise ValueError(f"an amount of {row['amount']}")
    return {**row, "amount": row["amount"] / 2}


MODULE_FLOW = ps.Flow("of_the_module")
orders = MODULE_FLOW.read(ps.topic("orders", schema=SCHEMA), event_time="at")
checked = orders.expect(ps.not_null("country"), ps.between("amount", 0, 50))
halved = checked.map(half)
per_minute = halved.group_by("country").window(ps.tumbling("1m")).agg(revenue=pl.col("amount").sum())
per_minute.write(ps.table("per_minute"))
halved.write(ps.table("halved"))


@pytest.fixture(scope="module")
def results() -> Results:
    """What the flow of this module gives, two rows an epoch."""
    return run(MODULE_FLOW, {"orders": ORDERS}, epoch_rows=2)


def test_results_are_frames_by_the_name_of_the_dataset(results: Results) -> None:
    """A result is looked up like in a mapping of all datasets that the flow writes."""
    assert sorted(results) == ["halved", "per_minute"]
    assert len(results) == 2
    assert results["halved"].select("id", "amount").rows() == [(1, 10.0), (2, 17.5), (3, 6.25), (5, 45.0)]
    assert sorted(results["per_minute"].select("country", "revenue").rows()) == [
        ("DE", 17.5),
        ("NL", 6.25),
        ("NL", 10.0),
    ]


def test_results_tell_what_was_dead_late_and_checked(results: Results) -> None:
    """The row that raised is a dead letter, its times in ISO 8601; the one behind its window is late; checks count."""
    assert results.dead.select("step", "error", "message").rows() == [("halved", "ValueError", "an amount of -5.0")]
    assert results.dead["payload"].item() == (
        '{"id": 4, "at": "2026-03-02T09:05:30+00:00", "country": null, "amount": -5.0}'
    )
    assert results.late == 1
    assert [set(counts) for counts in results.checks.values()] == [{"passed", "failed"}] * 2
    assert sorted((counts["passed"], counts["failed"]) for counts in results.checks.values()) == [(3, 2), (4, 1)]


def test_epoch_rows_cut_the_input(results: Results) -> None:
    """Five rows in epochs of two are three epochs of input; in one epoch, no row comes behind its window."""
    assert [rows for rows in results.epochs["rows_in"] if rows] == [2, 2, 1]
    assert results.epochs["final"].to_list()[-1]

    whole = run(MODULE_FLOW, {"orders": ORDERS})

    assert [rows for rows in whole.epochs["rows_in"] if rows] == [5]
    assert whole.late == 0


def test_a_flow_may_be_built_inside_a_test() -> None:
    """Steps take their names from the variables of a test function too; a frozen definition is taken as well."""
    flow = ps.Flow("of_the_test")
    rows = flow.read(ps.topic("rows"))
    counts = rows.group_by("k").agg(n=pl.len())
    counts.write(ps.table("counts", key="k"))

    results = run(flow.build(), {"rows": pl.DataFrame({"k": ["a", "b", "a"]})}, epoch_rows=1)

    assert sorted(results["counts"].rows()) == [("a", 2), ("b", 1)]
    assert results.dead.is_empty()
    assert results.checks == {}


def test_rows_of_a_lookup_table_are_no_rows_of_the_stream(tmp_path: Path) -> None:
    """A run counts the rows of its streams; the record of each epoch has all, by source."""
    flow = ps.Flow("with_a_table")
    rows = flow.read(ps.topic("rows"))
    names = flow.table(ps.table("names"), key="k")
    named = rows.join(names, on="k")
    named.write(ps.table("out"))
    for name, frame in (("rows", pl.DataFrame({"k": [1, 2]})), ("names", pl.DataFrame({"k": [1, 2, 3]}))):
        put_rows(f"counted/{name}", frame)
        finish(f"counted/{name}")
    datasets = {
        "rows": ps.memory("counted/rows", schema={"k": int}),
        "names": ps.memory("counted/names", schema={"k": int}),
        "write_out": ps.memory("counted/out"),
    }
    ledger = open_ledger(tmp_path, env="test", clock=ManualClock())
    try:
        result = run_flow(
            flow.build(),
            datasets,
            ledger=ledger,
            store=MemoryStateStore(),
            folder=tmp_path,
            root=tmp_path,
            options=RunOptions(until_drained=True),
        )
        counted = [record.rows_in for record in ledger.epochs("with_a_table")]
    finally:
        ledger.close()
        for name in ("rows", "names", "out"):
            clear(f"counted/{name}")

    assert (result.rows_in, result.rows_out) == (2, 2)
    assert sum((Counter(counts) for counts in counted), Counter()) == {"rows": 2, "names": 3}


def test_a_missing_input_is_named() -> None:
    """Every dataset that the flow reads needs a frame."""
    with pytest.raises(DefinitionError) as caught:
        run(MODULE_FLOW, {})

    assert str(caught.value) == (
        "flow of_the_module: no rows were given for ['orders']\n  next:  give a frame for every dataset it reads"
    )


def test_an_unknown_input_is_told_with_the_closest() -> None:
    """A frame for a dataset that the flow does not read is a mistake, most often of spelling."""
    with pytest.raises(DefinitionError) as caught:
        run(MODULE_FLOW, {"order": ORDERS})

    assert str(caught.value) == (
        "flow of_the_module: the flow reads no dataset 'order'. Did you mean 'orders'?\n  next:  it reads ['orders']"
    )


def test_an_unknown_result_is_told_with_the_closest(results: Results) -> None:
    """A misspelt dataset is told with those that there are."""
    with pytest.raises(KeyError, match="Did you mean 'halved'"):
        results["halfed"]
    assert "halfed" not in results
