"""What a policy says of a gate, and of the watch after a cut: with the sentences that a person reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from penstock.connect import Change
from penstock.control.gate import (
    ColumnDiff,
    Conduct,
    Determinism,
    Gate,
    Judgement,
    RowDiff,
    SinkComparison,
    judge,
    watch_judge,
)
from penstock.control.gate.comparison import diffs_of_report, epochs_compared
from penstock.control.policies import ALL_SINKS, Allowance, DeployPolicy, Extent

EQUAL = RowDiff("out", rows_old=1000, rows_new=1000, equal=1000, epochs=(1, 100))
FINE = Conduct(epochs=100, rows_in=10_000, checks_failed={"not_null(id)": 0}, checks_passed={"not_null(id)": 1000})
GATE = Gate("orders", "staging", "0ld0", "2e42", (1, 100), rows={"out": EQUAL}, old=FINE, new=FINE)
STRICT = DeployPolicy()


def changed(rows: int, *columns: str, **more: Any) -> RowDiff:
    """A difference in so many of a thousand rows."""
    return replace(EQUAL, equal=1000 - rows, changed=rows, changes={columns: rows}, **more)


def sentences(gate: Gate, policy: DeployPolicy = STRICT) -> list[str]:
    """Why it does not pass."""
    return [str(reason) for reason in judge(gate, policy).reasons]


def with_rows(**rows: RowDiff) -> Gate:
    """A gate in which only rows differ."""
    return replace(GATE, rows=rows)


@pytest.mark.parametrize(
    ("approve", "differs", "expected"),
    [
        ("always", False, "passed, somebody has to say yes"),
        ("always", True, "somebody has to decide"),
        ("differences", False, "passed"),
        ("differences", True, "somebody has to decide"),
        ("never", False, "passed"),
        ("never", True, "refused"),
    ],
)
def test_who_decides(approve: Any, differs: bool, expected: str) -> None:  # noqa: FBT001 - a parameter
    """A person always, a person where the policy says no, or the policy alone."""
    found = judge(with_rows(out=changed(1, "amount") if differs else EQUAL), DeployPolicy(approve=approve))

    assert found.outcome == expected
    assert (found.passed, found.refused) == (not differs, expected == "refused")


def test_nobody_can_wave_through_what_can_not_work() -> None:
    """State that does not fit, and a version that failed, are refused whoever is asked."""
    state = {"is_compatible": False, "tables": [{"step": "sums", "outcome": "refused", "reasons": ["k is text now"]}]}
    error = {"message": "ValueError: no", "step": "clean", "epoch": 1234, "code": "step"}
    broken = replace(GATE, state=state, new=replace(FINE, error=error))

    assert sentences(broken) == [
        "the state can't be taken over: sums: k is text now",
        "the new version failed in step clean, epoch 1,234: ValueError: no",
    ]
    assert judge(broken, DeployPolicy(approve="always")).refused
    assert sentences(replace(GATE, state={"compatible": False, "reasons": ["no"]})) == [
        "the state can't be taken over: no"
    ]


def test_rows_beyond_what_is_allowed() -> None:
    """Changed, only in old and only in new are allowed apart, by sink, as a number or a share."""
    gate = with_rows(
        out=changed(20, "amount", "tax"), other=replace(EQUAL, equal=997, only_old=3, edge_old=2, rows_new=997)
    )

    assert sentences(gate) == [
        "out: 20 of 1,000 rows changed (2%), allowed: 0; in amount, tax",
        "other: 3 of 1,000 rows only in old (0.3%), allowed: 0; 2 at an edge of the window, perhaps only early or late",
    ]
    allowed = DeployPolicy(
        allow_changed={"out": Allowance(share=0.02)},
        allow_only_old={ALL_SINKS: Allowance(3)},
    )
    assert sentences(gate, allowed) == []
    assert sentences(gate, replace(allowed, allow_changed={"out": Allowance(share=0.019)})) == [
        "out: 20 of 1,000 rows changed (2%), allowed: 1.9%; in amount, tax"
    ]
    assert sentences(gate, DeployPolicy(ignore_sinks=("out", "other"), rows_min=0)) == []


def test_columns_that_may_differ() -> None:
    """A row counts only where another column differs too; a column that comes, goes or has another type is told."""
    diff = replace(changed(20, "scored_at"), changes={("scored_at",): 19, ("amount", "scored_at"): 1})
    columns = ColumnDiff({"rank": "Int64"}, {"note": "String"}, {"id": ("Int32", "Int64")})
    gate = with_rows(out=replace(diff, columns=columns))

    assert sentences(gate, DeployPolicy(allow_columns=("scored_at",))) == [
        "out: its columns differ: rank (Int64) is added, note (String) is removed, id is Int64, was Int32",
        "out: 1 of 1,000 rows changed (0.1%), allowed: 0; in amount",
    ]
    lenient = DeployPolicy(allow_columns=("scored_at", "rank", "note", "id"), allow_changed={"out": Allowance(1)})
    assert judge(gate, lenient).passed
    assert judge(gate, lenient).notes == ("out: 19 rows changed only in scored_at, which the policy allows",)


def test_a_sink_that_comes_or_goes() -> None:
    """One that is gone is a reason, a new one is told."""
    gate = with_rows(
        out=EQUAL, gone=replace(EQUAL, in_new=False), fresh=RowDiff("fresh", rows_new=12, only_new=12, in_old=False)
    )

    assert sentences(gate) == ["gone: the new version does not write it any more"]
    assert judge(gate, STRICT).notes == ("fresh: new, with 12 rows so far",)


def test_nothing_compared_proves_nothing() -> None:
    """An empty shadow run passes only where the policy says that it may."""
    empty = with_rows(out=RowDiff("out"))

    assert sentences(empty) == ["neither version wrote a row in epochs 1..100, so nothing is proven"]
    assert sentences(replace(empty, epochs=None)) == ["no epoch ran in both versions, so nothing is proven"]
    assert sentences(GATE, DeployPolicy(rows_min=5000)) == ["only 1,000 rows could be compared, the policy wants 5,000"]
    assert sentences(empty, DeployPolicy(rows_min=0)) == []
    without = judge(replace(GATE, rows={}, epochs=None), DeployPolicy(shadow=Extent()))
    assert without.passed
    assert without.notes == ("no shadow run: the policy says so, so no rows were compared",)


def test_a_comparison_that_was_cut_short() -> None:
    """What was not compared is no proof; what was compared less exactly is told."""
    limits = ("more than 10 rows have no partner: the oldest of them were counted, not paired", "the rest was not")

    assert sentences(with_rows(out=replace(EQUAL, limits=limits, complete=False))) == [
        "out: not all rows were compared: the rest was not"
    ]
    assert judge(with_rows(out=replace(EQUAL, limits=limits[:1])), STRICT).notes == (f"out: {limits[0]}",)


def test_expectations() -> None:
    """No worse than before, or none that fails, or not looked at."""
    worse = replace(GATE, new=replace(FINE, checks_failed={"not_null(id)": 4, "new": 1, "was": 2}))
    worse = replace(worse, old=replace(FINE, checks_failed={"not_null(id)": 1, "was": 2}))

    assert sentences(worse) == [
        "expectation not_null(id) fails for 4 rows, 1 with the old version",
        "expectation new fails for 1 row, the old version did not have it",
    ]
    assert sentences(worse, DeployPolicy(checks="pass"))[-1] == "expectation was fails for 2 rows; none may fail"
    assert sentences(worse, DeployPolicy(checks="ignore")) == []


def test_dead_letters() -> None:
    """More than the old version's by more than is allowed; a share is one of the rows read."""
    more = replace(GATE, old=replace(FINE, rows_dead=3), new=replace(FINE, rows_dead=10))

    assert sentences(more) == ["10 rows became dead letters, with the old version 3; allowed are 0 more"]
    assert sentences(more, DeployPolicy(dead_letters_max=Allowance(7))) == []
    assert sentences(more, DeployPolicy(dead_letters_max=Allowance(share=0.001))) == []


