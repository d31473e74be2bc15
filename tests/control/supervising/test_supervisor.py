"""The supervisor over real processes: flows are as they are wished, whatever happens to their processes."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.control import (
    Limits,
    RestartPolicy,
    Settings,
    flow_folder,
    flow_lock,
    is_there,
    load_flow,
    prepare,
    run_here,
)
from penstock.control import find_flow as found_flow
from penstock.errors import ConfigError, FlowBusy
from penstock.ledger import Desired, Want
from tests.control.supervising.serving import QUICK, kill, served, until

pytestmark = pytest.mark.crash


def test_a_killed_flow_goes_on_in_a_new_process(tmp_path: Path) -> None:
    """At once, behind its last committed epoch; how the old one ended is in the ledger."""
    with served(tmp_path) as here:
        here.start()
        first = here.leader()
        kill(first)
        second = here.leader(other_than=[first])
        here.goes_on()

        ended = next(member for member in here.ledger.members("endless", ended=True) if member.id == first.id)
        epochs = [record.epoch for record in here.ledger.epochs("endless")]
        assert ended.ended == "was ended by SIGKILL" or ended.ended.startswith("was ended by SIGKILL in step")
        assert epochs == list(range(1, len(epochs) + 1))
        assert second.pid != first.pid
        assert [event.kind for event in here.ledger.operations.events("endless")][:1] == ["member-ended"]


def test_a_warm_spare_becomes_the_process(tmp_path: Path) -> None:
    """The spare that waits is the one that gets the job, and another is started after it."""
    with served(tmp_path) as here:
        spare = until(lambda: here.server.spares)[0]
        here.start()
        leader = here.leader()
        other = until(lambda: here.server.spares)[0]

        assert leader.pid == spare
        assert other != spare
        log = flow_folder(here.environment, "endless") / "members" / leader.id / "log.txt"
        assert "lead" in log.read_text()


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not weigh sessions")
def test_who_leads_weighs_most(tmp_path: Path) -> None:
    """A spare that nobody waits for has the least weight, who leads and who stands by for it the full one."""

    def nice(pid: int) -> str:
        return Path(f"/proc/{pid}/autogroup").read_text().split()[-1]

    with served(tmp_path) as here:
        spare = until(lambda: here.server.spares)[0]
        assert nice(spare) == "19"
        here.start(standby=True)
        leader, standby = here.leader(), here.standby()
        until(lambda: (nice(leader.pid), nice(standby.pid)) == ("0", "0"))


def test_a_standby_takes_over(tmp_path: Path) -> None:
    """The follower that was ready leads, and a new one follows it; no epoch is missing or twice."""
    with served(tmp_path) as here:
        here.start(standby=True)
        leader = here.leader()
        standby = here.standby()
        kill(leader)
        assert here.leader(other_than=[leader]).id == standby.id
        here.standby(other_than=[standby])
        here.goes_on()

        epochs = [record.epoch for record in here.ledger.epochs("endless")]
        assert epochs == list(range(1, len(epochs) + 1))
        assert {record.generation for record in here.ledger.epochs("endless")} == {1, 2}


def test_a_crash_loop_holds_the_flow_until_a_person_says_so(tmp_path: Path) -> None:
    """After three ends in one epoch nothing is started; the sentence names epoch, step and cause; --retry goes on."""
    with served(tmp_path) as here:
        here.start()
        here.leader()
        (tmp_path / "abort").touch()
        held = here.when("held")

        assert held.note.startswith(f"epoch {here.epoch() + 1} was ended by SIGABRT at endless.py:17 in misbehave")
        assert held.note.endswith(", 3 times; the flow is held; nothing is lost")
        assert held.choices[-1] == "try the same again: penstock start endless --retry"
        assert here.said("the flow is held")
        assert here.ledger.members("endless") == []
        events = here.ledger.operations.events("endless", kind="held")
        assert [event.body["sentence"] for event in events] == [held.note]
        with pytest.raises(ConfigError, match="the flow is held"):
            here.wisher.start("endless")

        (tmp_path / "abort").unlink()
        here.wisher.start("endless", retry=True)
        here.leader()
        here.goes_on()


def test_an_epoch_that_hangs_is_killed_and_counted(tmp_path: Path) -> None:
    """The watchdog ends it after its time; the third time holds the flow, and names the line that it hung at."""
    with served(tmp_path) as here:
        here.start(hang_after_s=0.5)
        here.leader()
        (tmp_path / "hang").touch()
        held = here.when("held")

        assert held.note.startswith(f"epoch {here.epoch() + 1} hung 3 times in step ")
        assert re.search(r"\(longer than 0.5 s at endless.py:\d+ in misbehave\)", held.note)


def test_a_flow_that_hangs_while_it_loads_is_held(tmp_path: Path) -> None:
    """The author's code hangs before the process could say a word: it is ended all the same."""
    (tmp_path / "hang").touch()
    (tmp_path / "at-load").touch()
    settings = replace(QUICK, policy=replace(QUICK.policy, tries=1), limits=Limits(start_after_s=10.0))
    with served(tmp_path, settings=settings) as here:
        here.start()
        line = here.said("the flow is held")

        assert re.search(r"hung once \(not begun after 10 s at endless.py:\d+ in misbehave\)", line)


def test_want_of_memory_is_named(tmp_path: Path) -> None:
    """A process that grows over its limit is ended, as one that ran out of memory."""
    with served(tmp_path) as here:
        here.start(memory_bytes=600_000_000)
        first = here.leader()
        (tmp_path / "eat").touch()
        until(lambda: here.ledger.operations.events("endless", kind="member-ended"))
        (tmp_path / "eat").unlink()
        here.leader(other_than=[first])

        event = here.ledger.operations.events("endless", kind="member-ended")[-1]
        assert event.body["outcome"] == "out-of-memory"
        place = r"GB in use, the limit is 0\.60 GB at endless\.py:\d+ in misbehave$"
        assert re.search(place, event.body["message"])


