"""Fixtures for the whole suite: real servers, started once a session, on a free loopback port; hypothesis profiles.

`HYPOTHESIS_PROFILE=hunt` looks for new counterexamples; the default one tries the same few examples each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from penstock.clock import new_id
from penstock.testing import servers

_CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.register_profile("ci", _CALM, max_examples=6, derandomize=True, database=None)
settings.register_profile("hunt", _CALM, max_examples=300, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.PostgresServer]:
    """The session's PostgreSQL. To stop or crash one, start your own: `servers.postgres()`."""
    with servers.postgres() as server:
        yield server


@pytest.fixture
def postgres_dsn(postgres_server: servers.PostgresServer) -> Iterator[str]:
    """A fresh, empty database; dropped at the end together with its replication slots."""
    name = f"test_{new_id()}"
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            yield postgres_server.dsn_of(name)
        finally:
            _drop(connection, name)


def _drop(connection: psycopg.Connection, name: str) -> None:
    in_use = "select pid from pg_stat_activity where datname = %s"
    for (pid,) in connection.execute(in_use, [name]).fetchall():
        connection.execute("select pg_terminate_backend(%s, 5000)", [pid])
    for (slot,) in connection.execute("select slot_name from pg_replication_slots where database = %s", [name]):
        connection.execute("select pg_drop_replication_slot(%s)", [slot])
    connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def nats_server() -> Iterator[servers.NatsServer]:
    """The session's NATS with JetStream. To stop or crash one, start your own: `servers.nats()`."""
    with servers.nats() as server:
        yield server


@pytest.fixture
def nats_url(nats_server: servers.NatsServer) -> str:
    """Where the session's NATS is. Streams stay for the session: give yours a name of its own (`clock.new_id`)."""
    return nats_server.url