def test_speed() -> None:
    """So many times as long is too slow, but not within what is noise."""
    slow = replace(GATE, old=replace(FINE, run_ms_p50=10.0), new=replace(FINE, run_ms_p50=25.0))
    noise = replace(GATE, old=replace(FINE, run_ms_p50=0.5), new=replace(FINE, run_ms_p50=2.0))

    assert sentences(slow) == ["an epoch takes 25.0 ms, 10.0 ms with the old version: 2.5 times as long, allowed: 1.5"]
    assert sentences(slow, DeployPolicy(slower_max=3)) == sentences(noise) == []


def test_determinism() -> None:
    """A step that gives other rows each time is named."""
    assert sentences(replace(GATE, determinism=Determinism(5, ("score",)))) == [
        "score gives other rows when an epoch runs again: differences may come from that, and so may a recovery"
    ]
    assert judge(replace(GATE, determinism=Determinism(5)), STRICT).notes == (
        "5 epochs were run twice, with the same rows",
    )


def test_gate_and_judgement_are_json() -> None:
    """They go through the ledger and come back the same."""
    gate = replace(
        with_rows(out=changed(20, "amount", samples={"changed": [{"old": {"x": 1}}]})),
        determinism=Determinism(3, ("score",)),
        migrated={"sums": 12},
        changes={"steps": []},
    )
    judged = judge(gate, STRICT)

    assert Gate.from_json(json.loads(json.dumps(gate.as_json()))) == gate
    assert Judgement.from_json(json.loads(json.dumps(judged.as_json()))) == judged
    assert judged.as_json()["reasons"] == sentences(gate)


