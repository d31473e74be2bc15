"""Names of steps over versions: what a plan of another version means, and where a step keeps its things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import StepNames


def names(read: str, renames: Mapping[str, str], others: Sequence[Mapping[str, str]] = ()) -> StepNames:
    """Those of a flow with one step that reads."""
    flow = ps.Flow("f")
    for old, new in renames.items():
        flow.renamed(old, new)
    flow.read(ps.topic("t", schema={"id": pl.Int64}), name=read).write(ps.table("out"), name="out")
    return StepNames(flow.build(), others)


CASES = [
    ("rows", {}, [], {}, "rows"),
    ("orders", {"rows": "orders"}, [], {"rows": "orders"}, "rows"),
    ("sales", {"orders": "sales"}, [{"rows": "orders"}], {"rows": "sales", "orders": "sales"}, "rows"),
    ("sales", {}, [{"orders": "sales"}, {"rows": "orders"}], {"rows": "sales", "orders": "sales"}, "rows"),
    ("rows", {}, [{"rows": "orders"}, {"orders": "sales"}], {"orders": "rows", "sales": "rows"}, "rows"),
    ("rows", {}, [{"rows": "out"}], {}, "rows"),
    ("rows", {}, [{"old": "rows"}, {"rows": "old"}], {"old": "rows"}, "old"),
]


@pytest.mark.parametrize(("read", "renames", "others", "own", "first"), CASES)
def test_a_step_is_known_by_every_name_that_it_had(
    read: str, renames: Mapping[str, str], others: Sequence[Mapping[str, str]], own: Mapping[str, str], first: str
) -> None:
    """Whoever renamed it; a name that is another step of this version means that step, and nothing else."""
    found = names(read, renames, others)
    assert found.own == own
    assert found.first(read) == first


def test_names_are_learned() -> None:
    """A version that comes later may have renamed it once more."""
    found = names("rows", {})
    found.add({"rows": "orders"})
    assert found.own == {"orders": "rows"}
