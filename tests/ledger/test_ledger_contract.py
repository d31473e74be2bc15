"""What every ledger promises, over SQLite and PostgreSQL: order, exactly once, the fence, and reading back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from penstock.errors import ConfigError, DefinitionError, Fenced, LedgerError
from penstock.ledger import EpochPlan, Ledger, Resume, check_flow_name
from tests.ledger.facts import FLOW, Open, commit_epochs, letter, plan, record, segment


def begin(ledger: Ledger, flow: str = FLOW) -> Resume:
    """Claim the flow and plan its first epoch."""
    resume = ledger.claim(flow, version="v1", holder="pid 1")
    ledger.plan(flow, resume.generation, plan(1))
    return resume


def test_a_flow_that_never_ran_starts_from_nothing(ledger: Ledger) -> None:
    """The first claim is generation 1 and finds no epoch, no plan and no state."""
    assert ledger.claim(FLOW, version="v1", holder="pid 1") == Resume(1)


def test_reading_a_flow_that_nobody_claimed_finds_nothing(ledger: Ledger) -> None:
    """Reading an unknown flow is no error and creates nothing."""
    found = (
        ledger.epochs("ghost"),
        ledger.segments("ghost"),
        ledger.dead_letters("ghost"),
        ledger.count_dead_letters("ghost"),
        ledger.roll_up("ghost", 10),
        ledger.flows(),
    )

    assert not any(found)


def test_a_committed_epoch_reads_back_as_it_was_written(open_it: Open) -> None:
    """Every field of a record survives, and a new process resumes after it."""
    begin(open_it())
    open_it().commit(FLOW, record(1, state=segment(0, 1)), next_plan=plan(2))
    resume = open_it().claim(FLOW, version="v2", holder="pid 2")

    assert [record(1, state=segment(0, 1))] == open_it().epochs(FLOW)
    assert resume == Resume(2, record(1, state=segment(0, 1)), plan(2), (segment(0, 1),), state_epoch=1)


def test_a_plan_without_a_commit_is_resumed(open_it: Open) -> None:
    """A process that died inside an epoch leaves its plan, with the same ranges, time and seed."""
    begin(open_it())

    assert open_it().claim(FLOW, version="v1", holder="pid 2") == Resume(2, None, plan(1))


def test_a_plan_is_decided_once(ledger: Ledger) -> None:
    """The same plan again is accepted; other ranges for the same epoch are refused, and the first stay."""
    begin(ledger)
    ledger.plan(FLOW, 1, plan(1))
    with pytest.raises(LedgerError, match="decided once"):
        ledger.plan(FLOW, 1, plan(1, upto=11))

    assert ledger.claim(FLOW, version="v1", holder="pid 2").planned == plan(1)


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_only_the_next_epoch_can_be_planned(ledger: Ledger, epoch: int) -> None:
    """After epoch 1 only epoch 2 can be planned."""
    begin(ledger)
    ledger.commit(FLOW, record(1))
    with pytest.raises(LedgerError, match="next epoch is 2"):
        ledger.plan(FLOW, 1, plan(epoch))
    ledger.plan(FLOW, 1, plan(2))


def test_only_the_next_epoch_can_be_committed(ledger: Ledger) -> None:
    """A gap or an epoch of long ago is refused."""
    begin(ledger)
    commit_epochs(ledger, 1, 3)
    for epoch in (1, 2, 5):
        with pytest.raises(LedgerError, match="next epoch to commit is 4"):
            ledger.commit(FLOW, record(epoch))

    assert [found.epoch for found in ledger.epochs(FLOW)] == [1, 2, 3]


def test_an_epoch_must_have_been_planned(ledger: Ledger) -> None:
    """Without a plan in the ledger nothing can be committed."""
    ledger.claim(FLOW, version="v1", holder="pid 1")
    with pytest.raises(LedgerError, match="never planned"):
        ledger.commit(FLOW, record(1))


def test_a_commit_must_carry_the_planned_plan(ledger: Ledger) -> None:
    """A record of other ranges than the planned ones is refused, and leaves no trace."""
    begin(ledger)
    with pytest.raises(LedgerError, match="not the one that the ledger holds"):
        ledger.commit(FLOW, replace(record(1), plan=plan(1, upto=12)), dead=[letter(1, 1)])

    assert not ledger.epochs(FLOW)
    assert ledger.count_dead_letters(FLOW) == 0


def test_a_commit_must_not_contradict_itself(ledger: Ledger) -> None:
    """The numbers of record, plan, next plan and state file must fit together."""
    begin(ledger)
    wrong = [
        (replace(record(1), plan=plan(2)), None),
        (record(1), plan(3)),
        (record(1, state=segment(1, 2)), None),
        (record(1, state=segment(2, 1)), None),
    ]
    for bad, following in wrong:
        with pytest.raises(LedgerError, match=r"the record (carries|brings)"):
            ledger.commit(FLOW, bad, next_plan=following)


def test_exactly_the_same_commit_again_is_accepted(open_it: Open) -> None:
    """A commit whose answer was lost may be repeated: it is recognised, and nothing is written twice."""
    begin(open_it())
    for _ in range(3):
        open_it().commit(
            FLOW, record(1, state=segment(1), committed_us=0), next_plan=plan(2), dead=[letter(1, 1), letter(1, 2)]
        )

    assert open_it().count_dead_letters(FLOW) == 2
    assert len(open_it().dead_letters(FLOW)) == 2
    assert len(open_it().epochs(FLOW)) == 1


def test_another_record_for_a_committed_epoch_is_refused(ledger: Ledger) -> None:
    """A fact is never edited, nor the plan that came with it."""
    begin(ledger)
    ledger.commit(FLOW, record(1), next_plan=plan(2))
    with pytest.raises(LedgerError, match="committed already, with another record"):
        ledger.commit(FLOW, record(1, rows_late=2), next_plan=plan(2))
    with pytest.raises(LedgerError, match="committed already, with another plan after it"):
        ledger.commit(FLOW, record(1), next_plan=plan(2, upto=21))


def test_values_that_are_not_json_are_refused_by_name(ledger: Ledger) -> None:
    """An offset that JSON does not have is the connector's error; nothing is written, trying again is no help."""
    ledger.claim(FLOW, version="v1", holder="pid 1")
    for value in (float("nan"), object()):
        with pytest.raises(LedgerError, match="plan of epoch 1 can't be written as JSON") as caught:
            ledger.plan(FLOW, 1, EpochPlan(1, {"orders": {"end": {"0": value}}}, 0, 0))
        assert not caught.value.heals


