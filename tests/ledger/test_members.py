"""Processes of flows, in SQLite and PostgreSQL: wishes go down, facts go up, the ended are forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import DefinitionError, LedgerError
from penstock.ledger import Member, SqlLedger, members
from tests.ledger.facts import FLOW, Open, commit_epochs, plan


def member(name: str, *, flow: str = FLOW, joined_us: int = 1) -> Member:
    """A process that has just begun."""
    return Member(name, flow, "v1", 4711, "host-a", "1234.5", {"role": "follow"}, {}, joined_us)


def test_a_member_reads_back_as_it_joined(open_it: Open) -> None:
    """Every field survives; the same id again replaces what was noted."""
    whole = replace(member("a"), facts={"role": "starting", "rows_in": {"é": [1, None]}}, facts_us=7)
    open_it().join(whole)
    assert open_it().members(FLOW) == [whole]
    again = replace(member("a"), pid=4712, version="v2", joined_us=9)
    open_it().join(again)
    assert open_it().members() == [again]


def test_a_wish_arrives_at_once_and_replaces_the_last(open_it: Open) -> None:
    """What a process looks at is the wish that was said last, by whomever."""
    server, process = open_it(), open_it()
    process.join(member("a"))
    process.join(member("b"))
    assert process.wish_of(FLOW, "a") == {"role": "follow"}
    server.wish(FLOW, "a", {"role": "lead", "expected": 3, "rewrite": None})
    assert process.wish_of(FLOW, "a") == {"role": "lead", "expected": 3, "rewrite": None}
    assert process.wish_of(FLOW, "a") is process.wish_of(FLOW, "a"), "what did not change is not read again"
    assert process.wish_of(FLOW, "b") == {"role": "follow"}
    assert process.wish_of(FLOW, "unknown") == {}
    assert process.wish_of("ghost", "a") == {}


def test_facts_arrive_with_the_time_at_which_they_were_told(open_it: Open) -> None:
    """The last facts replace those before; the wish stays."""
    server, process = open_it(), open_it()
    process.join(member("a"))
    for epoch in (1, 2):
        process.tell(FLOW, "a", {"role": "leading", "epoch": epoch})
    (found,) = server.members(FLOW)

    assert found.facts == {"role": "leading", "epoch": 2}
    assert found.facts_us == 1_700_000_000_000_000
    assert found.wish == {"role": "follow"}


def test_wishes_and_facts_are_of_those_who_joined(open_it: Open) -> None:
    """A wish that nobody would read, or facts of nobody, are refused; so are values that are no JSON."""
    ledger = open_it()
    for attempt in (ledger.wish, ledger.tell):
        with pytest.raises(LedgerError, match="no process 'x' has joined"):
            attempt(FLOW, "x", {})
    ledger.join(member("x"))
    with pytest.raises(LedgerError, match="the facts of a process can't be written as JSON"):
        ledger.tell(FLOW, "x", {"epoch": object()})
    with pytest.raises(DefinitionError):
        ledger.join(member("x", flow="a/b"))


def test_who_left_is_listed_on_request_only(open_it: Open) -> None:
    """An ended process keeps its facts and how it ended; ending twice changes nothing; it still finds its last wish."""
    ledger = open_it()
    for joined_us, name in enumerate(("a", "b", "c"), 1):
        ledger.join(member(name, joined_us=joined_us))
    ledger.join(member("d", flow="other", joined_us=4))
    ledger.leave(FLOW, "b", "exit code 0")
    ledger.leave(FLOW, "b", "lost")
    ledger.leave(FLOW, "unknown", "?")

    assert [found.id for found in ledger.members(FLOW)] == ["a", "c"]
    assert [found.id for found in ledger.members()] == ["a", "c", "d"]
    gone = ledger.members(FLOW, ended=True)[-1]
    assert (gone.id, gone.ended, gone.ended_us) == ("b", "exit code 0", 1_700_000_000_000_000)
    assert ledger.wish_of(FLOW, "b") == {"role": "follow"}


def test_what_one_that_was_given_up_tells_changes_nothing(open_it: Open) -> None:
    """It was frozen on a machine that seemed gone, and wakes up: how it ended is known already, and stays known."""
    ledger = open_it()
    ledger.join(member("a"))
    ledger.tell(FLOW, "a", {"epoch": 7, "exit": "lost"})
    ledger.leave(FLOW, "a", "lost")
    ledger.tell(FLOW, "a", {"epoch": 7, "role": "fenced"})

    assert [found.facts for found in ledger.members(FLOW, ended=True)] == [{"epoch": 7, "exit": "lost"}]


def test_those_who_ended_long_ago_are_forgotten(open_it: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many of each flow stay; what is there is never forgotten."""
    monkeypatch.setattr(members, "ENDED_KEPT", 3)
    ledger = open_it()
    ledger.join(member("alive"))
    for number in range(6):
        ledger.join(member(f"m{number}", joined_us=number + 1))
        ledger.leave(FLOW, f"m{number}", "killed")

    assert [found.id for found in ledger.members(FLOW, ended=True)] == ["alive", "m3", "m4", "m5"]


def test_telling_does_not_make_commits_less_durable(open_it: Open) -> None:
    """Facts may be lost with the power; what is written after them, on the same connection, may not."""
    ledger = open_it()
    assert isinstance(ledger, SqlLedger)
    control = ledger._databases.control
    ledger.claim(FLOW, version="v1", holder="test")
    ledger.join(member("a"))
    ledger.tell(FLOW, "a", {"n": 1})
    asked, full = ("SHOW synchronous_commit", "on") if control.is_postgres else ("PRAGMA synchronous", 2)

    assert control.write(lambda c: c.exec_driver_sql(asked).scalar()) == full
    assert control.write(lambda c: c.exec_driver_sql(asked).scalar(), lazily=True) != full
    assert control.write(lambda c: c.exec_driver_sql(asked).scalar()) == full
    ledger.plan(FLOW, 1, plan(1))
    commit_epochs(ledger, 1, 2)
