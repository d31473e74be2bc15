"""One process in its service, stepped by the test: what it makes of its wishes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import penstock as ps
from penstock.clock import ManualClock
from penstock.connect import clear, memory_rows
from penstock.engine import Duty, Leader, Orders, Outcome
from penstock.ledger import Member
from tests.engine.serving import Place, write_rows


def run(leader: Leader) -> None:
    """Lead until nothing waits."""
    while leader.step() is Outcome.RAN:
        pass


def test_who_was_ready_catches_up_before_it_takes_over(tmp_path: Path) -> None:
    """It was frozen since: what it has not run may be forgotten by the sources, once it has fenced who led."""
    clock = ManualClock()
    place = Place(tmp_path, replace(ps.table("duty", key=["key"]), kind="memory"), clock=clock)
    with closing(place):
        old = place.lead(1)
        write_rows(place.input, [(1, 1)])
        run(old)
        ledger = old.post.ledger
        savepoint = ledger.savepoint("sums", why="test", pinned=True)
        ledger.join(Member("m", "sums", "v2", 1, "here", "s", {"role": "follow"}))
        post, computation = place.process(2)
        waited_for: list[bool] = []

        def weigh(ahead: bool) -> bool:  # noqa: FBT001 - the engine gives it so
            waited_for.append(ahead)
            return len(waited_for) > 1  # at first the system says: later

        duty = Duty(post, computation, Orders("m", "m", "follow", tmp_path / "m", savepoint, weigh=weigh))
        duty.begin()
        duty.step()
        assert duty.facts()["state"] == "ready"
        duty.step()
        assert waited_for == [False, False], "nobody waits for who follows; told again where it was not heard"

        write_rows(place.input, [(2, number) for number in range(80)])
        run(old)
        ledger.wish("sums", "m", {"role": "lead", "expected": old.generation})
        clock.sleep(1)
        while duty.facts()["role"] == "following":
            before = duty.facts()["epoch"]
            duty.step()
            assert duty.facts()["epoch"] <= before + 3, "what is run at once, while the old one leads on"
        assert duty.facts()["epoch"] == 9
        write_rows(place.input, [(3, 3)])
        duty.step()
        assert dict(memory_rows("duty").rows())[3] == 6
        assert waited_for[2:] == [True], "once: who is told to lead is waited for"
        duty.close()
    clear("duty")
