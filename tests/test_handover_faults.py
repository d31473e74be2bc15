"""ARCHITECTURE.md's table "Faults of a handover" and `tests/handovers` name each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRACES = re.compile(
    r"test_(no|none)\w*_trace$|test_\w*_left_no_trace$|test_a_sink_that_is_away_leaves_no_trace$|test_the_flow_goes_on"
)
"""The last test of a file: it compares what all the others left."""


def named() -> set[str]:
    """The tests that the table names."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.partition("\n## Faults of a handover\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| fault ")]
    assert rows, "ARCHITECTURE.md has no table 'Faults of a handover'"
    untested = [row for row in rows if not re.search(r"`test_\w+`[^|]*\|$", row)]
    assert untested == [], f"a row of the table names no test: {untested[0]}"
    return set(re.findall(r"`(test_\w+)`", "\n".join(rows)))


def written() -> set[str]:
    """The tests of faults that there are."""
    found: set[str] = set()
    for file in sorted((ROOT / "tests" / "handovers").glob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found |= {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        }
    return {name for name in found if not TRACES.match(name)}


def test_each_named_test_is_there() -> None:
    """A test that was renamed takes its row along."""
    assert named() - written() == set()


def test_each_fault_has_a_row() -> None:
    """A test of a fault says in ARCHITECTURE.md what is on disk and what happens."""
    assert written() - named() == set()
