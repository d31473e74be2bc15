"""Servers as processes: killed and started again, two at a time, frozen; their flows go on."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.control import Environment, ServerFacts, Wisher, is_there, opened_ledger, project_for, read_server
from penstock.control.supervising.processes import process_started, this_host
from penstock.ledger import Ledger, Member
from tests.control.supervising.serving import ENDLESS, kill, until
from tests.interfaces.user import Running, penstock, started

pytestmark = pytest.mark.crash

PORT = ("--port", "0")


@contextmanager
def place(folder: Path, ledger: str = "") -> Iterator[tuple[Environment, Ledger]]:
    """A project with the endless flow, and its open ledger; processes that are left at the end are killed."""
    (folder / "endless.py").write_text(ENDLESS)
    line = f"ledger = '{ledger}'\n" if ledger else ""
    (folder / "penstock.toml").write_text(f"[env.dev]\n{line}")
    environment = project_for(folder).environment("dev")
    with opened_ledger(environment) as opened:
        try:
            yield environment, opened
        finally:
            for member in opened.members():
                if is_there(member):
                    kill(member, signal.SIGCONT)
                    kill(member)


@contextmanager
def server(folder: Path, *options: str) -> Iterator[tuple[Running, ServerFacts]]:
    """`penstock up`, once it leads."""
    with started(folder, "up", *PORT, *options, terminal=True) as running:
        running.wait_for_text("this server leads")
        found = read_server(folder / ".penstock" / "dev")
        assert found is not None
        assert found.pid == running.process.pid
        yield running, found


def leading(ledger: Ledger) -> Member:
    """The member that leads, once one has committed."""

    def fact() -> Member | None:
        found = [member for member in ledger.members("endless") if member.facts.get("role") == "leading"]
        return next((member for member in found if member.facts.get("epoch")), None)

    return until(fact)


def goes_on(ledger: Ledger) -> None:
    """Return when the flow has committed more."""
    before = ledger.standing("endless")
    assert before is not None
    until(lambda: (now := ledger.standing("endless")) is not None and now.last_epoch > before.last_epoch)


def start(environment: Environment, ledger: Ledger, **options: object) -> None:
    """Let the flow run."""
    Wisher(ledger, environment, SystemClock()).start("endless", version="", options=options)


def test_a_killed_server_stops_no_flow_and_the_next_adopts_it(tmp_path: Path) -> None:
    """`kill -9` of the server: leader and standby go on; the next server restarts nothing, and sees their ends."""
    with place(tmp_path) as (environment, ledger), ExitStack() as servers:
        first, facts = servers.enter_context(server(tmp_path, "--spares", "1"))
        start(environment, ledger, standby=True)
        leader = leading(ledger)
        until(lambda: len(ledger.members("endless")) == 2)
        before = {member.id for member in ledger.members("endless")}
        first.interrupt(signal.SIGKILL)
        first.process.wait()
        goes_on(ledger)
        second, _ = servers.enter_context(server(tmp_path))
        second.wait_for_text("adopted")
        goes_on(ledger)

        assert {member.id for member in ledger.members("endless")} == before
        assert ledger.members("endless", ended=True)[2:] == []
        assert facts.is_alive is False
        kill(leader)
        second.wait_for_text(f"process {leader.pid} was ended by SIGKILL")
        until(lambda: leader.id not in {member.id for member in ledger.members("endless")})
        assert leading(ledger).id != leader.id
        assert next(one for one in ledger.members("endless", ended=True) if one.id == leader.id).ended_us
        answer = penstock(tmp_path, "down")
        assert answer.code == 0, answer.err
        assert ledger.members() == []


def test_what_ended_while_no_server_was_there_is_started_again(tmp_path: Path) -> None:
    """Server and flow are both killed: the next server finds the flow gone, and lets it go on."""
    with place(tmp_path) as (environment, ledger), ExitStack() as servers:
        first, _ = servers.enter_context(server(tmp_path))
        start(environment, ledger)
        leader = leading(ledger)
        first.interrupt(signal.SIGKILL)
        first.process.wait()
        kill(leader)
        servers.enter_context(server(tmp_path))
        until(lambda: [member for member in ledger.members("endless") if member.id != leader.id])
        assert leading(ledger).id != leader.id

        ended = next(one for one in ledger.members("endless", ended=True) if one.id == leader.id)
        assert ended.facts["exit"]["outcome"] == "lost"


def test_a_process_id_that_was_given_again_is_not_adopted(tmp_path: Path) -> None:
    """A member's process id belongs to another process by now: that one is left alone, the member counts as gone."""
    with place(tmp_path) as (_, ledger), subprocess.Popen(["sleep", "600"]) as other:
        wish = {"role": "lead", "owner": "supervisor"}
        ledger.join(Member("old", "endless", "", other.pid, this_host(), "an earlier start", wish=wish))
        with server(tmp_path):
            until(lambda: ledger.members("endless") == [])
        assert other.poll() is None
        other.kill()


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    """It names the first, changes nothing, and ends with the code for busy."""
    with place(tmp_path), server(tmp_path) as (_, facts):
        answer = penstock(tmp_path, "up", *PORT)

        assert answer.code == 4
        assert f"a server runs this environment: process {facts.pid} on {facts.host}, {facts.url}" in answer.err
        assert "penstock down --env dev" in answer.err
        assert read_server(tmp_path / ".penstock" / "dev") == facts


