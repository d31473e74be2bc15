"""The ledger in both databases, for the suites that run over each implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.ledger import Ledger
from tests.ledger.facts import Open, opener


@pytest.fixture(params=["sqlite", "postgresql"])
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same ledger as often as it is called, as several processes would; closes all at the end."""
    where = tmp_path / "ledger" if request.param == "sqlite" else request.getfixturevalue("postgres_dsn")
    closing: list[Ledger] = []
    yield opener(where, tmp_path / "rolled", closing)
    for ledger in closing:
        ledger.close()


@pytest.fixture
def ledger(open_it: Open) -> Ledger:
    """An empty ledger of environment `dev`."""
    return open_it()
