"""Another try for dead letters, in SQLite and PostgreSQL: each once, whatever a person asks for in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import LedgerError
from penstock.ledger import EpochPlan, EpochRecord, Ledger, Rewrite, Takeover
from penstock.ledger.formats.records import dump_plan, load_plan
from tests.ledger.facts import FLOW, history, letter, plan, record


@pytest.fixture
def fallen(ledger: Ledger) -> Ledger:
    """A flow of four epochs with a letter each, of the ids 1 to 4 or as PostgreSQL counts, and nothing planned."""
    history(ledger, 3, dead=True)
    ledger.commit(FLOW, record(4), dead=[letter(4, 4)])
    return ledger


def ids(ledger: Ledger) -> list[int]:
    """The ids of all letters, in the order in which they fell."""
    return [found.id or 0 for found in ledger.dead_letters(FLOW)]


def statuses(ledger: Ledger) -> list[str]:
    """What became of all letters."""
    return [found.status for found in ledger.dead_letters(FLOW)]


def taking(ledger: Ledger, epoch: int) -> EpochPlan:
    """The plan of an epoch that takes all that waits."""
    return replace(plan(epoch), redrive=tuple(ledger.waiting_redrives(FLOW)))


def taken(epoch: int, planned: EpochPlan, generation: int = 1) -> EpochRecord:
    """The record of an epoch with such a plan."""
    return replace(record(epoch, generation), plan=planned)


def test_a_letter_is_tried_again_once(fallen: Ledger) -> None:
    """It waits, a plan takes it, the commit of that plan makes it redriven; the commit again changes nothing."""
    first, second, third, _ = ids(fallen)
    assert fallen.request_redrive(FLOW, [(third, None), (first, '{"id": "edited\x00"}')]) == 2
    waiting = fallen.waiting_redrives(FLOW)
    planned = taking(fallen, 5)

    assert [(entry["letter"], entry["epoch"], entry["step"]) for entry in waiting] == [
        (first, 1, "clean"),
        (third, 3, "clean"),
    ]
    assert waiting[0]["payload"] == '{"id": "edited\\x00"}'
    assert waiting[1]["payload"] == fallen.dead_letters(FLOW, first=third)[0].payload
    fallen.plan(FLOW, 1, planned)
    assert not fallen.waiting_redrives(FLOW), "a plan has taken them"
    for _ in range(2):
        fallen.commit(FLOW, taken(5, planned), dead=[letter(5, 5)])
    assert statuses(fallen) == ["redriven", "open", "redriven", "open", "open"]
    assert fallen.dead_letters(FLOW)[0].detail == {"epoch": 5}
    assert not fallen.waiting_redrives(FLOW)
    assert fallen.epochs(FLOW, first=5)[0].plan == planned
    assert fallen.count_dead_letters(FLOW) == 5
    with pytest.raises(LedgerError, match=f"dead letter {first} is redriven, not open"):
        fallen.request_redrive(FLOW, [(second, None), (first, None)])
    assert not fallen.waiting_redrives(FLOW), "all or none"


def test_asking_again_keeps_one_and_takes_the_new_payload(fallen: Ledger) -> None:
    """A letter waits once; what was asked last holds, and asking for the payload as it fell gives that."""
    (first, *_) = ids(fallen)
    original = fallen.dead_letters(FLOW)[0].payload
    for payload, expected in (("a", "a"), ("b", "b"), (None, original)):
        assert fallen.request_redrive(FLOW, [(first, payload)]) == 1
        assert [entry["payload"] for entry in fallen.waiting_redrives(FLOW)] == [expected]
    with pytest.raises(LedgerError, match="dead letter 999999999 is not there"):
        fallen.request_redrive(FLOW, [(999_999_999, None)])


def test_what_waits_comes_in_portions(fallen: Ledger) -> None:
    """The first ones by the order in which they fell; those that a plan has taken are no part of it."""
    mine = ids(fallen)
    fallen.request_redrive(FLOW, [(letter_id, None) for letter_id in mine])
    planned = replace(plan(5), redrive=tuple(fallen.waiting_redrives(FLOW, limit=2)))
    fallen.plan(FLOW, 1, planned)

    assert [entry["letter"] for entry in planned.redrive] == mine[:2]
    assert [entry["letter"] for entry in fallen.waiting_redrives(FLOW, limit=1)] == mine[2:3]
    assert [entry["letter"] for entry in fallen.waiting_redrives(FLOW)] == mine[2:]


def test_a_letter_is_in_one_plan_only(fallen: Ledger) -> None:
    """While a plan has it nobody can ask for it again or drop it, and the next plan can't take it too."""
    (first, *_) = ids(fallen)
    fallen.request_redrive(FLOW, [(first, None)])
    planned = taking(fallen, 5)
    fallen.plan(FLOW, 1, planned)
    with pytest.raises(LedgerError, match="is being tried again at this moment"):
        fallen.request_redrive(FLOW, [(first, "other")])
    assert fallen.drop_dead_letters(FLOW, [first], {}) == 0
    with pytest.raises(LedgerError, match=f"takes dead letter {first}, which is redriven"):
        fallen.commit(FLOW, taken(5, planned), next_plan=replace(planned, epoch=6))
    assert len(fallen.epochs(FLOW)) == 4, "nothing of that commit is there"
    fallen.commit(FLOW, taken(5, planned))
    with pytest.raises(LedgerError, match=f"takes dead letter {first}, which is redriven"):
        fallen.plan(FLOW, 1, replace(planned, epoch=6))


