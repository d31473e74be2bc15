"""`penstock versions` and `penstock diff`: which versions of a flow there are, and what is different between two."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.control import Bundle, find_flow, load_flow, make_bundle, opened_ledger, prepare
from tests.interfaces.user import typed

FLOW = '''
"""Totals by customer."""
import polars as pl
import penstock as ps

import rates

flow = ps.Flow("totals")


def priced(batch):
    return batch.with_columns(price=rates.price(pl.col("cost")))


orders = flow.read(ps.files("orders.jsonl", schema={"id": int, "customer": str, "cost": float}))
paid = orders.filter(pl.col("cost") > 0)
prices = paid.map_batches(priced)
totals = prices.group_by("customer").agg(orders=pl.len(), spent=pl.col("price").sum())
totals.write(ps.table("totals", key="customer"))
'''
RATES = """
FACTOR = 1.21


def price(cost):
    return cost * FACTOR
"""


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules and search path that a test loads are gone after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a flow and a helper."""
    (tmp_path / "totals.py").write_text(FLOW)
    (tmp_path / "rates.py").write_text(RATES)
    (tmp_path / "orders.jsonl").write_text(
        "".join(json.dumps({"id": n, "customer": "ada", "cost": n}) + "\n" for n in range(3))
    )
    return tmp_path


def kept(root: Path, why: str = "") -> Bundle:
    """The working tree, kept as a version and noted in the ledger."""
    forget()
    target = find_flow("totals", root)
    environment = target.project.environment("dev")
    prepared = prepare(load_flow(target, environment), environment)
    with opened_ledger(environment) as ledger:
        return make_bundle(prepared, who="ada", why=why, ledger=ledger)


def forget() -> None:
    """As a new process would begin."""
    for name in ("totals", "rates"):
        sys.modules.pop(name, None)


def change(root: Path, file: str, old: str, new: str) -> None:
    """Edit a file."""
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))


def diff(root: Path, *versions: str) -> dict[str, Any]:
    """The difference as values."""
    forget()
    answer = typed(root, "diff", "totals", *versions, "--json")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


def test_versions_are_listed(root: Path) -> None:
    """Who made it, when and why; which of them the last epochs are of."""
    assert "no version is kept yet" in typed(root, "versions", "totals").out
    first = kept(root, "the first")
    forget()
    assert typed(root, "run", "totals", "--plain").code == 0
    change(root, "rates.py", "1.21", "1.19")
    second = kept(root, "another rate")

    lines = typed(root, "versions", "totals").out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [first.id, second.id]
    assert "ada" in lines[2]
    assert lines[2].split()[-3:] == ["the", "first", "current"]
    listed = json.loads(typed(root, "versions", "totals", "--json").out)["versions"]
    assert [(one["id"], one["current"], one["here"], one["why"]) for one in listed] == [
        (first.id, True, True, "the first"),
        (second.id, False, True, "another rate"),
    ]


