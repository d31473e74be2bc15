"""Fixtures for the whole suite: real servers, started once a session, on a free loopback port."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from penstock.clock import new_id
from penstock.testing import servers


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