def test_a_newer_generation_fences_the_older_one(open_it: Open) -> None:
    """After a second claim the first process can neither plan, nor commit, nor replace state; the second can."""
    old, new = open_it(), open_it()
    begin(old)
    old.commit(FLOW, record(1, state=segment(1)), next_plan=plan(2))
    new.claim(FLOW, version="v2", holder="pid 2 on b")
    attempts: tuple[Callable[[], None], ...] = (
        lambda: old.plan(FLOW, 1, plan(2)),
        lambda: old.commit(FLOW, record(2, 1)),
        lambda: old.commit(FLOW, record(1, 1, state=segment(1)), next_plan=plan(2)),
        lambda: old.replace_segments(FLOW, 1, [segment(1)], None),
    )
    for attempt in attempts[1:]:
        with pytest.raises(Fenced, match="pid 2 on b claimed the flow as generation 2") as caught:
            attempt()
        assert not caught.value.heals
    new.commit(FLOW, record(2, 2))
    with pytest.raises(Fenced):
        attempts[0]()

    assert [found.generation for found in new.epochs(FLOW)] == [1, 2]


def test_a_generation_that_nobody_claimed_can_do_nothing(ledger: Ledger) -> None:
    """A generation from the future, or a flow that was never claimed, is refused."""
    begin(ledger)
    with pytest.raises(LedgerError, match="never claimed"):
        ledger.commit(FLOW, record(1, 9))
    with pytest.raises(LedgerError, match="claimed"):
        ledger.plan("ghost", 1, plan(1))


