"""Undo and replay, driven over a pretended machine whose source remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.control.rollouts.plans import Ask, Deploy, Manner, Replay, Undo
from penstock.control.supervising.ends import Outcome
from penstock.ledger import Deployment, DeploymentStatus
from tests.control.rollouts.pretend import FLOW, NEW, OLD, Behaviour, Fuse, Machine, Server, check_whole
from tests.control.rollouts.test_driver import at

DONE, FAILED = DeploymentStatus.DONE, DeploymentStatus.FAILED
POLICY = Manner(2, None, watch_s=0.5, approve="policy", force=True, why="it looked good")


@pytest.fixture
def spoilt(tmp_path: Path) -> Iterator[Callable[..., tuple[Machine, int]]]:
    """Makes machines on which a wrong version leads, and says which was the last good epoch."""
    made: list[Machine] = []

    def machine(**versions: Behaviour) -> tuple[Machine, int]:
        found = Machine(tmp_path / str(len(made)), **{"new": Behaviour(rows="wrong"), **versions})
        made.append(found)
        found.retention = 1_000
        found.run_old(3)
        server = Server(found)
        name = found.begin(Deploy(NEW), POLICY)
        assert server.run(name).status is DONE
        found.run_on(3)
        return found, int(found.deployment(name).facts["cut"]["epoch"])

    yield machine
    for machine_made in made:
        machine_made.ledger.close()


def asked(
    machine: Machine,
    ask: Ask,
    kind: str,
    each: Callable[[Deployment], None] = lambda _: None,
    *,
    fuse: Fuse | None = None,
) -> Deployment:
    """Carry it out, with a driver that is new at each step, and see that all is whole."""
    server = Server(machine, fuse or Fuse(), rebuilt=fuse is None)
    name = machine.begin(ask, POLICY, kind=kind)
    server.run(name, each)
    return check_whole(server, name)


def rows(machine: Machine) -> Mapping[int, str]:
    """What the sink holds, by epoch."""
    return {epoch: row for epoch, (_, row) in sorted(machine.sink.items())}


def test_an_undo_writes_the_right_rows_in_the_place_of_the_wrong_ones(spoilt: Any) -> None:
    """The sink is as if the wrong version had never been, and the good one leads."""
    machine, good = spoilt()
    assert set(rows(machine).values()) == {"right", "wrong"}
    found = asked(machine, Undo(good, OLD), "undo")
    assert (found.status, found.receipt["leads"]) == (DONE, OLD)
    assert set(rows(machine).values()) == {"right"}
    undone = [record.epoch for _, record in machine.ledger.undone_epochs(FLOW)]
    assert undone == list(range(good + 1, undone[-1] + 1))
    cut = found.receipt["cut"]
    assert (cut["rewritten_from"], cut["rewritten_upto"], cut["rewritten_epochs"]) == (
        undone[0],
        undone[-1],
        len(undone),
    )
    assert cut["rewritten_rows"] == {"sink": {"then": len(undone), "now": len(undone)}}
    assert cut["pause_ms"] >= 0
    taken = found.receipt["compare"]["sinks"]["sink"]
    assert taken["then"] == taken["now"] > 0


def test_an_undo_to_an_earlier_epoch_rewrites_good_ones_too(spoilt: Any) -> None:
    """They come out the same."""
    machine, good = spoilt()
    assert asked(machine, Undo(good - 2, OLD), "undo").status is DONE
    assert set(rows(machine).values()) == {"right"}


def test_an_undo_may_leave_the_version_that_leads(spoilt: Any) -> None:
    """After a rollback the good version leads already, and the wrong rows are still out."""
    machine, good = spoilt()
    server = Server(machine)
    name = machine.begin(Deploy(OLD), POLICY)
    assert server.run(name).status is DONE
    assert "wrong" in rows(machine).values()
    found = asked(machine, Undo(good, OLD), "undo")
    assert (found.status, found.receipt["leads"]) == (DONE, OLD)
    assert set(rows(machine).values()) == {"right"}


def test_an_undo_without_its_input_is_refused_before_anything_stops(spoilt: Any) -> None:
    """It says which source begins where."""
    machine, good = spoilt()
    machine.forgotten = good + 2
    found = asked(machine, Undo(good, OLD), "undo")
    assert found.status is FAILED
    assert "the input is not there any more (in: it begins later now)" in found.receipt["why"]
    assert found.receipt["leads"] == NEW


@pytest.mark.parametrize("dies", ["rewriting", "after-takeover"])
def test_an_undo_goes_on_where_its_process_died(spoilt: Any, dies: str) -> None:
    """Half of the rows are written: whoever leads next finishes it."""
    machine, good = spoilt()
    machine.versions["old"].dies = {dies: 2}
    found = asked(machine, Undo(good, OLD), "undo")
    assert (found.status, found.receipt["leads"]) == (DONE, OLD)
    assert set(rows(machine).values()) == {"right"}


def test_an_undo_in_the_watch_is_a_rollback_that_rewrites(tmp_path: Path) -> None:
    """The hidden version has the right rows: no process is started for it."""
    machine = Machine(tmp_path, new=Behaviour(rows="wrong"))
    machine.run_old(3)
    server = Server(machine, rebuilt=True)
    name = machine.begin(Deploy(NEW), Manner(2, None, watch_s=60, approve="policy", force=True, why="so"))

    def undo() -> None:
        first = int(machine.deployment(name).facts["cut"]["epoch"]) + 1
        machine.run_on(2)
        facts = {"rollback_asked": {"who": "cleo", "why": "wrong rows", "rewrite_first": first}}
        machine.ledger.operations.advance_deployment(name, facts=facts)

    server.run(name, at("watch", undo))
    found = check_whole(server, name)
    assert (found.status, found.receipt["leads"]) == (DeploymentStatus.ROLLED_BACK, OLD)
    assert set(rows(machine).values()) == {"right"}
    assert machine.started == 2
    machine.ledger.close()


def test_a_server_may_die_at_a_deed_of_an_undo(spoilt: Any) -> None:
    """It comes to the same end."""
    machine, good = spoilt()
    whole = Fuse()
    assert asked(machine, Undo(good, OLD), "undo", fuse=whole).status is DONE
    for place in range(2, whole.count + 1, 9):
        machine, good = spoilt()
        fuse = Fuse(place)
        found = asked(machine, Undo(good, OLD), "undo", fuse=fuse)
        assert found.status is DONE, f"killed at {fuse.place} ({place}): {found.receipt}"
        assert set(rows(machine).values()) == {"right"}


def test_a_replay_shows_what_a_version_would_have_written(spoilt: Any) -> None:
    """It runs beside the leader, which is not touched; the version of then runs again to compare with."""
    machine, good = spoilt()
    before = [process.id for process in machine.members_of(NEW)]
    found = asked(machine, Replay(good + 1, good + 4, OLD, then=NEW), "replay")
    assert (found.status, found.receipt["leads"]) == (DONE, NEW)
    assert found.receipt["compare"]["sinks"] == {"sink": {"then": 4, "now": 4}}
    assert found.receipt["compare"]["diff"] == {"epochs": 4, "different": 4, "last": good + 4}
    assert [process.id for process in machine.members_of(NEW)] == before


def test_a_replay_does_without_the_version_of_then_where_it_can_not_run(spoilt: Any) -> None:
    """Counts of the records have to do."""
    machine, good = spoilt()
    machine.versions["new"].dies = {"loading": 99}
    found = asked(machine, Replay(good + 1, good + 4, OLD, then=NEW), "replay")
    assert found.status is DONE
    assert "loading" in found.receipt["beside"]["gone"]
    assert found.receipt["compare"]["sinks"] == {"sink": {"then": 4, "now": 4}}
    assert found.receipt["compare"]["diff"] is None


def test_a_replay_that_fails_says_why(spoilt: Any) -> None:
    """And leaves nothing behind."""
    machine, good = spoilt()
    machine.versions["old"].dies = {f"epoch:{good + 2}": 1}
    found = asked(machine, Replay(good + 1, good + 4, OLD), "replay")
    assert found.status is FAILED
    assert f"epoch:{good + 2}" in found.receipt["why"]


def test_the_leader_of_an_undo_may_be_killed_while_it_waits(spoilt: Any) -> None:
    """The follower goes on, and takes over from the generation that there is then."""
    machine, good = spoilt()

    def kill() -> None:
        machine.end(machine.members_of(NEW)[0], Outcome.KILLED, "SIGKILL")

    assert asked(machine, Undo(good, OLD), "undo", at("compare", kill)).status is DONE
