"""`penstock sql` and `penstock tables`: all tables of an environment in one session that reads."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import duckdb
import pytest

from tests.interfaces.user import started, typed, wait_for_file

SINKS = """
import penstock as ps

flow = ps.Flow("many")
rows = flow.read(ps.files("rows.jsonl", schema={"id": int, "Name of": str, "at": "Datetime", "price": float}))
rows.write(ps.parquet("out/flat"))
rows.write(ps.table("odd name", key="id"))
rows.write(ps.files("out/texts", format="csv"), name="texts")
rows.write(ps.duckdb_table("out/a.duckdb", "in_file", key="id"), name="in_file")
rows.write(ps.postgres("env:TEST_DSN", "in_server", key="id"), name="in_server")
"""
ROWS = [
    {"id": 1, "Name of": "a \"quoted\", 'name'", "at": "2026-01-02T03:04:05.5", "price": 1.5},
    {"id": 2, "Name of": "", "at": None, "price": -0.1},
    {"id": 3, "Name of": None, "at": "1999-12-31T23:59:59", "price": 1e300},
]


@pytest.fixture
def many(tmp_path: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose flow has written the same rows to five kinds of sinks."""
    monkeypatch.setenv("TEST_DSN", postgres_dsn)
    (tmp_path / "many.py").write_text(SINKS)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    answer = typed(tmp_path, "run", "many")
    assert answer.code == 0, answer.err
    return tmp_path


def test_every_kind_of_table_gives_the_same_rows(many: Path) -> None:
    """Delta, Parquet, CSV, DuckDB and PostgreSQL are read alike: nulls, empty texts, quotes, times, large numbers."""
    columns = 'id, "Name of", "at"::timestamp as "at", price'
    expected = [
        {"id": 1, "Name of": "a \"quoted\", 'name'", "at": "2026-01-02 03:04:05.500000", "price": 1.5},
        {"id": 2, "Name of": "", "at": None, "price": -0.1},
        {"id": 3, "Name of": None, "at": "1999-12-31 23:59:59", "price": 1e300},
    ]
    for name in ("flat", '"odd name"', "in_file", "in_server"):
        answer = typed(many, "sql", f"select {columns} from {name} order by id", "-f", "json")
        assert [json.loads(line) for line in answer.out.splitlines()] == expected, name
    counted = typed(many, "sql", "select count(*) as n from texts", "-f", "json")
    assert json.loads(counted.out) == {"n": 3}


def test_tables_lists_all_of_them(many: Path) -> None:
    """Each table has its kind, place, flow and number of rows; no secret is shown."""
    found = json.loads(typed(many, "tables", "--json").out)["tables"]

    assert {one["name"]: (one["kind"], one["rows"], one["flow"]) for one in found} == {
        "flat": ("parquet", 3, "many"),
        "in_file": ("duckdb", 3, "many"),
        "in_server": ("postgres", 3, "many"),
        "odd name": ("delta", 3, "many"),
        "texts": ("files", 3, "many"),
    }
    assert "postgresql://" not in json.dumps(found)


def test_tables_join_with_each_other_and_the_ledger(many: Path) -> None:
    """One session holds everything: a table of a server, one of files, and the epochs."""
    query = "select count(*) as n, max(epoch) as epoch from in_server join flat using (id), epochs where flow = 'many'"

    answer = typed(many, "sql", query, "-f", "csv")

    assert list(csv.reader(io.StringIO(answer.out))) == [["n", "epoch"], ["3", "1"]]


def test_a_locked_duckdb_file_is_told(many: Path) -> None:
    """While another process has the file open, the message says so; other tables are read all the same."""
    with duckdb.connect(str(many / "out" / "a.duckdb")), started(many, "sql", "from in_file") as running:
        locked = running.end()
        with started(many, "sql", "from flat") as other:
            flat = other.end()

    assert locked.code == 1
    assert "the DuckDB file out/a.duckdb is locked" in locked.err
    assert flat.code == 0


def test_a_server_that_is_away_is_told_without_the_password(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the reference, not what it stands for."""
    monkeypatch.setenv("TEST_DSN", "postgresql://me:geheim@127.0.0.1:9/x")

    answer = typed(many, "sql", "from in_server")

    assert answer.code == 1
    assert "env:TEST_DSN" in answer.err
    assert "geheim" not in answer.err


def test_tables_are_read_while_the_flow_runs(held: Path) -> None:
    """A flow that is in the middle of an epoch disturbs no reader: the ledger and the committed rows are there."""
    with started(held, "run", "held.py") as running:
        wait_for_file(held / "waits")
        epochs = typed(held, "sql", "select count(*) as n from epochs", "-f", "csv")
        ledger = typed(held, "ledger", "held")
        pid = running.process.pid
        (held / "go").touch()
        assert running.end().code == 0

    assert epochs.out == "n\n0\n"
    assert "no epoch was committed yet" in ledger.out or f"runs now (process {pid})" in ledger.out
    assert typed(held, "sql", "select count(*) as n from numbers", "-f", "csv").out == "n\n30\n"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("selct 1", 'syntax error at or near "selct"'),
        ("select nix from revenue_by_country", 'Referenced column "nix" not found'),
        ("select * from revenue_by_contry", "Did you mean 'revenue_by_country'?"),
        ("select * from nix", "tables: dead_letters, deployments, epochs, events, logs, metrics, revenue_by_country"),
        ("drop table revenue_by_country", "a DROP statement changes something; this session only reads"),
        ("insert into epochs values (1)", "this session only reads"),
        ("copy epochs to 'x.csv'", "this session only reads"),
        ("attach 'x.db'", "this session only reads"),
        ("install httpfs", "this session only reads"),
        ("set memory_limit = '1GB'", "this session only reads"),
        ("pragma memory_limit = '1GB'", "this session only reads"),
        ("explain analyze delete from epochs", "epochs"),
        ("select 1; select 2", "2 statements; give one"),
        ("/* nothing */", "0 statements; give one"),
        ("select cast('x' as int)", "Could not convert string 'x' to INT32"),
    ],
)
def test_wrong_queries(shop: Path, query: str, expected: str) -> None:
    """A query that is wrong, or would change something, is one clear message, and nothing changes."""
    typed(shop, "run", "revenue")
    before = sorted(str(path) for path in shop.rglob("*"))

    answer = typed(shop, "sql", query)

    assert expected in answer.err
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert sorted(str(path) for path in shop.rglob("*")) == before


def test_a_query_from_stdin(shop: Path) -> None:
    """`-` reads the query from standard input."""
    assert typed(shop, "sql", "-", "--format", "csv", stdin="select 42 as answer").out == "answer\n42\n"


def test_what_was_never_run_is_empty(shop: Path) -> None:
    """Before any run the views of the ledger are empty, the flow's table is not there, and asking makes no file."""
    answer = typed(shop, "sql", "select count(*) as n from dead_letters", "-f", "csv")

    assert answer.out == "n\n0\n"
    assert "no flow has run here yet" in typed(shop, "sql", "from revenue_by_country").err
    assert "dev has no tables yet" in typed(shop, "tables").out
    assert not (shop / ".penstock").exists()


def test_long_results_are_cut_for_people_only(shop: Path) -> None:
    """A table shows `--rows` rows and says how many there are; csv and json give all."""
    shown = typed(shop, "sql", "from range(250)", "--rows", "3")
    whole = typed(shop, "sql", "from range(250)", "-f", "csv")

    assert "250 rows, 3 shown" in shown.out
    assert len(whole.out.splitlines()) == 251