def test_a_system_that_is_away_holds_nothing(tmp_path: Path) -> None:
    """Its flow is tried again for ever, and says so."""
    (tmp_path / "endless.py").write_text(
        'import penstock as ps\nflow = ps.Flow("endless")\n'
        'rows = flow.read(ps.nexmark("bid", rate_per_s=100))\n'
        'rows.write(ps.postgres("postgresql://nobody@127.0.0.1:9/none", "bids"))\n'
    )
    with served(tmp_path) as here:
        here.start(run={"patience_s": 0.01})
        waits = until(lambda: found if (found := here.status()).failures > QUICK.policy.tries + 1 else None)

        assert waits.state in ("waiting", "starting")
        assert here.ledger.operations.events("endless", kind="held") == []
        assert here.said("it is tried again")


def test_a_flow_that_cannot_be_loaded_is_held_at_once(tmp_path: Path) -> None:
    """A second start of the same code would meet the same error."""
    (tmp_path / "endless.py").write_text('import penstock as ps\nimport no_such_module\nflow = ps.Flow("endless")\n')
    with served(tmp_path) as here:
        here.start()
        held = here.when("held")

        assert held.failures == 1
        assert "endless can't start: endless.py can't be loaded" in held.note
        assert "No module named 'no_such_module'" in held.note


def test_pause_keeps_the_process_and_plans_nothing(tmp_path: Path) -> None:
    """The same process goes on after it; a stop ends it, and it stays ended."""
    with served(tmp_path) as here:
        here.start()
        leader = here.leader()
        here.wisher.pause("endless")
        here.when("paused")
        epoch = here.epoch()
        until(lambda: here.ledger.members("endless")[0].facts_us > leader.facts_us + 500_000)
        assert here.epoch() == epoch
        here.wisher.resume("endless")
        here.goes_on()
        assert here.leader().id == leader.id
        here.wisher.stop("endless")
        stopped = here.when("stopped")

        assert stopped.members == ()
        assert not is_there(leader)


def test_a_bounded_flow_finishes_once(tmp_path: Path) -> None:
    """When its input is read to the end its process ends, and no other is started."""
    (tmp_path / "few.py").write_text(
        'import penstock as ps\nflow = ps.Flow("few", epoch_rows=10)\n'
        'rows = flow.read(ps.files("rows.jsonl", schema={"n": int}))\nrows.write(ps.parquet("out/few"))\n'
    )
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(30)))
    with served(tmp_path) as here:
        here.start("few")
        here.when("finished", "few")
        before = [line for line in here.lines if line.startswith("few started")]
        here.start()
        here.leader()  # meanwhile the server has looked at both many times

        assert here.status("few").state == "finished"
        assert len(before) == len([line for line in here.lines if line.startswith("few started")]) == 1
        assert [event.body["epoch"] for event in here.ledger.operations.events("few", kind="finished")] == [3]


def test_drain_reads_what_is_there_and_ends(tmp_path: Path) -> None:
    """A flow without an end, told to drain, ends by itself and is not started again."""
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "1.jsonl").write_text('{"n": 1}\n')
    (tmp_path / "watching.py").write_text(
        'import penstock as ps\nflow = ps.Flow("watching")\n'
        'rows = flow.read(ps.files("rows/*.jsonl", schema={"n": int}, watch=True))\nrows.write(ps.parquet("out/w"))\n'
    )
    with served(tmp_path) as here:
        here.start("watching")
        here.leader("watching")
        (tmp_path / "rows" / "2.jsonl").write_text('{"n": 2}\n')
        here.goes_on("watching")
        here.wisher.drain("watching")
        here.when("finished", "watching")

        assert sum(sum(record.rows_in.values()) for record in here.ledger.epochs("watching")) == 2


def test_run_and_server_keep_out_of_each_others_way(tmp_path: Path) -> None:
    """`penstock run` is refused while members are there; while it runs, the server waits, and says for whom."""
    with served(tmp_path) as here:
        here.start()
        here.leader()
        environment = here.environment
        prepared = prepare(load_flow(found_flow("endless", tmp_path), environment), environment)
        with pytest.raises(FlowBusy, match="processes of the server run this flow"):
            run_here(prepared)
        here.wisher.stop("endless")
        here.when("stopped")

        with flow_lock(flow_folder(environment, "endless"), "endless", "dev"):
            here.ledger.operations.desire(Desired("endless", Want.RUNNING, ""))
            assert here.said(f"process {os.getpid()} runs it by `penstock run`")
            assert here.status().state == "busy"
        here.leader()


def test_a_member_that_is_terminated_by_somebody_comes_again(tmp_path: Path) -> None:
    """SIGTERM is a clean end that nobody wished for: it is no failure, and the flow goes on."""
    with served(tmp_path) as here:
        here.start()
        first = here.leader()
        kill(first, signal.SIGTERM)
        here.leader(other_than=[first])

        assert here.status().failures == 0


def test_a_frozen_process_is_replaced(tmp_path: Path) -> None:
    """One that tells nothing any more is killed after its time, and another leads."""
    settings = Settings(policy=RestartPolicy(), limits=QUICK.limits)
    with served(tmp_path, settings=settings) as here:
        here.start(hang_after_s=1.0)
        first = here.leader()
        kill(first, signal.SIGSTOP)
        here.leader(other_than=[first])

        assert not is_there(first)
        assert here.ledger.operations.events("endless", kind="member-ended")[-1].body["outcome"] == "hung"
