"""Dead letters as a person handles them: look, mend, try in memory, try again for good, each row exactly once."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from penstock.control import read_server
from penstock.control.project import project_for
from tests.interfaces.user import COMMAND, PATIENCE_S, environment, penstock, started, typed

FLOW = """
import polars as pl

import penstock as ps

flow = ps.Flow("orders", epoch_rows=3)
SCHEMA = {"id": int, "key": str, "amount": int}
rows = flow.read(ps.topic("orders", schema=SCHEMA))


def share(row):
    return {**row, "share": 100 // row["amount"]}


shared = rows.map(share, schema={**SCHEMA, "share": int})
shared.write(ps.table("shares"))
totals = shared.group_by("key").agg(n=pl.len())
totals.write(ps.table("totals", key="key"))
"""
PLACES = "".join(
    f'[env.dev.bind.{name}]\nkind = "delta"\npath = "out/{name}"\nmin_epoch_ms = 0\n' for name in ("shares", "totals")
)
POISON = (2, 5, 6)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project whose flow refuses three rows and a line, and has run to the end of its input."""
    return made(tmp_path)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a run, for tests that change nothing."""
    return ran(made(tmp_path_factory.mktemp("still")))


def made(folder: Path) -> Path:
    """Write the project into a folder."""
    (folder / "orders.py").write_text(FLOW)
    (folder / "penstock.toml").write_text(PLACES)
    rows = [{"id": n, "key": "ab"[n % 2], "amount": 0 if n in POISON else n} for n in range(1, 11)]
    (folder / "seed").mkdir()
    lines = [json.dumps(row) for row in rows] + ['{"id": 11, "amount": "x"}']
    (folder / "seed" / "orders.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def ran(folder: Path) -> Path:
    """The project after a run."""
    answer = typed(folder, "run", "orders", "--plain")
    assert answer.code == 0, answer.err
    return folder


def mend(folder: Path) -> None:
    """Let the step take a zero."""
    file = folder / "orders.py"
    file.write_text(file.read_text().replace('100 // row["amount"]', '100 // (row["amount"] or 1)'))


def letters(folder: Path, flow: str = "orders") -> list[dict[str, Any]]:
    """All letters as `--json` gives them."""
    found: list[dict[str, Any]] = json.loads(typed(folder, "deadletters", flow, "--json").out)["dead_letters"]
    return found


def shares(folder: Path) -> Counter[int]:
    """The ids in the table of shares, each as often as it is there."""
    out = typed(folder, "sql", "select id from shares", "--format", "json").out
    return Counter(json.loads(line)["id"] for line in out.splitlines())


def totals(folder: Path) -> dict[str, int]:
    """The counts by key."""
    out = typed(folder, "sql", "select * from totals", "--format", "json").out
    return {row["key"]: row["n"] for row in map(json.loads, out.splitlines())}


def test_rows_are_mended_tried_and_then_each_written_once(shop: Path) -> None:
    """Poison, a look, mended code and row, a dry run that writes nothing, a replay that a kill interrupts."""
    ran(shop)
    groups = {
        one["step"]: one for one in json.loads(typed(shop, "deadletters", "orders", "-g", "--json").out)["groups"]
    }
    assert groups["shared"]["count"] == len(POISON)
    assert "ZeroDivisionError" in typed(shop, "deadletters", "orders", "--group").out

    before = typed(shop, "deadletters", "orders", "--dry-run", "--cause", groups["shared"]["cause"])
    assert before.code == 1
    assert "falls again: shared: integer division" in before.out
    mend(shop)
    tried = typed(shop, "deadletters", "orders", "--dry-run", "--cause", groups["shared"]["cause"], "--json")
    assert tried.code == 0
    told = json.loads(tried.out)["letters"]
    assert [(one["verdict"], one["rows"]["write_shares"][0]["share"]) for one in told] == [("written", 100)] * 3
    assert [one["rows"]["write_totals"][0]["n"] for one in told] == [4, 5, 5], "each sees what those before it left"
    assert shares(shop) == Counter(set(range(1, 11)) - set(POISON))
    assert {one["state"] for one in letters(shop)} == {"open"}

    assert typed(shop, "deadletters", "orders", "--replay", "--cause", groups["shared"]["cause"]).code == 0
    edited = typed(shop, "deadletters", "orders", "--edit", "4", "--payload", '{"id": 11, "key": "a", "amount": 4}')
    assert "penstock run orders" in edited.out
    assert {one["state"] for one in letters(shop)} == {"waiting"}
    killed = subprocess.run(
        [*COMMAND, "run", "orders", "--plain"],
        cwd=shop,
        env={**environment(), "PENSTOCK_KILL_AT": "before-commit"},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert {one["state"] for one in letters(shop)} == {"waiting"}
    ran(shop)

    assert shares(shop) == Counter(range(1, 12))
    assert totals(shop) == {"a": 6, "b": 5}
    assert [one["state"] for one in letters(shop)] == ["redriven in epoch 5"] * 3 + ["redriven in epoch 6"]
    again = typed(shop, "deadletters", "orders", "--replay", "--id", "1")
    assert again.code == 2
    assert "redriven in epoch 5" in again.err


def test_letters_can_be_given_up_and_stay_known(shop: Path) -> None:
    """A reason is asked for; what was dropped says so, is not tried again, and can't be asked for."""
    ran(shop)
    assert typed(shop, "deadletters", "orders", "--drop", "--id", "1").code == 2
    shown = typed(shop, "deadletters", "orders", "--drop", "--dry-run", "--all")
    assert "4 dead letters would be dropped" in shown.out
    dropped = typed(shop, "deadletters", "orders", "--drop", "--id", "1", "--id", "4", "--why", "test rows")
    assert "2 dead letters dropped" in dropped.out

    assert [one["state"] for one in letters(shop)] == ["dropped: test rows", "open", "open", "dropped: test rows"]
    assert "(2 dropped, 2 open)" in typed(shop, "deadletters", "orders").out
    assert typed(shop, "deadletters", "orders", "--replay", "--id", "1").code == 2
    mend(shop)
    typed(shop, "deadletters", "orders", "--replay", "--all")
    ran(shop)
    assert shares(shop) == Counter(set(range(1, 11)) - {2})


def test_a_row_is_edited_in_the_editor_of_who_sits_at_a_terminal(shop: Path) -> None:
    """$EDITOR opens with the row; without a terminal the row has to be given, and an unedited one changes nothing."""
    ran(shop)
    alone = penstock(shop, "deadletters", "orders", "--edit", "4")
    assert alone.code == 2
    assert "--payload" in alone.err
    editor = shop / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i \'s/"x"/7/; s/"id": 11/"id": 12, "key": "b"/\' "$1"\n')
    editor.chmod(0o755)
    outcomes = []
    for program in (str(editor), "true"):
        master, slave = pty.openpty()
        done = subprocess.run(
            [*COMMAND, "deadletters", "orders", "--edit", "4"],
            cwd=shop,
            stdin=slave,
            env={**environment(), "EDITOR": program, "VISUAL": ""},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        os.close(master)
        os.close(slave)
        outcomes.append((done.returncode, "not edited" in done.stderr))
    assert outcomes == [(0, False), (2, True)]
    ran(shop)
    assert shares(shop)[12] == 1


def test_a_running_flow_takes_letters_by_itself(shop: Path) -> None:
    """Under `penstock up` the leader tries them between two epochs, and the command tells what came of each."""
    (shop / "orders.py").write_text(
        FLOW.replace('ps.topic("orders", schema=SCHEMA)', 'ps.files("seed/orders.jsonl", schema=SCHEMA, tail=True)')
    )
    with started(shop, "up") as server:
        while read_server(project_for(shop).environment("dev").folder) is None:
            assert server.process.poll() is None
        assert penstock(shop, "start", "orders").code == 0
        while len(letters(shop)) < 4:
            assert server.process.poll() is None
        edited = penstock(
            shop, "deadletters", "orders", "--edit", "1", "--payload", '{"id": 2, "key": "a", "amount": 50}', "--json"
        )
        refused = penstock(shop, "deadletters", "orders", "--replay", "--id", "2", "--id", "3")
        assert penstock(shop, "down").code == 0

    assert edited.code == 0, edited.err
    told = json.loads(edited.out)
    assert told["done"]
    assert [one["id"] for one in told["letters"]] == [1]
    assert told["letters"][0]["state"].startswith("redriven in epoch ")
    assert refused.code == 1
    assert "2 rows fell again, as 5, 6" in refused.out
    assert shares(shop) == Counter(set(range(1, 11)) - {5, 6})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--replay"], "needs to know which letters"),
        (["--replay", "--drop", "--all"], "--replay and --drop are different things"),
        (["--all"], "not what to do with them"),
        (["--payload", "{}"], "--edit ID"),
        (["--replay", "--all", "--version", "abc"], "--dry-run"),
        (["--replay", "--id", "99"], "there is no dead letter 99"),
        (["--replay", "--cause", "zz"], "0 causes begin with 'zz'"),
        (["--edit", "4", "--payload", "[1]"], "no JSON object"),
        (["--edit", "4", "--payload", "{"], "not JSON"),
    ],
)
def test_what_does_not_make_sense_is_refused_before_anything_is_changed(
    still: Path, given: list[str], told: str
) -> None:
    """Exit code 2, the way out in words, and every letter as it was."""
    answer = typed(still, "deadletters", "orders", *given)
    assert answer.code == 2
    assert told in answer.err
    assert {one["state"] for one in letters(still)} == {"open"}


def test_a_row_whose_windows_are_closed_is_said_to_be_late(tmp_path: Path) -> None:
    """After the end of the input a mended order comes too late for its hour: the dry run says so, the table stays."""
    assert typed(tmp_path, "init", "late").code == 0
    folder = tmp_path / "late"
    assert typed(folder, "run", "revenue", "--plain").code == 0
    before = typed(folder, "sql", "select sum(orders) as n from revenue_by_country", "--format", "json").out
    row = '{"order_id": 1, "ordered_at": "2026-03-02T08:01:32", "country": "DE", "status": "paid", "amount": 12.5}'

    tried = typed(folder, "deadletters", "revenue", "--edit", "1", "--payload", row, "--dry-run", "--json")
    typed(folder, "deadletters", "revenue", "--edit", "1", "--payload", row)
    assert typed(folder, "run", "revenue", "--plain").code == 0

    assert json.loads(tried.out)["letters"][0]["verdict"] == "late"
    assert json.loads(tried.out)["letters"][0]["late"] == 1
    assert typed(folder, "sql", "select sum(orders) as n from revenue_by_country", "--format", "json").out == before
    assert [one["state"] for one in letters(folder, "revenue")] == ["redriven in epoch 2"]