# --- after the cut ----------------------------------------------------------------------------------------------------

AFTER = replace(FINE, epochs=50, rows_in=5000, run_ms_p50=10.0, result_age_s=0.1)
BEFORE = replace(FINE, run_ms_p50=10.0, result_age_s=0.1)


def seen(after: Conduct, **more: Any) -> list[str]:
    """Why it is rolled back."""
    return [str(reason) for reason in watch_judge(BEFORE, after, more.pop("policy", STRICT), **more)]


def test_a_version_that_does_well_stays() -> None:
    """The same conduct, a little noise, and fewer dead letters are no reason."""
    assert seen(AFTER, rows={"out": EQUAL}) == []
    assert seen(replace(AFTER, run_ms_p50=14.0, rows_dead=0)) == []
    assert seen(Conduct()) == []


def test_what_is_rolled_back() -> None:
    """Errors, expectations that were met before, dead letters, lost freshness, a backlog that grows, slowness."""
    assert seen(replace(AFTER, error={"message": "no", "step": "clean"}, failures=2)) == [
        "the new version failed 2 times in step clean: no"
    ]
    assert seen(replace(AFTER, checks_failed={"not_null(id)": 5}, checks_passed={"not_null(id)": 495})) == [
        "expectation not_null(id) fails for 5 rows (1%), it was met before"
    ]
    assert seen(replace(AFTER, rows_dead=5)) == [
        "5 rows became dead letters, as before it would be 0; allowed are 0 more"
    ]
    assert seen(replace(AFTER, result_age_s=31.5), freshness_s=30.0) == [
        "the newest result is 31.5 s old while input waits, promised are 30.0 s"
    ]
    assert seen(replace(AFTER, result_age_s=31.5)) == [
        "the newest result is 31.5 s old while input waits, before it was 0.1 s"
    ]
    assert seen(replace(AFTER, backlog_rows=9000, backlog_before_rows=100)) == [
        "it does not keep up: 9,000 rows wait, 100 did at the cut"
    ]
    assert seen(replace(AFTER, run_ms_p50=40.0)) == [
        "an epoch takes 40.0 ms, 10.0 ms with the old version: 4.0 times as long, allowed: 1.5"
    ]


