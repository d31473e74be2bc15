"""PostgreSQL that is away, slow, or loses the answer to a commit, during a takeover, a rollback and an undo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import psycopg
import pytest

from penstock.ledger import DeploymentStatus
from penstock.testing.servers import PostgresServer
from tests.faults.proxy import Proxy
from tests.handovers.conftest import MakeScene
from tests.handovers.oracle import check
from tests.handovers.scene import QUICK, Scene, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

SEED = 20_261_207
FORCED = replace(QUICK, shadow_epochs=0, watch_s=0.0, force=True, why="to be undone")
LONG = replace(QUICK, shadow_epochs=0, watch_s=3_600.0)
TRIES = 3


@dataclass
class Behind:
    """A scene whose PostgreSQL is behind a proxy."""

    made: Scene
    proxy: Proxy

    def suffers(self, how: str) -> Callable[[], None]:
        """Let the proxy do its worst; gives what waits until that showed, and ends it."""
        refused, lost = self.proxy.refused, self.proxy.lost
        if how == "away":
            self.proxy.away = True
            return lambda: self._ends(lambda: self.proxy.refused >= refused + TRIES)
        if how == "slow":
            self.proxy.delay_s = 0.2
            return lambda: self._ends(lambda: True)
        self.proxy.losing = 2
        return lambda: self._ends(lambda: self.proxy.lost >= lost + 2)

    def _ends(self, shown: Callable[[], bool]) -> None:
        until(shown)
        self.proxy.away = False


@pytest.fixture(scope="module")
def behind(make_scene: MakeScene, make_dsn: Callable[[], str], postgres_server: PostgresServer) -> Iterator[Behind]:
    """v0 leads, v1 is kept."""
    dsn = make_dsn()
    with Proxy(postgres_server.port) as proxy:
        through = dsn.replace(f":{postgres_server.port}/", f":{proxy.port}/")
        assert through != dsn
        with make_scene(seed=SEED, dsn=through) as made:
            made.version("v1")
            made.start(made.version("v0"))
            yield Behind(made, proxy)


@pytest.fixture(autouse=True)
def calm(behind: Behind) -> Iterator[None]:
    """In the end PostgreSQL is there, and quick."""
    yield
    behind.proxy.away, behind.proxy.delay_s, behind.proxy.losing = False, 0.0, 0


HOW = ("away", pytest.param("slow", marks=pytest.mark.soak), "loses")


@pytest.mark.parametrize("how", HOW)
def test_a_takeover_waits_for_its_sink(behind: Behind, how: str) -> None:
    """The new version is fenced in already: it waits, and its first epoch is there once."""
    made = behind.made
    made.stand_still("cut", "before")
    begun = made.deploy(made.other(), replace(LONG, watch_s=0.2))
    with made.reached("cut", "before"):
        over = behind.suffers(how)
    over()
    behind.proxy.delay_s = 0.0
    done = made.settled(begun)

    assert done.status is DeploymentStatus.DONE, done.receipt


@pytest.mark.parametrize("how", HOW)
def test_a_rollback_waits_for_its_sink(behind: Behind, how: str) -> None:
    """The old version takes over again, whatever the sink does meanwhile."""
    made = behind.made
    begun = made.deploy(made.other(), LONG)
    made.reaches(begun, "watch")
    made.stand_still("roll-back", "before")
    made.rollback()
    with made.reached("roll-back", "before"):
        over = behind.suffers(how)
    over()
    behind.proxy.delay_s = 0.0
    done = made.settled(begun)

    assert done.status is DeploymentStatus.ROLLED_BACK, done.receipt


@pytest.mark.parametrize("how", HOW)
def test_an_undo_waits_for_its_sink(behind: Behind, how: str) -> None:
    """Rows are taken back and written anew, once, though the answer to that was lost."""
    made = behind.made
    good = made.at_work().version
    made.settled(made.deploy(made.version("wrong", wrong=1_000_000), FORCED))
    made.goes_on(2)
    made.stand_still("cut", "before")
    begun = made.undo(good)
    with made.reached("cut", "before"):
        over = behind.suffers(how)
    over()
    behind.proxy.delay_s = 0.0
    done = made.settled(begun)

    assert done.status is DeploymentStatus.DONE, done.receipt


def test_a_sink_that_is_away_leaves_no_trace(behind: Behind) -> None:
    """Every sink, the state and the ledger are those of a run that nothing befell."""
    with psycopg.connect(behind.made.dsn) as session:
        assert session.execute("select count(*) from each where amount > 1000000").fetchall() == [(0,)]
    check(behind.made)
