"""Servers that crash in the middle of a run: waited for, or told of; and answers that never arrive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import penstock as ps
from penstock.clock import new_id
from penstock.engine import Progress
from penstock.errors import ConnectorError
from penstock.flow import Dataset
from penstock.testing import servers
from penstock.testing.servers import NatsServer, PostgresServer, Server
from tests.faults.proxy import Proxy
from tests.faults.story import EXPECTED, SCHEMA, Story, make_input, rows_in

AWAY_FROM = 4
"""The epoch at which the server is gone."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that may crash."""
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    """A NATS that may crash."""
    with servers.nats() as server:
        yield server


@pytest.fixture(params=["postgres", "nats"])
def sink(request: pytest.FixtureRequest) -> tuple[Server, Dataset]:
    """A server, and an empty target on it."""
    server = request.getfixturevalue(request.param)
    return server, target_on(server)


def target_on(server: Server) -> Dataset:
    """A new database, or a new stream."""
    name = f"t{new_id()}"
    try:
        server.pid  # noqa: B018 - raises where a test before has failed and left it down
    except ConnectorError:
        server.start()
    if isinstance(server, PostgresServer):
        with psycopg.connect(server.dsn, autocommit=True) as session:
            session.execute(f"create database {name}".encode())
        return ps.postgres(server.dsn_of(name), "out")
    assert isinstance(server, NatsServer)
    return ps.nats(server.url, name)


class Crash:
    """Crashes a server at a point of an epoch, once, and starts it again when the run has tried for the third time."""

    def __init__(self, server: Server, point: str) -> None:
        self.server = server
        self.point = point
        self.tries = 0
        self.crashed = False

    def probe(self, point: str, epoch: int) -> None:
        """Crash."""
        if (point, epoch) == (self.point, AWAY_FROM) and not self.crashed:
            self.crashed = True
            self.server.crash()

    def on_progress(self, progress: Progress) -> None:
        """Start again."""
        if progress.phase == "retrying":
            self.tries += 1
            if self.tries == 3:
                self.server.start()


@pytest.mark.parametrize("point", ["before-write", "committed"])
def test_a_sink_that_comes_back_is_waited_for(sink: tuple[Server, Dataset], point: str, tmp_path: Path) -> None:
    """The server of the sink crashes in the middle of a run and comes back: the run goes on by itself, rows exact."""
    server, dataset = sink
    make_input(tmp_path / "rows.jsonl")
    story = Story(tmp_path, dataset)
    crash = Crash(server, point)

    assert story.run(crash.probe, crash.on_progress).finished
    assert crash.tries >= 3
    assert rows_in(dataset, tmp_path) == EXPECTED


def test_a_sink_that_stays_away_ends_the_run(sink: tuple[Server, Dataset], tmp_path: Path) -> None:
    """Patience has an end: the error names the sink and what is left; the run after the server's return finishes."""
    server, dataset = sink
    make_input(tmp_path / "rows.jsonl")
    story = Story(tmp_path, dataset)
    crash = Crash(server, "before-write")
    with pytest.raises(ConnectorError) as caught:
        story.run(crash.probe, patience_s=0.2)
    server.start()

    assert caught.value.heals
    assert (caught.value.flow, caught.value.step) == ("story", "out")
    assert caught.value.state_left
    assert str(server.port) in caught.value.message
    assert story.run().finished
    assert rows_in(dataset, tmp_path) == EXPECTED


@pytest.mark.parametrize("point", ["ran", "forgotten"])
def test_a_source_that_comes_back_is_waited_for(sink: tuple[Server, Dataset], point: str, tmp_path: Path) -> None:
    """The server of the source crashes before or after the next range is decided: it is waited for, rows exact."""
    server, dataset = sink
    make_input(tmp_path / "rows.jsonl")
    Story(tmp_path / "first", dataset, ps.files(str(tmp_path / "rows.jsonl"), schema=SCHEMA)).run()
    options = {**dataset.options, "cursor": "id"} if dataset.kind == "postgres" else dict(dataset.options)
    source = Dataset(dataset.kind, dataset.name, SCHEMA, (), options)
    story = Story(tmp_path, ps.parquet("out"), source)
    crash = Crash(server, point)

    story.run(crash.probe, crash.on_progress)
    assert crash.tries >= 3
    assert rows_in(story.sink, tmp_path) == EXPECTED


@pytest.mark.parametrize("losing", [1, 2])
def test_a_commit_whose_answer_is_lost_is_done_once(postgres: PostgresServer, losing: int, tmp_path: Path) -> None:
    """The connection breaks after the server committed and before it could say so, once or twice: rows exact."""
    dataset = target_on(postgres)
    make_input(tmp_path / "rows.jsonl")
    with Proxy(postgres.port) as proxy:
        dsn = str(dataset.options["dsn"]).replace(f":{postgres.port}/", f":{proxy.port}/")
        story = Story(tmp_path, Dataset("postgres", "out", options={"dsn": dsn, "table": "out"}))

        def probe(point: str, epoch: int) -> None:
            if (point, epoch) == ("before-write", AWAY_FROM):
                proxy.losing = losing

        assert story.run(probe).finished
        assert proxy.lost == losing
    assert rows_in(dataset, tmp_path) == EXPECTED
