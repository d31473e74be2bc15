"""SQL in a step sees its batch and nothing else, when it is analysed and when it runs."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest

import penstock as ps
from penstock.analysis import StepFacts, analyse
from penstock.engine.stateless import transform_of
from penstock.errors import SchemaError
from penstock.flow import Step, ops

ROWS = pl.DataFrame({"id": [1, 2, 3]})
OUTSIDE = [
    "select * from read_csv('/etc/passwd')",
    "select * from '/etc/passwd'",
    "select * from read_text('/etc/passwd')",
    "select * from glob('/etc/*')",
    "select * from read_parquet('https://127.0.0.1/rows.parquet')",
    "select * from ROWS",
    "select * from frame",  # a variable where the query is run
    "select * from sqlite_scan('file.db', 't')",
]


@pytest.mark.parametrize("query", OUTSIDE)
def test_analysis_refuses_sql_that_looks_outside(query: str) -> None:
    """Files, the network and Python variables are no tables: a replay would see others."""
    flow = ps.Flow("f")
    asked = flow.read(ps.topic("rows", schema={"id": int})).sql(query)
    asked.write(ps.console())

    with pytest.raises(SchemaError) as caught:
        analyse(flow.build(), {})

    assert caught.value.step == "asked"


@pytest.mark.parametrize("query", OUTSIDE)
def test_a_running_step_refuses_sql_that_looks_outside(query: str) -> None:
    """What analysis would not let through can't be done by the engine either."""
    step = Step("asked", ops.Sql(query), ("rows",))
    transform = transform_of(step, StepFacts(ROWS.schema))
    assert transform is not None

    with pytest.raises(duckdb.Error):
        transform.eager(ROWS)


def test_sql_writes_no_file_and_changes_no_setting(tmp_path: Path) -> None:
    """A statement that is no SELECT would be refused before; the connection refuses what it would do."""
    for query in (f"copy (select 1) to '{tmp_path}/out.csv'", "set enable_external_access = true"):
        transform = transform_of(Step("asked", ops.Sql(query), ("rows",)), StepFacts(ROWS.schema))
        assert transform is not None
        with pytest.raises(duckdb.Error):
            transform.eager(ROWS)

    assert list(tmp_path.iterdir()) == []


def test_sql_reads_its_batch_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times with a zone become text in the same way on every machine."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    step = Step("asked", ops.Sql("select to_timestamp(id)::varchar as at from self"), ("rows",))
    transform = transform_of(step, StepFacts(pl.Schema({"at": pl.String()})))
    assert transform is not None

    assert transform.eager(ROWS)["at"].to_list() == [f"1970-01-01 00:00:0{second}+00" for second in (1, 2, 3)]
