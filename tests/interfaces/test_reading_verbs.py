"""`show`, `ledger`, `deadletters`, and the help: what they print."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from xml.dom import minidom

from penstock.interfaces.cli.main import VERBS
from tests.interfaces.user import environment, typed


def test_show_draws_the_steps_and_what_they_are_bound_to(shop: Path) -> None:
    """Each step, its columns, what each end is bound to and by whom, and the parameters; nothing runs."""
    answer = typed(shop, "show", "revenue")

    assert answer.code == 0, answer.err
    for text in (
        "per_hour",
        "window_start",
        "tumbling 1h",
        "files seed/orders.jsonl",
        "seed",
        "default",
        "vat",
        "0.21",
    ):
        assert text in answer.out
    assert not (shop / ".penstock").exists()


def test_show_writes_a_picture(shop: Path) -> None:
    """`--svg` writes a well-formed SVG."""
    assert typed(shop, "show", "revenue", "--svg", "graph.svg").code == 0
    picture = minidom.parse(str(shop / "graph.svg"))  # noqa: S318 - our own file
    assert picture.documentElement is not None
    assert picture.documentElement.tagName == "svg"


def test_show_as_json(shop: Path) -> None:
    """`--json` gives steps with their columns and datasets with what they are bound to."""
    found = json.loads(typed(shop, "show", "revenue", "--json").out)

    steps = {step["name"]: step for step in found["steps"]}
    assert steps["per_hour"]["columns"]["revenue"] == "Float64"
    assert [(one["name"], one["kind"], one["bound_by"]) for one in found["datasets"]] == [
        ("orders", "files", "seed"),
        ("revenue_by_country", "delta", "default"),
    ]


def test_show_of_production_needs_no_secret(shop: Path) -> None:
    """A flow can be looked at as production binds it, on a machine that has none of production's secrets."""
    answer = typed(shop, "show", "revenue", "--env", "production")

    assert answer.code == 0, answer.err
    assert "postgres revenue_by_country" in answer.out


def test_ledger_lists_the_newest_epochs(held: Path) -> None:
    """`--last` gives the newest epochs in their order; `--json` the whole records."""
    (held / "go").touch()
    assert typed(held, "run", "held.py").code == 0

    table = typed(held, "ledger", "held", "--last", "2").out
    records = json.loads(typed(held, "ledger", "held", "--last", "2", "--json").out)["epochs"]

    assert [(record["epoch"], record["rows_in"]) for record in records] == [(2, {"numbers": 10}), (3, {"numbers": 10})]
    assert "held in dev: does not run now" in table


def test_dead_letters_are_grouped_by_cause(shop: Path) -> None:
    """One line a cause, with a count and an example; `--json` has the whole letters."""
    bad = '{"order_id": 1, "ordered_at": "2026-03-02T09:00:00", "country": "NL", "status": "paid", "amount": "?"}\n'
    seed = shop / "seed" / "orders.jsonl"
    seed.write_text(seed.read_text() + bad + "no json\n")
    typed(shop, "run", "revenue")

    groups = json.loads(typed(shop, "deadletters", "revenue", "--group", "--json").out)
    letters = json.loads(typed(shop, "deadletters", "revenue", "--json").out)

    assert groups["count"] == letters["count"] == 3
    assert [group["count"] for group in groups["groups"]] == [2, 1]
    assert letters["dead_letters"][-1]["payload"] == "no json"
    assert "3 dead letters" in typed(shop, "deadletters", "revenue").out
    assert typed(shop, "deadletters", "revenue", "--group").code == 0


def test_help_loads_no_kernel() -> None:
    """`penstock --help` imports neither Polars nor DuckDB nor pydantic, so it is quick."""
    code = (
        "import sys; from penstock.interfaces.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit:\n"
        "    print('loaded', {'polars', 'duckdb', 'pyarrow', 'sqlalchemy', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())

    assert "loaded set()" in done.stdout
    assert [verb for verb in VERBS if f"\n  {verb} " not in done.stdout] == []


def test_the_table_of_verbs_says_what_the_verbs_say() -> None:
    """The line in the list of verbs is the first line of the verb's own help."""
    for verb in VERBS.values():
        command = importlib.import_module(verb.module).command
        assert (inspect.getdoc(command) or "").splitlines()[0] == verb.help


def test_version(tmp_path: Path) -> None:
    """`--version` prints name and version."""
    assert typed(tmp_path, "--version").out.startswith("penstock 0.")
