"""The ledger in both databases, for the suites that run over each implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from penstock.clock import new_id
from penstock.ledger import Ledger
from penstock.testing.servers import PostgresServer
from tests.ledger.facts import Open, opener


@pytest.fixture(scope="session")
def ledger_dsn(postgres_server: PostgresServer) -> str:
    """One database for all ledgers of the session, because creating one takes a second: each test is an environment."""
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
        connection.execute("create database ledgers")
    return postgres_server.dsn_of("ledgers")


@pytest.fixture(params=["sqlite", "postgresql"])
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same ledger as often as it is called, as several processes would; closes all at the end."""
    where = tmp_path / "ledger" if request.param == "sqlite" else request.getfixturevalue("ledger_dsn")
    closing: list[Ledger] = []
    yield opener(where, tmp_path / "rolled", closing, env=f"test-{new_id()}")
    for ledger in closing:
        ledger.close()


@pytest.fixture
def ledger(open_it: Open) -> Ledger:
    """An empty ledger of an environment of its own."""
    return open_it()