def test_spares_end_with_their_server(tmp_path: Path) -> None:
    """A process that has no job yet does not outlive a killed server."""
    with place(tmp_path), server(tmp_path) as (running, _):
        spare = until(lambda: children(running.process.pid))[0]
        running.interrupt(signal.SIGKILL)
        running.process.wait()
        until(lambda: process_started(spare) is None)


def children(pid: int) -> list[int]:
    """The processes that a process started, by whichever thread."""
    texts = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in texts for child in text.split()]


@pytest.mark.parametrize(("number", "stays"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_ctrl_c_stops_flows_and_sigterm_does_not(tmp_path: Path, number: signal.Signals, *, stays: bool) -> None:
    """Who presses Ctrl-C is done; who restarts a service is not. What should run is kept either way."""
    with place(tmp_path) as (environment, ledger), server(tmp_path) as (running, _):
        start(environment, ledger)
        leader = leading(ledger)
        running.interrupt(number)
        answer = running.end()

        assert answer.code == 0
        assert is_there(leader) is stays
        assert read_server(tmp_path / ".penstock" / "dev") is None
        desired = ledger.operations.desired("endless")
        assert desired is not None
        assert desired.want.value == "running"
        answer = penstock(tmp_path, "down")
        assert ("1 process that no server watched stopped" in answer.out) is stays
        assert not is_there(leader)


def test_two_servers_share_a_ledger_and_one_leads(tmp_path: Path, postgres_dsn: str) -> None:
    """On one PostgreSQL the second waits; the first is killed, flows go on, the second takes over and adopts them."""
    with place(tmp_path, postgres_dsn) as (environment, ledger), server(tmp_path, "--lease", "2") as (first, _):
        start(environment, ledger)
        leader = leading(ledger)
        with started(tmp_path, "up", *PORT, "--lease", "2", terminal=True) as second:
            second.wait_for_text("waits: another server leads")
            first.interrupt(signal.SIGKILL)
            first.process.wait()
            second.wait_for_text("this server leads")
            second.wait_for_text("adopted")
            goes_on(ledger)

            assert [member.id for member in ledger.members("endless")] == [leader.id]
            kill(leader)
            until(lambda: [member for member in ledger.members("endless") if member.id != leader.id])
            assert leading(ledger).id != leader.id


def test_a_server_that_was_frozen_gives_way(tmp_path: Path, postgres_dsn: str) -> None:
    """Its lease ends while it is stopped; the other leads. When it wakes up it waits, and disturbs nothing."""
    with place(tmp_path, postgres_dsn) as (environment, ledger), server(tmp_path, "--lease", "1") as (first, _):
        start(environment, ledger)
        leader = leading(ledger)
        with started(tmp_path, "up", *PORT, "--lease", "1", terminal=True) as second:
            second.wait_for_text("waits: another server leads")
            first.interrupt(signal.SIGSTOP)
            second.wait_for_text("adopted")
            first.interrupt(signal.SIGCONT)
            first.wait_for_text("another server leads; this one waits")
            goes_on(ledger)

            assert [member.id for member in ledger.members("endless")] == [leader.id]
            first.interrupt(signal.SIGTERM)
            assert first.end().code == 0
            assert is_there(leader)
            found = read_server(tmp_path / ".penstock" / "dev")
            assert found is not None
            assert found.pid == second.process.pid


def test_members_of_a_machine_that_is_gone_are_given_up(tmp_path: Path, postgres_dsn: str) -> None:
    """A member of another machine that tells nothing for a lease's time is believed gone, and another leads."""
    with place(tmp_path, postgres_dsn) as (environment, ledger):
        start(environment, ledger)
        wish = {"role": "lead", "owner": "supervisor"}
        facts = {"role": "leading", "state": "leading", "epoch": 7}
        ledger.join(Member("far", "endless", "", 4711, "another-machine", "boot:1", wish=wish, facts=facts))
        with server(tmp_path, "--lease", "1"):
            until(lambda: [member for member in ledger.members("endless") if member.id != "far"])
            assert leading(ledger).id != "far"

            gone = next(one for one in ledger.members("endless", ended=True) if one.id == "far")
            assert gone.facts["exit"]["outcome"] == "lost"
            assert ledger.wish_of("endless", "far")["role"] == "stop"
