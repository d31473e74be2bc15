"""What is wished of flows and done with them, in SQLite and PostgreSQL: one deployment at a time, one lease holder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.errors import DefinitionError, FlowBusy, LedgerError
from penstock.ledger import (
    Deployment,
    DeploymentStatus,
    Desired,
    Event,
    Ledger,
    Operations,
    SqlLedger,
    VersionFacts,
    Want,
    open_ledger,
)
from tests.ledger.facts import FLOW, Open

NOW_US = 1_700_000_000_000_000


@pytest.fixture
def operations(ledger: Ledger) -> Operations:
    """Those of an empty environment."""
    return ledger.operations


def deployment(name: str, *, flow: str = FLOW, who: str = "ann") -> Deployment:
    """A deployment that begins."""
    plan: list[dict[str, Any]] = [{"stage": "warm-up"}, {"stage": "shadow", "epochs": 10}]
    return Deployment(name, flow, "deploy", "v1", "v2", plan, who=who, why="faster", made_us=5)


def test_what_is_desired_is_what_was_said_last(open_it: Open) -> None:
    """Nobody said, then one, then another; each is an event with its author."""
    operations = open_it().operations
    first = Desired(FLOW, Want.RUNNING, "v1", {"standby": True}, "ann", "go", 1)
    assert operations.desired(FLOW) is None
    assert operations.all_desired() == []
    operations.desire(first)
    operations.desire(Desired("a", Want.DRAINED, ""))
    assert open_it().operations.desired(FLOW) == first
    second = replace(first, want=Want.PAUSED, who="bob", why="\x00", changed_us=2)
    operations.desire(second)
    events = operations.events(FLOW, kind="desired")

    assert operations.desired(FLOW) == replace(second, why="\\x00")
    assert operations.all_desired() == [
        Desired("a", Want.DRAINED, "", changed_us=NOW_US),
        replace(second, why="\\x00"),
    ]
    assert [(event.who, event.at_us, event.body["want"]) for event in events] == [
        ("bob", 2, "paused"),
        ("ann", 1, "running"),
    ]
    with pytest.raises(DefinitionError):
        operations.desire(Desired("a/b", Want.RUNNING, "v1"))


def test_a_wish_takes_the_place_of_the_one_that_was_read(open_it: Open) -> None:
    """Of two that were made from the same wish the second is not written, nor noted; nor is a second first one."""
    operations = open_it().operations
    first = Desired(FLOW, Want.RUNNING, "v1", changed_us=1)
    assert operations.desire(first, over=0)
    assert not operations.desire(replace(first, version="v2", changed_us=2), over=0)
    paused = replace(first, want=Want.PAUSED, changed_us=3)
    assert operations.desire(paused, over=1)
    assert not operations.desire(replace(first, version="v2", changed_us=4), over=1)

    assert operations.desired(FLOW) == paused
    assert len(operations.events(FLOW, kind="desired")) == 2


def test_versions_are_found_by_their_beginning(ledger: Ledger, operations: Operations) -> None:
    """A whole id wins, else a beginning that only one has; oldest first; the same again changes nothing."""
    for version, first_us in (("abc1", 3), ("abd2", 1), ("ABD2x", 2), ("abc", 4)):
        operations.add_version(VersionFacts(FLOW, version, {"v": version}, first_us))
    operations.add_version(VersionFacts(FLOW, "abc1", {"v": "other"}, 9))
    ledger.claim(FLOW, version="ran", holder="test")
    found = {
        asked: operations.version(FLOW, asked) for asked in ("abc", "abc1", "abd", "ab", "AB", "x", "", "%", "a_c")
    }

    assert {asked: facts.version for asked, facts in found.items() if facts is not None} == {
        "abc": "abc",
        "abc1": "abc1",
        "abd": "abd2",
        "AB": "ABD2x",
    }
    assert [facts.version for facts in operations.versions(FLOW)] == ["abd2", "ABD2x", "abc1", "abc", "ran"]
    assert operations.version(FLOW, "abc1") == VersionFacts(FLOW, "abc1", {"v": "abc1"}, 3)
    assert operations.version(FLOW, "ran") == VersionFacts(FLOW, "ran", {}, NOW_US)
    operations.add_version(VersionFacts(FLOW, "ran", {"late": 1}))
    assert operations.version(FLOW, "ran") == VersionFacts(FLOW, "ran", {"late": 1}, NOW_US)
    assert operations.versions("ghost") == []


def test_a_deployment_goes_from_plan_to_receipt(open_it: Open) -> None:
    """Stages, facts laid over each other, and the status that ends it; then it is over."""
    operations = open_it().operations
    operations.begin_deployment(deployment("d1"))
    assert open_it().operations.deployment("d1") == deployment("d1")
    operations.advance_deployment("d1", stage="shadow", facts={"a": 1, "b": 1})
    operations.advance_deployment("d1", facts={"b": 2})
    assert operations.deployments(running=True) == [replace(deployment("d1"), stage="shadow", facts={"a": 1, "b": 2})]
    operations.advance_deployment("d1", status=DeploymentStatus.ROLLED_BACK, receipt={"pause_ms": 40})
    for _ in range(2):
        operations.advance_deployment("d1", status=DeploymentStatus.ROLLED_BACK, stage="shadow")
    over = operations.deployment("d1")

    assert over is not None
    assert (over.status, over.ended_us, over.receipt) == (DeploymentStatus.ROLLED_BACK, NOW_US, {"pause_ms": 40})
    for change in ({"stage": "watch"}, {"status": DeploymentStatus.DONE}, {"status": DeploymentStatus.RUNNING}):
        with pytest.raises(LedgerError, match="deployment d1 is over: rolled-back"):
            operations.advance_deployment("d1", **change)
    operations.advance_deployment("d1", facts={"seen": 1})
    with pytest.raises(LedgerError, match="no deployment d9"):
        operations.advance_deployment("d9", stage="x")
    assert operations.deployment("d9") is None
    assert operations.deployments(running=True) == []


def test_one_deployment_of_a_flow_at_a_time(operations: Operations) -> None:
    """A second one is refused with who and which; the same again is accepted; other flows, and later ones, go ahead."""
    operations.begin_deployment(deployment("d1"))
    operations.advance_deployment("d1", stage="shadow")
    operations.begin_deployment(deployment("d1"))
    with pytest.raises(
        FlowBusy, match=r"deploy d1 by ann is running, at stage 'shadow': from version v1 to v2"
    ) as caught:
        operations.begin_deployment(deployment("d2", who="bob"))
    operations.begin_deployment(deployment("d3", flow="other"))
    operations.advance_deployment("d1", status=DeploymentStatus.DONE)
    operations.begin_deployment(deployment("d4"))

    assert caught.value.heals
    assert [found.id for found in operations.deployments()] == ["d4", "d3", "d1"]
    assert [found.id for found in operations.deployments(FLOW)] == ["d4", "d1"]
    assert [found.id for found in operations.deployments(limit=1)] == ["d4"]
    with pytest.raises(FlowBusy, match="deploy d3"):
        operations.begin_deployment(deployment("d3"))


def race(attempts: list[Callable[[], object]]) -> None:
    """Do all at the same time."""
    threads = [threading.Thread(target=attempt) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_two_people_who_deploy_at_once_one_is_refused(open_it: Open) -> None:
    """Racing beginnings: one is noted, the others are told by whom."""
    lost: list[FlowBusy] = []

    def attempt(ledger: Ledger, name: str) -> None:
        try:
            ledger.operations.begin_deployment(deployment(name, who=name))
        except FlowBusy as busy:
            lost.append(busy)

    ledgers = [open_it(lock_timeout_ms=30_000) for _ in range(6)]
    race([lambda mine=mine, n=n: attempt(mine, f"d{n}") for n, mine in enumerate(ledgers)])  # type: ignore[misc]
    (won,) = ledgers[0].operations.deployments(running=True)

    assert len(lost) == 5
    assert all(f"{won.id} by {won.who}" in str(busy) for busy in lost)


def test_events_come_newest_first(operations: Operations) -> None:
    """By flow, by kind, so many; what they say is kept as it was said."""
    for number, (kind, flow) in enumerate((("a", FLOW), ("b", FLOW), ("a", "other"), ("a", ""))):
        operations.note(Event(kind, flow, {"n": number}, "ann", number + 1))
    operations.note(Event("now", "", {}))

    assert [event.body.get("n") for event in operations.events()] == [None, 3, 2, 1, 0]
    assert [event.body["n"] for event in operations.events(FLOW)] == [1, 0]
    assert [event.body["n"] for event in operations.events(kind="a", limit=2)] == [3, 2]
    last, *_, first = operations.events()
    assert (first.kind, first.flow, first.who, first.at_us) == ("a", FLOW, "ann", 1)
    assert (last.at_us, last.id) > (NOW_US - 1, first.id or 0)


def test_a_lease_has_one_holder(open_it: Open) -> None:
    """Renewed by its holder, refused to others, given back; its fence grows with each holder."""
    first, second = open_it().operations, open_it().operations
    lease = first.lease("server", "a", ttl_s=60)
    renewed = first.lease("server", "a", ttl_s=120)
    assert lease is not None
    assert renewed is not None
    assert (renewed.fence, renewed.holder, renewed.name) == (lease.fence, "a", "server")
    assert renewed.until_us > lease.until_us
    assert second.lease("server", "b", ttl_s=60) is None
    assert second.lease("other", "b", ttl_s=60) is not None
    second.release("server", "b")
    assert second.lease("server", "b", ttl_s=60) is None
    first.release("server", "a")
    taken = second.lease("server", "b", ttl_s=60)
    assert taken is not None
    assert taken.fence == lease.fence + 1


def test_a_lease_that_ran_out_is_anybodys(open_it: Open) -> None:
    """Its holder may still renew it while nobody took it, with the same fence; the next holder's is higher."""
    operations = open_it().operations
    lease = operations.lease("server", "a", ttl_s=-1)
    assert lease is not None
    again = operations.lease("server", "a", ttl_s=-1)
    taken = operations.lease("server", "b", ttl_s=60)

    assert again is not None
    assert taken is not None
    assert (again.fence, taken.fence) == (lease.fence, lease.fence + 1)
    assert operations.lease("server", "a", ttl_s=60) is None


