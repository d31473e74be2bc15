"""Scenes for whole files of tests: a folder and a database each, on the session's PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeAlias

import psycopg
import pytest

from penstock.clock import new_id
from penstock.testing.servers import PostgresServer
from tests.handovers.scene import Scene, scene

__all__ = ["MakeScene"]

MakeScene: TypeAlias = Callable[..., AbstractContextManager[Scene]]


@pytest.fixture(scope="module")
def make_dsn(postgres_server: PostgresServer) -> Callable[[], str]:
    """Makes an empty database; gives where it is."""

    def make() -> str:
        name = f"scene_{new_id()}"
        with psycopg.connect(postgres_server.dsn, autocommit=True) as session:
            session.execute(f"create database {name}".encode())
        return postgres_server.dsn_of(name)

    return make


@pytest.fixture(scope="module")
def make_scene(tmp_path_factory: pytest.TempPathFactory, make_dsn: Callable[[], str]) -> MakeScene:
    """Sets a scene: takes what `scene` takes but its folder and its database."""
    return lambda **options: scene(tmp_path_factory.mktemp("scene"), options.pop("dsn", None) or make_dsn(), **options)


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, make_scene: MakeScene) -> Iterator[Scene]:
    """The scene of a file of tests, from its `SEED`: v0 leads, v1 is kept and gives what v0 gives."""
    with make_scene(seed=request.module.SEED, spares=getattr(request.module, "SPARES", 1)) as found:
        found.version("v1")
        found.start(found.version("v0"))
        yield found
