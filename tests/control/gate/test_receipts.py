"""Pause and accounting from the records of epochs, and how a version did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from penstock.control.gate import (
    Receipt,
    RowDiff,
    accounting,
    conduct_of_records,
    pause_at,
    pause_ms,
    receipt_of_facts,
    row_counts,
)
from penstock.ledger import EpochPlan, EpochRecord

SECOND_US = 1_000_000


def record(epoch: int, committed_ms: float, *, generation: int = 7, offset: int | None = None) -> EpochRecord:
    """The record of an epoch that read ten rows of one source."""
    start = epoch * 10 if offset is None else offset
    ranges = {"rows": {"start": {"0": start}, "end": {"0": epoch * 10 + 10}}}
    return EpochRecord(
        epoch=epoch,
        generation=generation,
        version="0ld0" if generation == 7 else "2e42",
        plan=EpochPlan(epoch, ranges, round(committed_ms * 1000) - 5_000, 0),
        rows_in={"rows": 10},
        rows_out={"out": 9},
        rows_dead=1,
        checks={"not_null(id)": {"passed": 8, "failed": 1}},
        timings_ms={"run": 3.0},
        committed_us=round(committed_ms * 1000),
    )


def story(gap_ms: float = 80.0, *, late: Mapping[int, float] | None = None) -> list[EpochRecord]:
    """Forty epochs, 20 ms apart; the cut is before epoch 21, whose commit comes after `gap_ms`."""
    at_ms, found = 1000.0, []
    for epoch in range(1, 41):
        at_ms += gap_ms if epoch == 21 else (late or {}).get(epoch, 20.0)
        found.append(record(epoch, at_ms, generation=7 if epoch < 21 else 8))
    return found


def test_the_pause_is_the_gap_less_the_usual_one() -> None:
    """As a reader of the sink sees it."""
    found = pause_at(story(), 21)

    assert found is not None
    assert (found.pause_ms, found.gap_ms, found.usual_ms) == (60.0, 80.0, 20.0)
    assert pause_ms(story(20.0), 21) == pause_ms(story(15.0), 21) == 0.0


def test_a_pause_may_be_beside_the_cut() -> None:
    """The last epoch of the old version or the second of the new one may be the late one; others are not its doing."""
    assert pause_ms(story(20.0, late={20: 50.0}), 21) == 30.0
    assert pause_ms(story(20.0, late={23: 70.0}), 21) == 50.0
    assert pause_ms(story(20.0, late={5: 500.0, 30: 500.0}), 21) == 0.0


def test_no_pause_without_both_sides() -> None:
    """Where the records do not reach around the cut, nobody can say."""
    assert pause_at(story()[20:], 21) is None
    assert pause_at(story()[:20], 21) is None
    assert pause_at([], 21) is None
    assert pause_ms(story()[19:21], 21) == 80.0


def test_nothing_lost_and_nothing_twice() -> None:
    """Epochs in a row whose ranges meet."""
    assert accounting(story()) == accounting(list(story())) == replace(accounting([]), epochs=40)


@pytest.mark.parametrize(
    ("records", "lost", "twice", "fault"),
    [
        ([record(1, 1), record(3, 2)], None, 0, "epochs 2..2 are missing"),
        ([record(1, 1), record(1, 2)], 0, None, "epoch 1 comes again after epoch 1"),
        (
            [record(1, 1), record(2, 2, offset=25)],
            None,
            0,
            "rows: epoch 2 begins at {'0': 25}, the one before ended at",
        ),
        ([record(1, 1), record(2, 2, offset=15)], 0, None, "rows: epoch 2 begins at {'0': 15}"),
        ([record(1, 1, generation=8), record(2, 2)], 0, 0, "epoch 2 is of generation 7, the one before of 8"),
    ],
)
def test_what_does_not_add_up(records: Sequence[EpochRecord], lost: int | None, twice: int | None, fault: str) -> None:
    """Lost or twice is told as not known how many, with what is wrong; never as 0."""
    found = accounting(records)

    assert (found.rows_lost, found.rows_duplicated) == (lost, twice)
    assert found.faults[0].startswith(fault)


def test_how_a_version_did() -> None:
    """Sums, medians, and how old the newest result is while input waits."""
    found = conduct_of_records("0ld0", story()[:20], backlog_rows=5, now_us=record(20, 0).committed_us + 2 * SECOND_US)
    calm = conduct_of_records("0ld0", story()[:20], backlog_rows=0, now_us=99 * SECOND_US)

    assert (found.epochs, found.rows_in, found.rows_out, found.rows_dead) == (20, 200, 180, 20)
    assert (found.checks_failed, found.checks_passed) == ({"not_null(id)": 20}, {"not_null(id)": 160})
    assert found.failed_share("not_null(id)") == 20 / 180
    assert found.run_ms_p50 == 3.0
    assert calm.result_age_s == 0.005
    assert conduct_of_records("", [], now_us=1).result_age_s is None


REPORT = {"out": RowDiff("out", rows_old=135, rows_new=135, equal=135, epochs=(6, 20)).as_json()}


def test_the_receipt_of_a_deployment() -> None:
    """What the driver kept becomes a receipt; as JSON and back it is the same."""
    kept = {
        "deployment": "d1",
        "flow": "orders",
        "kind": "deploy",
        "status": "rolled-back",
        "why": "an epoch takes too long",
        "leads": "0ld0",
        "generation": 9,
        "old_version": "0ld0",
        "new_version": "2e42",
        "asked_by": "ada",
        "asked_why": "new tax",
        "began_us": 1000,
        "seconds": 2.5,
        "state_rows_migrated": 12,
        "cut": {"asked_us": 1500, "from_epoch": 21, "pause_ms": 60.0, "rows_lost": 0, "rows_duplicated": 0},
        "back": {"pause_ms": 12.0},
        "shadow": {"compared": 15},
        "gate": {"diff": REPORT, "new": {"checks_failed": {"c": 1}}},
        "watch": {"diff": {"out": RowDiff("out", epochs=(21, 30)).as_json()}},
        "approval": {"yes": True, "who": "bob"},
    }
    found = receipt_of_facts(kept, env="production")

    assert Receipt.from_json(json.loads(json.dumps(found.as_json()))) == found
    assert (found.pause_ms, found.back_pause_ms, found.rows_lost) == (60.0, 12.0, 0)
    assert (found.shadowed, found.cut_epoch, found.watched) == ((6, 20), 21, (21, 30))
    assert found.differences == {"out": row_counts(RowDiff("out", rows_old=135, rows_new=135, equal=135))}
    assert (found.who, found.approved_by, found.reasons, found.ended_us) == (
        "ada",
        "bob",
        ("an epoch takes too long",),
        2_501_000,
    )
    assert receipt_of_facts({"flow": "orders"}, env="dev").pause_ms is None
