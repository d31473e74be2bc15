"""Handovers with real processes: a server, real members, real files, from the first deploy to an undo."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

import polars as pl
import pytest

from penstock.clock import SystemClock
from penstock.control import (
    Asker,
    Environment,
    Intent,
    Manner,
    Rollouts,
    Server,
    UndoPreview,
    find_flow,
    is_there,
    load_flow,
    make_bundle,
    opened_ledger,
    prepare,
    project_for,
)
from penstock.ledger import Deployment, DeploymentStatus, Ledger, Member

FLOW = '''
"""Numbers by rest, kept and added up."""
import polars as pl
import penstock as ps

flow = ps.Flow("sums", epoch_ms=20, epoch_rows=7)
numbers = flow.read(ps.files("numbers.jsonl", schema={"n": int}, tail=True))
named = numbers.with_columns(rest=pl.col("n") % 5, double=pl.col("n") * 2)
named.write(ps.parquet("out/named"))
sums = named.group_by("rest").agg(total=pl.col("double").sum())
sums.write(ps.table("sums", key=["rest"]))
'''
PROJECT = """
[deploy]
slower_max = 1000  # other tests may run beside this one

[env.dev.bind.sums]
kind = "delta"
path = "sums"
min_epoch_ms = 50
"""
pytestmark = pytest.mark.timeout(600)
QUICK = Manner(shadow_epochs=3, shadow_s=2.0, watch_s=0.5, approve="policy", force=True, why="a test")
T = TypeVar("T")
_PAUSE = Event()


def until(fact: Callable[[], T | None]) -> T:
    """What `fact` gives, once it gives something. The timeout of the test is the limit."""
    while not (found := fact()):
        _PAUSE.wait(0.02)
    return found


class Story:
    """A project whose input grows, its server, and somebody who asks."""

    def __init__(self, folder: Path, ledger: Ledger, environment: Environment) -> None:
        self.folder = folder
        self.ledger = ledger
        self.environment = environment
        self.asker = Asker(ledger, environment, SystemClock(), who="ann")
        self.rows = 0

    def grow(self, rows: int) -> None:
        """More input."""
        with (self.folder / "numbers.jsonl").open("a") as file:
            file.writelines(json.dumps({"n": n}) + "\n" for n in range(self.rows, self.rows + rows))
        self.rows += rows

    def version(self, text: str = FLOW) -> str:
        """Keep the flow with this code as a version."""
        (self.folder / "sums.py").write_text(text)
        loaded = load_flow(find_flow("sums.py", self.folder), self.environment)
        return make_bundle(prepare(loaded, self.environment), ledger=self.ledger).id

    def begin(self, intent: Intent) -> str:
        """Ask for it."""
        return self.asker.begin(intent).id

    def at(self, deployment: str, stage: str) -> Deployment:
        """A deployment once a stage of it has begun, or it is over."""

        def fact() -> Deployment | None:
            found = self.asker.known(deployment)
            begun = stage in found.facts and "began_us" in found.facts[stage]
            return found if begun or found.status is not DeploymentStatus.RUNNING else None

        return until(fact)

    def over(self, deployment: str) -> Deployment:
        """A deployment once it is over."""

        def fact() -> Deployment | None:
            found = self.asker.known(deployment)
            return found if found.status is not DeploymentStatus.RUNNING else None

        return until(fact)

    def leader(self, version: str) -> Member:
        """Who leads, of this version: what led before the cut may not have said yet that it steps down."""

        def fact() -> Member | None:
            members = self.ledger.members("sums")
            return next((one for one in members if (one.version, one.facts.get("role")) == (version, "leading")), None)

        return until(fact)

    def drained(self) -> None:
        """Return when all input is committed."""

        def fact() -> bool:
            records = self.ledger.epochs("sums")
            return sum(record.rows_in.get("numbers", 0) for record in records) >= self.rows

        until(fact)

    def named(self) -> list[tuple[int, int]]:
        """The rows of the one sink, as a multiset."""
        frame = pl.read_parquet(self.folder / "out" / "named" / "**" / "*.parquet")
        return sorted(frame.select("n", "double").rows())

    def sums(self) -> list[tuple[int, int]]:
        """The rows of the other one."""
        frame = pl.read_delta(str(self.folder / "sums"))
        return sorted(frame.select("rest", "total").rows())

    def check(self) -> None:
        """Both sinks are as if only the first version had ever led."""
        self.drained()
        numbers = range(self.rows)
        until(lambda: len(self.named()) >= self.rows)
        assert self.named() == [(n, 2 * n) for n in numbers]
        assert self.sums() == [(rest, sum(2 * n for n in numbers if n % 5 == rest)) for rest in range(5)]


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """A running server; at the end it stops its flows, and what is left is killed."""
    (tmp_path / "penstock.toml").write_text(PROJECT)
    environment = project_for(tmp_path).environment("dev")
    with opened_ledger(environment) as ledger:
        server = Server(environment, ledger, duties=[Rollouts(environment, SystemClock())])
        thread = Thread(target=server.run, name="server")
        thread.start()
        found = Story(tmp_path, ledger, environment)
        found.grow(100)
        try:
            yield found
        finally:
            server.stop(flows=True)
            thread.join(30)
            server.stop(flows=False)
            thread.join()
            for member in ledger.members():
                if is_there(member):
                    os.kill(member.pid, signal.SIGKILL)


def test_a_bug_is_deployed_and_undone(story: Story) -> None:
    """Started, changed while it runs, and taken back: the tables are as if the bug had never been."""
    good = story.version()
    first = story.over(story.begin(story.asker.deploy("sums", good, QUICK)))
    assert first.status is DeploymentStatus.DONE, first.receipt
    story.drained()

    bad = story.version(FLOW.replace("* 2", "* 3"))
    deployment = story.begin(story.asker.deploy("sums", bad, replace(QUICK, watch_s=5.0)))
    story.at(deployment, "shadow")
    story.grow(100)
    story.at(deployment, "watch")
    story.grow(20)
    done = story.over(deployment)
    assert done.status is DeploymentStatus.DONE, done.receipt
    assert done.receipt["gate"]["forced"]
    assert (done.receipt["cut"]["rows_lost"], done.receipt["cut"]["rows_duplicated"]) == (0, 0)
    story.grow(30)
    story.drained()
    assert (249, 3 * 249) in story.named()

    preview = story.asker.preview_undo("sums", good)
    assert preview.is_possible
    undone = story.over(story.begin(story.asker.undo(preview, "sums", QUICK)))
    assert undone.status is DeploymentStatus.DONE, undone.receipt
    assert undone.receipt["leads"] == good
    story.grow(30)
    story.check()


def test_an_undo_in_the_watch_is_done_by_the_hidden_version(story: Story) -> None:
    """It has the right rows already; the deploy ends as rolled back."""
    good = story.version()
    assert story.over(story.begin(story.asker.deploy("sums", good, QUICK))).status is DeploymentStatus.DONE
    story.drained()
    bad = story.version(FLOW.replace("* 2", "* 3"))
    deployment = story.begin(story.asker.deploy("sums", bad, Manner(1, 1.0, 60.0, "policy", force=True, why="so")))
    story.at(deployment, "watch")
    story.grow(60)
    story.drained()

    preview = until(lambda: _warm(story, good, deployment))
    intent = story.asker.undo(preview, "sums", QUICK)
    assert intent.said_to == deployment
    story.begin(intent)
    found = story.over(deployment)
    assert (found.status, found.receipt["leads"]) == (DeploymentStatus.ROLLED_BACK, good), found.receipt
    story.check()


def _warm(story: Story, version: str, deployment: str) -> UndoPreview | None:
    found = story.asker.known(deployment)
    assert found.status is DeploymentStatus.RUNNING, found.receipt
    preview = story.asker.preview_undo("sums", version)
    return preview if preview.hidden else None


def test_a_new_leader_that_is_killed_goes_on(story: Story) -> None:
    """Once is no reason to go back: it is started again, and no row is lost or twice."""
    assert story.over(story.begin(story.asker.deploy("sums", story.version(), QUICK))).status is DeploymentStatus.DONE
    story.drained()
    same = story.version(FLOW + "\n# the same, in another version\n")
    deployment = story.begin(story.asker.deploy("sums", same, Manner(2, None, 5.0, "policy")))
    story.at(deployment, "shadow")
    story.grow(40)
    story.at(deployment, "watch")
    story.grow(40)
    os.kill(story.leader(same).pid, signal.SIGKILL)
    story.grow(40)
    found = story.over(deployment)
    assert (found.status, found.receipt["leads"]) == (DeploymentStatus.DONE, same), found.receipt
    assert len(found.receipt["watch"]["deaths"]) == 1
    story.check()
