"""A path that leads to no file is told with flow, step and the closest name that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.connect import Budget, Context, open_source
from penstock.errors import ConnectorError
from penstock.flow import files


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("data/order.jsonl", "no file at {root}/data/order.jsonl. Did you mean 'orders.jsonl'?"),
        ("data/zzz.jsonl", "no file at {root}/data/zzz.jsonl."),
        ("date/orders.jsonl", "no file at {root}/date/orders.jsonl: there is no {root}/date. Did you mean 'data'?"),
        ("date/*.jsonl", "no file at {root}/date/*.jsonl: there is no {root}/date. Did you mean 'data'?"),
        ("data/*.csv", "no file at {root}/data/*.csv"),
    ],
)
def test_a_missing_file_is_told_with_the_closest_name(path: str, told: str, tmp_path: Path) -> None:
    """The first part of the path that is wrong is named, with what was likely meant; waiting for it can't help."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.jsonl").write_text('{"id": 1}\n')
    context = Context("shop", "orders", tmp_path / "kept", tmp_path, ManualClock())
    source = open_source(files(path, schema={"id": int}), context)

    with pytest.raises(ConnectorError) as caught:
        source.offer(source.initial(), Budget(10, 1_000))

    error = caught.value
    assert (error.flow, error.step, error.message) == ("shop", "orders", told.format(root=tmp_path))
    assert not error.heals