def test_what_was_so_before_is_no_reason() -> None:
    """Freshness that was lost before, expectations that failed as often, dead letters as many as chance allows."""
    before = replace(BEFORE, result_age_s=60.0, rows_dead=100, checks_failed={"c": 100}, checks_passed={"c": 9900})
    after = replace(AFTER, result_age_s=61.0, rows_dead=60, checks_failed={"c": 60}, checks_passed={"c": 4940})

    assert watch_judge(before, after, STRICT, freshness_s=30.0) == ()


def test_a_row_that_no_version_can_take_is_no_reason_to_go_back() -> None:
    """It may come just after the cut: a few are chance, and nothing is said before the hidden version has counted."""
    assert seen(replace(AFTER, rows_dead=3)) == []
    assert seen(replace(AFTER, rows_dead=5, checks_failed={"not_null(id)": 5}), counts=False) == []


def test_the_hidden_version_is_the_better_measure() -> None:
    """It runs the same epochs: then one row more counts, and a slow machine is slow for both."""
    hidden = replace(AFTER, run_ms_p50=40.0, rows_dead=5, checks_failed={"c": 2})

    assert seen(replace(hidden, run_ms_p50=45.0), hidden=hidden) == []
    assert seen(replace(hidden, checks_failed={"c": 3}), hidden=hidden) == [
        "expectation c fails for 3 rows, 2 with the old version"
    ]


def test_what_was_let_through_is_no_reason_to_go_back() -> None:
    """Differences that a person saw at the gate may go on, in the same columns and about as often."""
    approved = {"out": changed(50, "amount")}

    assert seen(AFTER, rows={"out": changed(50, "amount")}) != []
    assert seen(AFTER, rows={"out": changed(90, "amount")}, approved=approved) == []
    assert seen(AFTER, rows={"out": changed(120, "amount")}, approved=approved) == [
        "out: 120 of 1,000 rows changed (12%), allowed: 10%; in amount"
    ]
    assert seen(AFTER, rows={"out": changed(1, "amount", "tax")}, approved=approved) == [
        "out: 1 of 1,000 rows changed (0.1%), allowed: 0; in tax"
    ]


def test_rows_at_the_end_of_an_open_window_may_still_come() -> None:
    """While it is watched, a row of the last epoch that only one version has is not lost yet."""
    late = replace(EQUAL, equal=990, only_old=10, edge_old=10, rows_new=990)

    assert seen(AFTER, rows={"out": late}) == []
    assert seen(AFTER, rows={"out": replace(late, edge_old=9)}) == [
        "out: 1 of 1,000 rows only in old (0.1%), allowed: 0; 9 at an edge of the window, perhaps only early or late"
    ]


def test_a_comparison_of_all_sinks() -> None:
    """Each sink by its key; a key that changed can't be compared; what nobody named is compared too."""
    found = SinkComparison({"a": ["id"], "b": [], "gone": []}, {"a": ["id"], "b": ["id"]})
    rows = pl.DataFrame({"id": [1, 2]})
    found.feed(3, {"a": Change(rows), "b": Change(rows), "gone": Change(rows)}, {"a": Change(rows), "b": Change(rows)})
    found.feed(4, {}, {"other": Change(rows)})
    report = json.loads(json.dumps(found.report()))
    diffs = diffs_of_report(report)

    assert epochs_compared(diffs) == (3, 4)
    assert diffs == found.diffs()
    assert (diffs["a"].equal, diffs["a"].in_new, diffs["gone"].in_new, diffs["other"].only_new) == (2, True, False, 2)
    assert diffs["b"].limits == ("its key was none and is id: rows can't be compared",)
    assert not diffs["b"].complete
