"""`kill -9` at every named point in the life of an epoch, for every kind of sink: nothing lost, nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from penstock.clock import seeded
from penstock.engine import POINTS
from penstock.testing.servers import PostgresServer
from tests.crash.story import ROWS, make_input, read_back

__all__ = ["Crashes"]

SINKS = 7
EPOCH = 6
SEED = 20_261_122
KILLS = 25


@dataclass(frozen=True)
class Crashes:
    """A folder and a database of its own for one story."""

    folder: Path
    dsn: str
    input: Path

    def command(self, *kill: object) -> list[str]:
        """The command line of a victim."""
        where = (str(self.folder), self.dsn, str(self.input))
        return [sys.executable, "-m", "tests.crash.victim", *where, *map(str, kill)]

    def run(self, *kill: object) -> subprocess.CompletedProcess[str]:
        """Run a victim to its end, whichever that is."""
        return subprocess.run(self.command(*kill), capture_output=True, text=True, check=False, timeout=120)

    def finish(self) -> str:
        """Run a victim that is not killed; gives its last line."""
        done = self.run()
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def make_crashes(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> MakeCrashes:
    """A maker of stories that share one input."""
    file = tmp_path_factory.mktemp("input") / "rows.jsonl"
    make_input(file)
    return MakeCrashes(tmp_path_factory, postgres_server, file)


class MakeCrashes:
    """Makes a folder and a database for each story."""

    def __init__(self, folders: pytest.TempPathFactory, server: PostgresServer, file: Path) -> None:
        self._folders, self._server, self._file = folders, server, file

    def __call__(self, name: str) -> Crashes:
        database = f"crash_{name.replace('-', '_')}"
        with psycopg.connect(self._server.dsn, autocommit=True) as session:
            session.execute(f'create database "{database}"'.encode())
        return Crashes(self._folders.mktemp(name), self._server.dsn_of(database), self._file)


@pytest.fixture(scope="module")
def expected(make_crashes: MakeCrashes) -> tuple[str, Mapping[str, object]]:
    """The last line and the sinks of a run that nobody interrupted."""
    story = make_crashes("uninterrupted")
    line = story.finish()
    return line, read_back(story.folder, story.dsn)


def test_the_uninterrupted_run_accounts_for_every_row(expected: tuple[str, Mapping[str, object]]) -> None:
    """Every line is a row or a dead letter, and rows were really late and really twice."""
    line, sinks = expected
    word, finished, rows, letters, late, gapless = line.split()
    assert (word, finished, gapless) == ("finished", "True", "True")
    assert int(rows) == ROWS - 3
    assert int(letters) == 3 + 2
    assert int(late) > 0
    assert len(sinks) == SINKS


ONCE = tuple((point, 1) for point in POINTS if point not in ("before-write", "after-write"))
BY_SINK = (("before-write", 1), *(("after-write", nth) for nth in range(1, SINKS + 1)))


@pytest.mark.parametrize(("point", "nth"), ONCE + BY_SINK)
def test_a_kill_at_this_point_leaves_no_trace(
    make_crashes: MakeCrashes, expected: tuple[str, Mapping[str, object]], point: str, nth: int
) -> None:
    """A process killed here, and the next one at the same point, and then one that finishes, write what one would."""
    story = make_crashes(f"{point}-{nth}")
    # The first plan of a flow has a transaction of its own; all others are part of the commit before.
    epoch = 0 if point in ("claimed", "loaded", "planned") else EPOCH
    # A second merge of state files would need many more epochs.
    for _ in range(1 if point in ("planned", "compacted") else 2):
        killed = story.run(point, nth, epoch)
        assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr[-4000:]
    line = story.finish()

    assert line == expected[0]
    assert read_back(story.folder, story.dsn) == expected[1]


@pytest.mark.timeout(300)
def test_kills_at_random_moments_leave_no_trace(
    make_crashes: MakeCrashes, expected: tuple[str, Mapping[str, object]]
) -> None:
    """25 kills at random moments of one run (the seed is above): lost 0, duplicated 0, in every kind of sink."""
    story = make_crashes("random")
    chance = seeded(SEED)
    kills = 0
    while kills < KILLS:
        with subprocess.Popen(story.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "running\n"
            time.sleep(chance.uniform(0, 0.12))
            victim.kill()
            victim.wait()
            assert victim.returncode == -signal.SIGKILL, "the story ended before it was killed often enough"
        kills += 1
    line = story.finish()

    assert line == expected[0]
    assert read_back(story.folder, story.dsn) == expected[1]


def test_the_map_has_a_row_for_every_point() -> None:
    """ARCHITECTURE.md lists the points in the order in which an epoch passes them."""
    document = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
    table = document.split("## Crash points", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1].strip(" `") for line in table.splitlines() if line.startswith("| ")]

    assert tuple(row for row in rows if row not in ("point", "-")) == POINTS