def test_a_version_is_known_where_its_files_are_not(root: Path) -> None:
    """From the ledger, with what its manifest says: two machines may share one."""
    bundle = kept(root)
    for path in sorted(bundle.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    bundle.folder.rmdir()

    assert "not on this machine" in typed(root, "versions", "totals").out
    assert diff(root, bundle.id[:6], "working")["is_empty"]


def test_what_runs_and_the_working_tree(root: Path) -> None:
    """Without versions given it is what the working tree would change in what runs."""
    assert "was not kept as a version, or it never ran" in typed(root, "diff", "totals").err
    kept(root)
    typed(root, "run", "totals", "--plain")
    assert diff(root)["is_empty"]

    change(root, "totals.py", "> 0", "> 1")
    (step,) = diff(root)["steps"]
    assert (step["name"], step["change"]) == ("paid", "changed")


def test_a_change_in_a_helper_is_a_change_of_the_step(root: Path) -> None:
    """The step whose function uses it is shown, and which piece of code it is, as a diff."""
    first = kept(root)
    change(root, "rates.py", "cost * FACTOR", "cost * FACTOR + 1")
    second = kept(root)

    (step,) = diff(root, first.id, second.id)["steps"]
    (code,) = step["code"]
    assert (step["name"], step["columns"]["added"]) == ("prices", {})
    assert (code["name"], code["kind"], code["change"], code["location"]) == (
        "rates.price",
        "function",
        "changed",
        "rates.py:5",
    )
    assert code["diff"].splitlines()[-3:] == [
        " def price(cost):",
        "-    return cost * FACTOR",
        "+    return cost * FACTOR + 1",
    ]
    assert diff(root, first.id, second.id)["files"] == {"rates.py": "changed"}


def test_a_value_that_a_helper_uses(root: Path) -> None:
    """A constant is told with both values."""
    first = kept(root)
    change(root, "rates.py", "1.21", "1.19")
    shown = typed(root, "diff", "totals", first.id, "working").out

    assert "  ~ prices (map_batches)\n      rates.FACTOR value changed\n" in shown
    assert "        -FACTOR = 1.21\n        +FACTOR = 1.19\n" in shown
    assert "  totals: same\n" in shown


def test_comments_do_not_count(root: Path) -> None:
    """A file that reads otherwise and does the same is no difference, and is told."""
    first = kept(root)
    change(root, "rates.py", "FACTOR = 1.21", "# in the Netherlands\nFACTOR = 1.21")
    forget()
    answer = typed(root, "diff", "totals", first.id, "working")

    assert "no step differs, and nothing that counts: both do the same" in answer.out
    assert "  ~ rates.py" in answer.out


def test_columns_ends_and_settings(root: Path) -> None:
    """Columns of every step after the change, where the rows go, and parameters."""
    first = kept(root)
    change(root, "totals.py", "orders=pl.len(),", 'orders=pl.len(), least=pl.col("id").min(),')
    change(
        root, "totals.py", 'ps.table("totals", key="customer")', 'ps.table("sums", key="customer"), name="write_totals"'
    )
    (root / "penstock.toml").write_text("[env.dev.bind.sums]\nkind = 'duckdb'\npath = 'a.db'\n")
    found = diff(root, first.id, "working")

    assert {step["name"]: step["columns"]["added"] for step in found["steps"]} == {
        "totals": {"least": "Int64"},
        "write_totals": {"least": "Int64"},
    }
    (end,) = found["ends"]
    assert (end["before"], end["after"]) == (
        "delta .penstock/dev/tables/totals, key customer",
        "duckdb a.db, key customer",
    )


def test_steps_come_go_and_are_renamed(root: Path) -> None:
    """A new one, one that is gone, and one that has another name; steps behind it are told of their new input."""
    first = kept(root)
    change(
        root,
        "totals.py",
        'paid = orders.filter(pl.col("cost") > 0)',
        "positive = orders.filter(pl.col(\"cost\") > 0)\nlarge = positive.filter(pl.col('id') > 1)",
    )
    change(root, "totals.py", "prices = paid.map", "prices = large.map")
    change(root, "totals.py", "totals.write(", "flow.renamed('paid', 'positive')\ntotals.write(")
    found = {step["name"]: step for step in diff(root, first.id, "working")["steps"]}

    assert {name: step["change"] for name, step in found.items()} == {
        "positive": "renamed",
        "large": "added",
        "prices": "changed",
    }
    assert found["positive"]["old_name"] == "paid"
    assert found["prices"]["inputs"] == [["paid"], ["large"]]


def test_the_state_verdict_shows_the_lines_to_write(root: Path) -> None:
    """A new aggregate is refused with what the author may write; with that line in the flow it is not."""
    first = kept(root)
    change(root, "totals.py", "orders=pl.len(),", 'orders=pl.len(), most=pl.col("price").max(),')
    shown = typed(root, "diff", "totals", first.id, "working").out
    assert "state: the new version can't take it over as it is\n  totals: refused\n" in shown
    (line,) = [line.strip() for line in shown.splitlines() if "columns=" in line]

    change(root, "totals.py", "totals.write(", f"{line}\ntotals.write(")
    found = diff(root, first.id, "working")

    assert found["state"]["is_compatible"]
    assert [table["outcome"] for table in found["state"]["tables"]] == ["column-added"]


def test_a_version_that_is_not_there(root: Path) -> None:
    """It is said which there are."""
    bundle = kept(root)

    answer = typed(root, "diff", "totals", "abcdef", bundle.id)

    assert answer.code == 2
    assert "totals has no version 'abcdef' in dev" in answer.err
    assert bundle.id in answer.err