def test_racing_claims_get_different_generations(open_it: Open) -> None:
    """Ten processes that claim at the same time get ten generations, and only the highest may commit."""
    ledgers = [open_it(lock_timeout_ms=30_000) for _ in range(10)]
    got: list[int] = []

    def race(mine: Ledger) -> None:
        got.append(mine.claim(FLOW, version="v1", holder="racer").generation)

    threads = [threading.Thread(target=race, args=[mine]) for mine in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(got) == list(range(1, 11))
    assert ledgers[0].flows()[0].generation == 10


def test_epochs_are_found_by_range_from_either_end(ledger: Ledger) -> None:
    """First and last are inclusive; limit counts from the front, or with newest from the end; always in order."""
    begin(ledger)
    commit_epochs(ledger, 1, 12)

    def found(**asked: int | bool | None) -> list[int]:
        return [found.epoch for found in ledger.epochs(FLOW, **asked)]  # type: ignore[arg-type]

    assert found() == list(range(1, 13))
    assert found(first=3, last=5) == [3, 4, 5]
    assert found(first=3, limit=2) == [3, 4]
    assert found(limit=2, newest=True) == [11, 12]
    assert found(last=9, limit=2, newest=True) == [8, 9]
    assert found(limit=0) == []
    assert found(first=13) == []


def test_dead_letters_come_in_pages_in_the_order_in_which_they_fell(ledger: Ledger) -> None:
    """A page starts at an id; text that a database can't hold is escaped and not lost."""
    begin(ledger)
    ledger.commit(FLOW, record(1), next_plan=plan(2), dead=[letter(1, n) for n in range(5)])
    ledger.commit(FLOW, record(2), dead=[letter(2, n) for n in range(5, 8)])
    pages = []
    first = 0
    while page := ledger.dead_letters(FLOW, first=first, limit=3):
        pages.append(page)
        first = (page[-1].id or 0) + 1

    assert [len(page) for page in pages] == [3, 3, 2]
    assert list(range(8)) == [found.offset["offset"] for page in pages for found in page]
    assert ledger.count_dead_letters(FLOW) == 8
    assert pages[0][1].message == "row 1: é \\x00 \\ud800"
    assert pages[0][1].version == "v1"


def test_flows_are_listed_with_where_they_stand(open_it: Open) -> None:
    """All flows of the environment by name, also one that has not committed yet."""
    begin(open_it(), "b")
    commit_epochs(open_it(), 1, 2, flow="b")
    open_it().claim("a", version="v7", holder="pid 7")
    facts = open_it().flows()

    assert [(fact.flow, fact.generation, fact.version, fact.holder, fact.last_epoch) for fact in facts] == [
        ("a", 1, "v7", "pid 7", None),
        ("b", 1, "v1", "pid 1", 2),
    ]
    assert facts[1].committed_us == record(2).committed_us


def test_a_forgotten_flow_starts_over_with_a_higher_generation(ledger: Ledger) -> None:
    """Everything goes but the generation, because sinks remember it."""
    begin(ledger)
    ledger.commit(FLOW, record(1, state=segment(1)), next_plan=plan(2), dead=[letter(1, 1)])
    commit_epochs(ledger, 2, 8)
    ledger.roll_up(FLOW, 5)
    ledger.forget_flow(FLOW)

    assert not ledger.epochs(FLOW)
    assert not ledger.segments(FLOW)
    assert ledger.count_dead_letters(FLOW) == 0
    assert ledger.claim(FLOW, version="v1", holder="pid 2") == Resume(2)
    ledger.plan(FLOW, 2, plan(1))
    commit_epochs(ledger, 1, 3, generation=2)
    assert [found.epoch for found in ledger.epochs(FLOW)] == [1, 2, 3]


def test_state_files_are_in_order_and_never_overlap(ledger: Ledger) -> None:
    """A state file begins after the one before; one that does not is refused, and epochs without one are no gap."""
    begin(ledger)
    ledger.commit(FLOW, record(1, state=segment(1)), next_plan=plan(2))
    ledger.commit(FLOW, record(2), next_plan=plan(3))
    with pytest.raises(LedgerError, match="in another file already"):
        ledger.commit(FLOW, record(3, state=segment(1, 3)), next_plan=plan(4))
    ledger.commit(FLOW, record(3, state=segment(2, 3)), next_plan=plan(4))

    assert ledger.segments(FLOW) == (segment(1), segment(2, 3))


def test_a_whole_state_takes_the_place_of_all_before_it(ledger: Ledger) -> None:
    """A commit that brings a whole state drops the references to the files before it."""
    begin(ledger)
    for epoch in (1, 2):
        ledger.commit(FLOW, record(epoch, state=segment(epoch)), next_plan=plan(epoch + 1))
    ledger.commit(FLOW, record(3, state=segment(0, 3)), next_plan=plan(4))

    assert ledger.segments(FLOW) == (segment(0, 3),)


def test_merged_segments_take_the_place_of_their_parts(ledger: Ledger) -> None:
    """A merge replaces exactly its neighbours, while epochs go on; doing it again is accepted."""
    begin(ledger)
    for epoch in range(1, 6):
        ledger.commit(FLOW, record(epoch, state=segment(epoch)), next_plan=plan(epoch + 1))
    for _ in range(2):
        ledger.replace_segments(FLOW, 1, [segment(2), segment(3)], segment(2, 3))
    ledger.replace_segments(FLOW, 1, [segment(1), segment(2, 3)], segment(0, 3))

    assert ledger.segments(FLOW) == (segment(0, 3), segment(4), segment(5))


def test_a_merge_that_does_not_fit_is_refused(ledger: Ledger) -> None:
    """Parts that are not live, not neighbours, or not covered exactly: nothing changes."""
    begin(ledger)
    for epoch in range(1, 5):
        ledger.commit(FLOW, record(epoch, state=segment(epoch)), next_plan=plan(epoch + 1))
    wrong = [
        ([segment(7)], segment(7)),
        ([], segment(9)),
        ([segment(1), segment(3)], segment(1, 3)),
        ([segment(2), segment(3)], segment(2, 4)),
        ([segment(2), segment(3)], segment(0, 3)),
    ]
    for old, new in wrong:
        with pytest.raises(LedgerError, match="segments can't be replaced"):
            ledger.replace_segments(FLOW, 1, old, new)

    assert len(ledger.segments(FLOW)) == 4


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "x.", "ä", "a" * 101, "a\x00"])
def test_a_name_that_can_not_be_a_folder_is_refused(ledger: Ledger, name: str) -> None:
    """Flow names become folders, so they are checked before anything is created."""
    for attempt in (lambda: ledger.claim(name, version="v", holder="h"), lambda: ledger.epochs(name)):
        with pytest.raises(DefinitionError, match="can't be the name of a flow"):
            attempt()


def test_two_flows_may_not_differ_by_case_only(ledger: Ledger) -> None:
    """On some systems both would be one folder."""
    check_flow_name("Orders-2.x_y")
    ledger.claim("Orders", version="v", holder="h")
    with pytest.raises(DefinitionError, match="there is a flow 'Orders'"):
        ledger.claim("orders", version="v", holder="h")


def test_the_name_of_an_environment_is_checked(open_it: Open) -> None:
    """An environment's name is one of a few characters too."""
    with pytest.raises(ConfigError, match="name of an environment"):
        open_it(env="a b")


def test_a_closed_ledger_can_be_opened_again(open_it: Open) -> None:
    """Closing loses nothing."""
    first = open_it()
    begin(first)
    commit_epochs(first, 1, 3)
    first.close()

    assert len(open_it().epochs(FLOW)) == 3
