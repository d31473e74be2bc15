"""How a gate and a receipt look: held to the texts in `screens/`.

`PENSTOCK_UPDATE=1` writes them again; then read them.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from penstock.connect import Change
from penstock.control import Conduct, Determinism, Gate, Judgement, Receipt, RowDiff
from penstock.control.gate import SinkComparison, judge, row_counts
from penstock.control.policies import DeployPolicy
from penstock.interfaces.cli.gate_screen import (
    gate_json,
    print_gate,
    print_receipt,
    receipt_json,
    value_text,
    verdict_sentence,
)

SCREENS = Path(__file__).parent / "screens"
UPDATES = os.environ.get("PENSTOCK_UPDATE") == "1"
ROWS = 1000


def compared() -> dict[str, RowDiff]:
    """Ten epochs of a version with a wrong tax, beside the one before it."""
    address = pl.format("Kalverstraat {}, 1012 AB Amsterdam, the Netherlands, third floor at the back", "id")
    old = pl.DataFrame({"id": range(ROWS)}).with_columns(
        country=pl.when(pl.col("id") % 2 == 0).then(pl.lit("NL")).otherwise(pl.lit("DE")),
        amount=pl.col("id") / 2,
        note=pl.lit(None, pl.String),
        address=address,
    )
    new = old.with_columns(
        amount=pl.when(pl.col("id") % 50 == 0).then(pl.col("amount") * 1.25).otherwise("amount"),
        note=pl.when(pl.col("id") == 100).then(pl.lit("late, sorry")).otherwise("note"),
        address=pl.when(pl.col("id") == 150).then(address.str.replace("third", "fourth")).otherwise("address"),
    )
    double = new.head(1).with_columns(id=pl.lit(5000, pl.Int64))
    new = pl.concat([new.filter(pl.col("id") != 7), double, double])
    found = SinkComparison({"revenue": [], "by_id": ["id"], "audit": []}, {"revenue": [], "by_id": ["id"], "audit": []})
    for place in range(10):
        first, last = place * 100, (place + 1) * 100 if place < 9 else new.height
        before, after = old[first : first + 100], new[first:last]
        gone = pl.DataFrame({"id": [7]}) if place == 3 else None
        found.feed(
            101 + place,
            {"revenue": Change(before), "by_id": Change(before, gone), "audit": Change(before.select("id"))},
            {
                "revenue": Change(after.with_columns(rank=pl.lit(1, pl.Int64))),
                "by_id": Change(after.unique("id", maintain_order=True)),
                "audit": Change(before.select("id")),
            },
        )
    return found.diffs()


CHANGES: Mapping[str, Any] = {
    "steps": [
        {"name": "clean", "change": "changed", "old_name": "", "code": [{"name": "normalise"}, {"name": "VAT"}]},
        {"name": "rank", "change": "added", "code": []},
        {"name": "totals", "change": "renamed", "old_name": "sums", "code": []},
    ],
    "ends": [{"step": "out", "writes": True, "change": "changed", "before": "delta a", "after": "delta b"}],
    "settings": {"polars": ["2.0", "2.1"]},
}
OLD = Conduct("0ld0", 10, 1000, 1000, 0, 3, {"not_null(country)": 0}, {"not_null(country)": 1000}, 12.3)
NEW = replace(OLD, version="2e42", rows_out=1002, checks_failed={"not_null(country)": 4}, run_ms_p50=31.0)
GATE = Gate(
    "orders",
    "production",
    "0ld0aaaabbbbccccdddd",
    "2e42ffffeeee00001111",
    (101, 110),
    CHANGES,
    {"is_compatible": True},
    {"sums.groups": 1200},
    compared(),
    OLD,
    NEW,
    Determinism(5),
)
FINE = replace(GATE, rows={"audit": GATE.rows["audit"]}, new=replace(OLD, run_ms_p50=12.0), changes={}, migrated={})
RECEIPT = Receipt(
    kind="deploy",
    flow="orders",
    env="production",
    id="d7f3",
    old_version=GATE.old_version,
    new_version=GATE.new_version,
    leads=GATE.new_version,
    generation=8,
    pause_ms=60.04,
    gap_ms=80.2,
    usual_gap_ms=20.16,
    shadowed=(101, 110),
    cut_epoch=111,
    watched=(112, 140),
    rows_lost=0,
    rows_duplicated=0,
    differences={sink: row_counts(diff) for sink, diff in GATE.rows.items()},
    state_rows_migrated=1200,
    checks_failed={"not_null(country)": 4},
    who="ada",
    why="new VAT rate",
    approved_by="bob",
    forced=True,
    began_us=1_700_000_000_000_000,
    ended_us=1_700_000_095_000_000,
)
ROLLED_BACK = replace(
    RECEIPT,
    status="rolled-back",
    leads=GATE.old_version,
    back_pause_ms=8.25,
    rows_lost=None,
    faults=("epochs 112..113 are missing",),
    differences={},
    reasons=("an epoch takes 31.0 ms, 12.3 ms with the old version: 2.5 times as long, allowed: 1.5",),
    forced=False,
)

DRAWN: Mapping[str, Callable[[Console], None]] = {
    "gate": lambda out: print_gate(out, GATE, judge(GATE, DeployPolicy())),
    "passed": lambda out: print_gate(out, FINE, judge(FINE, DeployPolicy(approve="always"))),
    "receipt": lambda out: print_receipt(out, RECEIPT),
    "rolled_back": lambda out: print_receipt(out, ROLLED_BACK),
}


def drawn(draw: Callable[[Console], None], *, width: int, terminal: bool) -> str:
    """What comes out, colours and all."""
    out = Console(
        width=width,
        file=io.StringIO(),
        force_terminal=terminal,
        highlight=False,
        color_system="standard" if terminal else None,
    )
    draw(out)
    text = out.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


@pytest.mark.parametrize("name", DRAWN)
def test_a_terminal_of_80_columns(name: str) -> None:
    """No line is longer, and the text is the one that somebody has read."""
    found = re.sub(r"\x1b\[[0-9;]*m", "", drawn(DRAWN[name], width=80, terminal=True))
    found = "".join(f"{line.rstrip()}\n" for line in found.splitlines())
    golden = SCREENS / f"{name}.txt"
    if UPDATES:
        golden.write_text(found)

    assert found == golden.read_text()
    assert max(map(len, found.splitlines())) <= 80


@pytest.mark.parametrize("name", DRAWN)
def test_a_pipe_gets_whole_lines(name: str) -> None:
    """Nothing is broken, coloured or filled up with blanks: each line can be searched for."""
    lines = drawn(DRAWN[name], width=10_000, terminal=False).splitlines()
    whole = " ".join(" ".join((SCREENS / f"{name}.txt").read_text().split()).split())

    assert "\x1b" not in "".join(lines)
    assert max(map(len, lines)) < 300
    assert " ".join(" ".join(lines).split()) == whole


def test_changed_cells_stand_out() -> None:
    """The old value is red, the new one green."""
    found = drawn(DRAWN["gate"], width=200, terminal=True)

    assert "\x1b[1mamount \x1b[0m\x1b[31m25.0\x1b[0m\x1b[2m -> \x1b[0m\x1b[32m31.25\x1b[0m" in found
    assert "\x1b[1;33msomebody has to decide\x1b[0m" in found


def test_without_samples_no_value_is_shown() -> None:
    """Who may not see rows sees counts and columns."""
    found = drawn(
        lambda out: print_gate(out, GATE, judge(GATE, DeployPolicy()), samples=False), width=200, terminal=False
    )

    assert "19 of 1,001 rows changed" in found
    assert "Kalverstraat" not in found
    assert "31.25" not in found


def test_json() -> None:
    """The same for programs: the sentence, the judgement, and all that it rests on."""
    judged = judge(GATE, DeployPolicy())
    found = json.loads(json.dumps(gate_json(GATE, judged)))

    assert found["verdict"] == verdict_sentence(GATE, judged)
    assert Judgement.from_json(found["judgement"]) == judged
    assert Gate.from_json(found["gate"]).rows == GATE.rows
    summary = json.loads(json.dumps(receipt_json(RECEIPT)))["summary"]
    assert (
        summary == "orders in production: deploy done, 2e42ffffeeee leads; a pause of 60 ms, 0 rows lost, 0 rows twice"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("null", '"null"'),
        ("", '""'),
        ("a b", "a b"),
        ("a, b", '"a, b"'),
        ("1.5", '"1.5"'),
        (1.5, "1.5"),
        (True, "true"),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ("x" * 60, "x" * 45 + "..."),
    ],
)
def test_values_are_told_apart(value: Any, text: str) -> None:
    """A text that reads like something else is quoted."""
    assert value_text(value) == text


def test_a_text_that_only_changed_its_type() -> None:
    """`1 -> 1` would say nothing."""
    diff = RowDiff(
        "out",
        rows_old=1,
        rows_new=1,
        changed=1,
        changes={("x",): 1},
        samples={"changed": [{"key": {}, "columns": ["x"], "old": {"x": 1}, "new": {"x": "1"}}]},
    )
    gate = replace(FINE, rows={"out": diff})

    assert '~ x 1 -> "1"' in drawn(
        lambda out: print_gate(out, gate, judge(gate, DeployPolicy())), width=80, terminal=False
    )
