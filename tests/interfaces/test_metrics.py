"""`penstock metrics`: the numbers of flows that really ran."""

from __future__ import annotations

import json
from pathlib import Path

from tests.interfaces.user import typed


def values_of(folder: Path, name: str) -> dict[tuple[str, ...], float]:
    """A metric's values by its labels beside env and flow."""
    answer = typed(folder, "metrics", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["env"] == "dev"
    return {
        tuple(text for label, text in one["labels"].items() if label not in ("project", "env", "flow")): one["value"]
        for one in told["metrics"]
        if one["name"] == name
    }


def test_rows_are_counted_as_they_were_read_and_written(held: Path) -> None:
    """Thirty rows in, thirty out, in epochs of at most ten; a second run, which reads none, takes nothing away."""
    (held / "go").touch()
    assert typed(held, "run", "held.py").code == 0
    before = values_of(held, "penstock_epochs_total")[()]

    assert list(values_of(held, "penstock_records_in_total").values()) == [30]
    assert list(values_of(held, "penstock_records_out_total").values()) == [30]
    assert before >= 3
    assert values_of(held, "penstock_epoch_duration_seconds_count")[()] == before

    assert typed(held, "run", "held.py").code == 0
    assert list(values_of(held, "penstock_records_in_total").values()) == [30]
    assert values_of(held, "penstock_epochs_total")[()] >= before


def test_the_table_names_flow_metric_and_what_it_is_of(held: Path) -> None:
    """Without the buckets of histograms, which nobody reads."""
    (held / "go").touch()
    assert typed(held, "run", "held.py").code == 0
    shown = typed(held, "metrics", "held").out

    assert "penstock_records_in_total" in shown
    assert "penstock_freshness_seconds" in shown
    assert "_bucket" not in shown
    states = [line for line in shown.splitlines() if "penstock_flow_state" in line]
    assert len(states) == 1, "the state that it is in, and no other"


def test_nothing_ran_yet(held: Path) -> None:
    """A person is told so, and who names a flow is told what to type."""
    assert "no flow ever ran in dev" in typed(held, "metrics").out
    answer = typed(held, "metrics", "held")

    assert answer.code != 0
    assert "never ran" in answer.err
