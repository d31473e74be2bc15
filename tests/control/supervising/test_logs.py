"""Logs of real processes under a real server: what they said is there when they were killed, whoever they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from penstock.clock import ManualClock, SystemClock
from penstock.control import Crew, Environment, LogKeeper, SqlSession, log_folder, project_for
from penstock.observe import FlowLogs, LogQuery, LogReader, compact
from tests.control.supervising.serving import Served, kill, served, until
from tests.observe.logs.lines import START_US, written

TALKING = '''
"""A flow that says what it does in every way there is."""
import logging
import os

import penstock as ps

log = logging.getLogger("author")
print("imported with", os.environ.get("TALKING_TOKEN"))
flow = ps.Flow("endless", epoch_ms=20)


def talk(batch):
    print("printed")
    log.info("logged %d rows", batch.height)
    return batch


bids = flow.read(ps.nexmark("bid", rate_per_s=1000), event_time="date_time")
seen = bids.map_batches(talk, name="talk")
seen.write(ps.parquet("out/bids"))
'''


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[Served]:
    """A server over the flow that talks."""
    (tmp_path / "endless.py").write_text(TALKING)
    with served(tmp_path) as found:
        yield found


def entries(environment: Environment, text: str = "") -> list[dict[str, Any]]:
    """The entries of the flow, oldest first."""
    with LogReader(log_folder(environment), SystemClock()) as reader:
        return list(reversed(reader.newest(LogQuery(filter=text), limit=1_000_000)))


@pytest.mark.crash
def test_what_a_killed_member_said_is_there(talking: Served) -> None:
    """After `kill -9` the entries of the dead process are there, with its version, generation, epochs and step; those
    of the next one follow, and the dead one's journal becomes a file.
    """
    talking.start(standby=True)
    first = talking.leader()
    talking.standby()
    committed = until(lambda: talking.epoch() if talking.epoch() > 5 else None)
    kill(first)
    second = talking.leader(other_than=[first])
    talking.goes_on()

    moved = compact(FlowLogs(log_folder(talking.environment) / "endless"), SystemClock())
    dead = entries(talking.environment, f"worker={first.id}")
    logged = [row for row in dead if row["message"].startswith("logged ") and row["epoch"]]
    printed = [row for row in dead if row["message"] == "printed"]
    others = entries(talking.environment, f"worker={second.id}")
    assert moved >= len(dead)
    assert any(row["message"].startswith("imported with") for row in dead)
    full = {record.epoch for record in talking.ledger.epochs("endless", last=committed) if sum(record.rows_in.values())}
    assert full
    assert {row["epoch"] for row in logged} >= full
    assert {row["epoch"] for row in printed} >= full
    assert {(row["step"], row["generation"], row["flow"]) for row in logged} == {("talk", 1, "endless")}
    assert all(row["version"] and row["trace_id"] for row in logged)
    assert any(row["message"].startswith("took over as generation") for row in others)
    assert any(row["epoch"] > committed and row["generation"] == 2 for row in others if row["epoch"])

    with SqlSession(talking.environment) as session:
        _, rows = session.rows(
            "select count(distinct epoch) from logs join epochs using (flow, epoch) where message = 'printed'",
            limit=1,
            limit_s=None,
        )
    assert rows[0][0] >= len(full)


def test_a_keeper_makes_files_and_leaves_young_journals(tmp_path: Path) -> None:
    """A pass of the server moves journals that have settled; what is young stays for those who follow it."""
    project = project_for(tmp_path)
    environment = project.environment("dev")
    logs = FlowLogs(log_folder(environment) / "flow")
    now_us = SystemClock().now_us()
    written(logs.folder, [(now_us - START_US, "settled")])
    keeper = LogKeeper(project, environment, ManualClock(now_us))

    keeper.step(cast("Crew", None))
    assert keeper._pass is not None
    keeper._pass.join()
    young = logs.index().files
    later = LogKeeper(project, environment, ManualClock(now_us + 10_000_000))
    later.step(cast("Crew", None))
    assert later._pass is not None
    later._pass.join()

    assert young == ()
    assert len(logs.index().files) == 1
    assert logs.counts() == {200: 1}