def test_a_letter_that_is_given_up_waits_no_more(fallen: Ledger) -> None:
    """Dropping says how many were open; what a plan had taken a moment before is redriven all the same."""
    first, second, third, _ = ids(fallen)
    fallen.request_redrive(FLOW, [(first, None), (second, None)])
    made = taking(fallen, 5)
    assert fallen.drop_dead_letters(FLOW, [first, first, third], {"who": "me", "why": "old"}) == 2
    assert fallen.drop_dead_letters(FLOW, [first, 999_999_999], {}) == 0
    assert [entry["letter"] for entry in fallen.waiting_redrives(FLOW)] == [second]
    assert fallen.dead_letters(FLOW)[0].detail == {"who": "me", "why": "old"}
    assert statuses(fallen) == ["dropped", "open", "dropped", "open"]
    fallen.plan(FLOW, 1, made)
    fallen.commit(FLOW, taken(5, made))
    assert statuses(fallen) == ["redriven", "redriven", "dropped", "open"]


def test_letters_of_undone_epochs_wait_no_more(fallen: Ledger) -> None:
    """Their rows are processed again where they came from: they leave what waits, and the plans that took them."""
    first, second, third, fourth = ids(fallen)
    fallen.request_redrive(FLOW, [(first, None), (third, None)])
    planned = taking(fallen, 5)
    fallen.plan(FLOW, 1, planned)
    fallen.commit(FLOW, taken(5, planned))
    fallen.drop_dead_letters(FLOW, [fourth], {"who": "me"})
    fallen.request_redrive(FLOW, [(second, None)])
    upcoming = taking(fallen, 6)
    fallen.plan(FLOW, 1, upcoming)
    asked = Rewrite("u", 2, 0, "v0", "s")
    resume = fallen.take_over(FLOW, version="v0", holder="good", takeover=Takeover(1, 5, rewrite=asked))
    again = [replace(record(epoch, 2), version="v0") for epoch in (2, 3, 4)]
    without_third = replace(planned, redrive=planned.redrive[:1])
    assert resume.rewrite is not None
    with pytest.raises(LedgerError, match="epoch 5 was run on other ranges"):
        fallen.finish_rewrite(FLOW, 2, resume.rewrite, [*again, taken(5, planned, 2)], ())
    fallen.finish_rewrite(FLOW, 2, resume.rewrite, [*again, taken(5, without_third, 2)], ())
    standing = fallen.standing(FLOW)

    assert statuses(fallen) == ["redriven", "undone", "undone", "undone"]
    assert [found.detail for found in fallen.dead_letters(FLOW)] == [
        {"epoch": 5},
        {"rewrite": "u"},
        {"rewrite": "u", "was": "redriven", "detail": {"epoch": 5}},
        {"rewrite": "u", "was": "dropped", "detail": {"who": "me"}},
    ]
    assert not fallen.waiting_redrives(FLOW)
    assert standing is not None
    assert standing.planned == plan(6)


def test_a_flow_without_letters_has_none_waiting(ledger: Ledger) -> None:
    """Asking an unknown flow what waits is no error; asking for letters of one that nobody claimed is."""
    assert not ledger.waiting_redrives("ghost")
    with pytest.raises(LedgerError, match="no"):
        ledger.request_redrive("ghost", [(1, None)])


def test_plans_without_letters_are_written_as_ever() -> None:
    """The text of a plan is the one that version 1 wrote, and letters come back as they went."""
    entry = {"letter": 1, "epoch": 1, "step": "s", "payload": "p"}

    assert "redrive" not in dump_plan(plan(1))
    assert load_plan(dump_plan(replace(plan(1), redrive=[entry]))) == replace(plan(1), redrive=(entry,))
