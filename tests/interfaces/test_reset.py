"""`penstock run --reset`: a flow begins again, after it was said what goes."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from tests.interfaces.user import typed

RESET = ("run", "revenue", "--reset")


def total(folder: Path) -> str:
    """How many orders the result counts."""
    return typed(folder, "sql", "select sum(orders) as n from revenue_by_country", "--format", "csv").out


def test_a_dry_run_says_what_goes_and_removes_nothing(shop: Path) -> None:
    """The plan names the table, the state, the files of the steps and the ledger; all of them stay."""
    typed(shop, "run", "revenue")

    answer = typed(shop, *RESET, "--dry-run")

    assert answer.code == 0
    assert "remove the folder .penstock/dev/tables/revenue_by_country" in answer.out
    assert "forget the epochs, dead letters and state of flow revenue in environment dev" in answer.out
    assert "nothing was removed" in answer.out
    assert total(shop) == "n\n220\n"


def test_without_a_person_to_ask_it_wants_yes(shop: Path) -> None:
    """In a script nothing is removed by accident."""
    typed(shop, "run", "revenue")

    answer = typed(shop, *RESET)

    assert answer.code == 2
    assert "nobody is there to ask" in answer.err
    assert "add --yes" in answer.err
    assert total(shop) == "n\n220\n"


def test_it_begins_again_from_the_first_row(shop: Path) -> None:
    """After a change of the flow, a reset gives the results of the new code over all rows, and one set of epochs."""
    typed(shop, "run", "revenue")
    flow = shop / "flows" / "revenue.py"
    flow.write_text(flow.read_text().replace('"paid"', '"cancelled"'))

    answer = typed(shop, *RESET, "--yes")

    assert answer.code == 0, answer.err
    assert total(shop) == "n\n19\n"
    epochs = json.loads(typed(shop, "ledger", "revenue", "--json").out)["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == [1]
    assert typed(shop, "deadletters", "revenue", "--json").out.count('"epoch": 1') == 1


def test_a_first_run_may_be_reset(shop: Path) -> None:
    """Where nothing ran there is nothing to remove, and nothing to ask."""
    answer = typed(shop, *RESET)

    assert answer.code == 0
    assert "there is nothing to remove" in answer.out


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_tables_in_databases_begin_anew(shop: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """A table in a database is dropped and written again; the rows are there once."""
    options = 'path = "out.duckdb"'
    if kind == "postgres":
        options = f'dsn = "{request.getfixturevalue("postgres_dsn")}"'
    with (shop / "penstock.toml").open("a") as file:
        file.write(f'\n[env.dev.bind.revenue_by_country]\nkind = "{kind}"\ntable = "revenue"\n{options}\n')
    assert typed(shop, "run", "revenue").code == 0

    answer = typed(shop, *RESET, "--yes")

    assert answer.code == 0, answer.err
    assert "drop the table" in answer.out
    assert total(shop) == "n\n220\n"


def test_what_is_not_ours_is_kept(shop: Path) -> None:
    """A folder without a mark of ours is not removed, whatever the binding says."""
    with (shop / "penstock.toml").open("a") as file:
        file.write('\n[env.dev.bind.revenue_by_country]\nkind = "delta"\npath = "flows"\n')

    answer = typed(shop, *RESET, "--dry-run")

    assert "keep delta flows" in answer.out
    assert "remove the folder flows" not in answer.out


def test_a_view_on_a_table_keeps_it(shop: Path, postgres_dsn: str) -> None:
    """A table that something else depends on is not dropped with it; the ledger stays as it was."""
    with (shop / "penstock.toml").open("a") as file:
        file.write(f'\n[env.dev.bind.revenue_by_country]\nkind = "postgres"\ndsn = "{postgres_dsn}"\n')
    assert typed(shop, "run", "revenue").code == 0
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("create view seen as select country from revenue_by_country")

    answer = typed(shop, *RESET, "--yes")

    assert answer.code == 1
    assert "view seen depends on" in answer.err
    assert total(shop) == "n\n220\n"
    assert json.loads(typed(shop, "ledger", "revenue", "--json").out)["epochs"]


def test_a_table_that_was_renamed_goes_too(shop: Path) -> None:
    """What the last run wrote to is removed, also where the code writes to another table by now."""
    typed(shop, "run", "revenue")
    flow = shop / "flows" / "revenue.py"
    flow.write_text(flow.read_text().replace('"revenue_by_country"', '"revenue_by_hour"'))

    assert typed(shop, *RESET, "--yes").code == 0

    tables = json.loads(typed(shop, "tables", "--json").out)["tables"]
    assert [table["name"] for table in tables] == ["revenue_by_hour"]


def test_a_ledger_in_postgresql_is_reset_too(shop: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ledger is a server, runs, queries and resets work as with files, and the address stays a reference."""
    monkeypatch.setenv("TEST_LEDGER", postgres_dsn)
    toml = shop / "penstock.toml"
    toml.write_text(toml.read_text().replace("[env.dev]", '[env.dev]\nledger = "env:TEST_LEDGER"'))
    assert typed(shop, "run", "revenue").code == 0
    epochs = "select count(*) as n from epochs"

    assert typed(shop, "sql", epochs, "-f", "csv").out == "n\n1\n"
    assert typed(shop, *RESET, "--yes").code == 0

    assert typed(shop, "sql", epochs, "-f", "csv").out == "n\n1\n"
    assert total(shop) == "n\n220\n"
    assert not (shop / ".penstock" / "dev" / "ledger.db").exists()