def test_of_racing_servers_one_gets_the_lease(open_it: Open) -> None:
    """Two that see it run out at the same moment: one holds it."""
    got: list[str] = []
    ledgers = [open_it(lock_timeout_ms=30_000) for _ in range(5)]

    def attempt(ledger: Ledger, holder: str) -> None:
        if ledger.operations.lease("server", holder, ttl_s=60) is not None:
            got.append(holder)

    race([lambda mine=mine, n=n: attempt(mine, f"s{n}") for n, mine in enumerate(ledgers)])  # type: ignore[misc]

    assert len(got) == 1


def test_leases_go_by_the_clock_of_the_database(ledger_dsn: str) -> None:
    """Two machines whose clocks differ by years agree on who holds a lease: PostgreSQL's own time counts."""
    past, future = (open_ledger(ledger_dsn, env="clocks", clock=ManualClock(us)) for us in (0, 10**17))
    lease = past.operations.lease("server", "a", ttl_s=60)
    refused = future.operations.lease("server", "b", ttl_s=60)
    assert isinstance(past, SqlLedger)
    now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    now_us = past._databases.control.read(lambda c: c.exec_driver_sql(now).scalar_one())
    past.close()
    future.close()

    assert lease is not None
    assert refused is None
    assert lease.until_us - 60_000_000 <= now_us < lease.until_us + 10_000_000
