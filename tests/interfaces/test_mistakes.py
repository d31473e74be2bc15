"""What a newcomer gets wrong is told in one message, without a traceback, and nothing runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interfaces.user import typed


def edit(folder: Path, old: str, new: str) -> None:
    """Change the flow of the project."""
    flow = folder / "flows" / "revenue.py"
    text = flow.read_text()
    assert old in text
    flow.write_text(text.replace(old, new))


def test_a_typo_in_a_column(shop: Path) -> None:
    """The message names the column, the one that was meant, the line, and the columns there are."""
    edit(shop, 'pl.col("status") == "paid"', 'pl.col("statuz") == "paid"')

    answer = typed(shop, "run", "revenue")

    assert answer.code == 2
    assert answer.err.splitlines()[0] == "error [schema] there is no column 'statuz'. Did you mean 'status'?"
    assert 'flows/revenue.py:25: paid = orders.filter(pl.col("statuz") == "paid")' in answer.err
    assert "order_id Int64, ordered_at Datetime[us], country String, status String, amount Float64" in answer.err
    assert "flow revenue, step paid" in answer.err
    assert "Traceback" not in answer.err
    assert not (shop / ".penstock" / "dev" / "tables").exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("import polars as pl", "import polarss as pl", ["No module named 'polarss'", "flows/revenue.py:5"]),
        ("import polars as pl", "import polars as pl\n1 / 0", ["division by zero", "flows/revenue.py:6: 1 / 0"]),
        ("orders = flow.read(", "orders = flow.read((", ["flows/revenue.py:23", "orders = flow.read(("]),
        ("flow = ps.Flow(", "def flow(): return ps.Flow(", ["flows/revenue.py"]),
        ("import polars as pl", "import sys; sys.exit('bye')", ["SystemExit: bye", "flows/revenue.py:5"]),
        ('ps.tumbling("1h")', 'ps.tumbling("1x")', ["'1x' is no duration", "flows/revenue.py:33"]),
    ],
)
def test_a_broken_module(shop: Path, old: str, new: str, expected: list[str]) -> None:
    """Whatever the author's module raises is told with the author's line alone."""
    edit(shop, old, new)

    answer = typed(shop, "run", "revenue")

    assert answer.code == 2
    assert [text for text in expected if text not in answer.err] == []
    assert "Traceback" not in answer.err
    assert "importlib" not in answer.err
    assert "Traceback" in typed(shop, "run", "revenue", "--debug").err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], "Missing argument 'FLOW'"),
        (["run", "revenu"], "there is no flow 'revenu' in"),
        (["run", "revenu"], "Did you mean 'revenue'?"),
        (["run", "flows/revenu.py"], "there is no file flows/revenu.py. Did you mean 'revenue.py'?"),
        (["run", "flows/revenue.py:floww"], "Did you mean 'flow'?"),
        (["run", "revenue", "--env", "prodution"], "no environment 'prodution'. Did you mean 'production'?"),
        (["run", "revenue", "--set", "vaat=1"], "the flow has no parameter 'vaat'. Did you mean 'vat'?"),
        (["run", "revenue", "--set", "vat=much"], "the parameter 'vat' is 'much', which is not a number"),
        (["run", "revenue", "--set", "vat"], "--set 'vat' is not KEY=VALUE"),
        (["run", "revenue", "--foo"], "No such option: --foo"),
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run", "revenue", "--env", "production", "--reset", "--yes"], "is production: a flow is not reset there"),
        (["run", "revenue", "--dry-run"], "--dry-run says what --reset would remove"),
        (["ledger", "revenue"], "the flow 'revenue' never ran in environment 'dev'"),
        (["deadletters", "flows/revenue.py"], "the flow 'revenue' never ran in environment 'dev'"),
        (["sql", ""], "the query is empty"),
        (["show", "revenue", "--svg", "nowhere/a.svg"], "nowhere/a.svg can't be written"),
        (["tables", "--project", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_command(shop: Path, arguments: list[str], expected: str) -> None:
    """A wrong command says what is wrong, ends with 2, and leaves no folder behind."""
    answer = typed(shop, *arguments)

    assert expected in answer.err
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert not (shop / ".penstock").exists()


def test_an_unbound_topic_shows_the_lines_to_add(shop: Path) -> None:
    """Where nothing says what a topic is, the message holds the lines for penstock.toml."""
    edit(shop, 'ps.topic("orders"', 'ps.topic("sales"')

    answer = typed(shop, "run", "revenue")

    assert answer.code == 2
    assert "the environment 'dev' does not say where the topic 'sales' is" in answer.err
    assert "[env.dev.bind.sales]" in answer.err
    assert "or put the rows into seed/sales.jsonl" in answer.err


def test_garbage_in_penstock_toml(shop: Path) -> None:
    """A wrong key is named with file, line and what was meant."""
    with (shop / "penstock.toml").open("a") as file:
        file.write('\n[env.test]\nfoldr = "x"\n')
    last = len((shop / "penstock.toml").read_text().splitlines())

    answer = typed(shop, "run", "revenue")

    assert answer.code == 2
    assert f"penstock.toml:{last}: [env.test] foldr: unknown key 'foldr'. Did you mean 'folder'?" in answer.err


def test_a_folder_that_cannot_be_written(shop: Path) -> None:
    """A file in the place of the environment's folder is one clear error."""
    (shop / ".penstock").write_text("")

    answer = typed(shop, "run", "revenue")

    assert answer.code == 2
    assert "the folder of the environment can't be written" in answer.err
