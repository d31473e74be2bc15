"""A ledger that is gone, or older than what the sink holds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import penstock as ps
from penstock.clock import new_id
from penstock.errors import LedgerError
from penstock.flow import Dataset
from tests.faults.story import EXPECTED, Story, make_input, rows_in


@pytest.fixture(params=["parquet", "delta", "duckdb", "postgres", "nats"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    """An empty target."""
    made: dict[str, Callable[[], Dataset]] = {
        "parquet": lambda: ps.parquet("out"),
        "delta": lambda: ps.delta(str(tmp_path / "out"), min_epoch_ms=0),
        "duckdb": lambda: ps.duckdb_table(str(tmp_path / "out.duckdb"), "out"),
        "postgres": lambda: ps.postgres(request.getfixturevalue("postgres_dsn"), "out"),
        "nats": lambda: ps.nats(request.getfixturevalue("nats_url"), new_id()),
    }
    return made[request.param]()


@pytest.mark.parametrize("runs", [1, 2])
def test_a_lost_ledger_is_noticed_before_anything_is_written(sink: Dataset, runs: int, tmp_path: Path) -> None:
    """A sink that holds epochs of which the ledger knows nothing is refused, with the way out; the rows stay."""
    make_input(tmp_path / "rows.jsonl")
    story = Story(tmp_path, sink)
    for _ in range(runs):
        story.run()
    shutil.rmtree(story.place("ledger"))

    with pytest.raises(LedgerError) as caught:
        story.run()
    assert not caught.value.heals
    assert "lost" in str(caught.value)
    assert "--reset" in str(caught.value.hint)
    assert rows_in(sink, tmp_path) == EXPECTED


def test_a_ledger_from_a_backup_is_noticed_too(sink: Dataset, tmp_path: Path) -> None:
    """A ledger as it was some epochs ago would write rows twice: it is refused and says both numbers."""
    make_input(tmp_path / "rows.jsonl")
    story = Story(tmp_path, sink)
    story.run(max_epochs=4)
    shutil.copytree(story.place("ledger"), tmp_path / "backup")
    story.run()
    shutil.rmtree(story.place("ledger"))
    (tmp_path / "backup").rename(story.place("ledger"))

    with pytest.raises(LedgerError, match="holds this flow's epochs up to 11, the ledger knows 5") as caught:
        story.run()
    assert "--reset" in str(caught.value.hint)
    assert rows_in(sink, tmp_path) == EXPECTED
