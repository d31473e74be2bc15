"""The evidence of a handover, put before the gate; the gate's words, as JSON values for the ledger.

Both versions are judged by the same epochs. Of a member that follows, its counts are told with the epoch that they are
counted up to (`counted_epoch`); of the one that leads, there are records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Literal

from penstock.control.gate import (
    Conduct,
    Determinism,
    Gate,
    RowDiff,
    conduct_of_facts,
    conduct_of_records,
    judge,
    watch_judge,
)
from penstock.control.policies import DeployPolicy
from penstock.control.rollouts.stages import Follow, Verdict
from penstock.control.rollouts.world import Evidence
from penstock.ledger import EpochRecord

__all__ = ["judge_cut", "judge_watched"]

_APPROVAL: Mapping[str, Literal["always", "differences", "never"]] = {
    "person": "always",
    "differences": "differences",
    "policy": "never",
}
_COUNTS = ("rows_in", "rows_out", "rows_late", "rows_dead")


def judge_cut(evidence: Evidence, policy: DeployPolicy, *, env: str, tables: Sequence[str] = ()) -> Mapping[str, Any]:
    """Whether the cut may be made: a `Judgement` as JSON, laid over the `Gate`'s, whose rows are called `diff`."""
    new_facts = {} if evidence.new is None else evidence.new.facts
    rows = _rows(evidence.diff)
    gate = Gate(
        flow=evidence.flow,
        env=env,
        old_version=evidence.old_version,
        new_version=evidence.new_version,
        epochs=_span(rows),
        changes=dict(evidence.facts.get(Verdict.name, {}).get("changes") or {}),
        state=dict(evidence.facts.get(Verdict.name, {}).get("state") or {}),
        migrated=dict(evidence.facts.get(Follow.name, {}).get("migrated") or {}),
        rows=rows,
        old=_timed(conduct_of_records(evidence.old_version, evidence.before, tables=tables), evidence.before),
        new=conduct_of_facts(evidence.new_version, new_facts),
        determinism=_determinism(new_facts.get("determinism")),
    )
    asked = replace(policy, approve=_APPROVAL.get(evidence.approve, policy.approve))
    if evidence.diff is None:
        asked = replace(asked, rows_min=0)
    judged = judge(gate, asked)
    evidence_json = gate.as_json()
    return {**evidence_json, "diff": evidence_json.pop("rows"), **judged.as_json()}


def judge_watched(
    evidence: Evidence, policy: DeployPolicy, *, tables: Sequence[str] = (), freshness_s: float | None = None
) -> Mapping[str, Any]:
    """Whether the new version may go on: `passed`, `reasons`.

    Where the hidden version says up to which epoch it has counted, both are judged by the epochs up to that one. Until
    it has counted one, nothing is said of the rows: one that no version can take may be among the first.
    """
    facts = {} if evidence.new is None else evidence.new.facts
    since, hidden = evidence.since, _hidden(evidence)
    first, last = _counted(evidence)
    counts = evidence.old is None or last > first
    if hidden is not None:
        since = [record for record in since if first < record.epoch <= last]
        if len(since) != last - first:
            hidden, since = None, evidence.since
    after = conduct_of_records(
        evidence.new_version,
        since,
        tables=tables,
        backlog_rows=facts.get("backlog_rows"),
        backlog_before_rows=evidence.facts.get("cut", {}).get("backlog_rows"),
        now_us=evidence.now_us,
        caught_up_us=facts.get("caught_up_us"),
        waits=facts.get("waits"),
    )
    before = conduct_of_records(evidence.old_version, evidence.before, tables=tables, now_us=evidence.cut_us)
    if hidden is None and evidence.old is not None:
        # Two processes share the machine since the cut: only the speed of the other one is a measure for the new one's.
        hidden = Conduct(evidence.old_version, run_ms_p50=evidence.old.facts.get("run_ms_p50"))
    gate: Mapping[str, Any] = evidence.facts.get("gate") or {}
    # Who forced it through has said that rows differ; errors, expectations and speed are watched all the same.
    rows = {} if gate.get("forced") else _rows(evidence.diff)
    approved = _rows(gate.get("diff"))
    reasons = watch_judge(
        _timed(before, evidence.before),
        _timed(after, since),
        policy,
        hidden=hidden,
        rows=rows,
        approved=approved,
        freshness_s=freshness_s,
        counts=counts,
    )
    return {
        "passed": not reasons,
        "reasons": [reason.text for reason in reasons],
        "details": [reason.as_json() for reason in reasons],
    }


def _determinism(told: Mapping[str, Any] | None) -> Determinism | None:
    """What the new version told of its epochs that were run twice more."""
    return None if told is None else Determinism(int(told["epochs"]), tuple(told["steps"]))


def _rows(diff: Mapping[str, Any] | None) -> dict[str, RowDiff]:
    return {sink: RowDiff.from_json(found) for sink, found in (diff or {}).items()}


def _span(rows: Mapping[str, RowDiff]) -> tuple[int, int] | None:
    """The first and the last epoch that any sink was compared in."""
    spans = [diff.epochs for diff in rows.values() if diff.epochs is not None]
    return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None


def _timed(conduct: Conduct, records: Sequence[EpochRecord]) -> Conduct:
    """With the time that reading took: what a follower tells has it, too."""
    spans = [record.timings_ms["run"] + record.timings_ms.get("read", 0.0) for record in records if record.timings_ms]
    return replace(conduct, run_ms_p50=median(spans)) if spans else conduct


def _counted(evidence: Evidence) -> tuple[int, int]:
    """After which epoch the hidden version's counts began, and up to which one they are."""
    base: Mapping[str, Any] = evidence.facts.get("hidden", {}).get("base") or {}
    facts = {} if evidence.old is None else evidence.old.facts
    return int(base.get("counted_epoch") or 0), int(facts.get("counted_epoch") or 0)


def _hidden(evidence: Evidence) -> Conduct | None:
    """What the hidden version did since the cut: its counts now less those that it had when it stepped down."""
    base: Mapping[str, Any] = evidence.facts.get("hidden", {}).get("base") or {}
    if evidence.old is None or base.get("member") != evidence.old.id or base.get("counted_epoch") is None:
        return None
    facts = dict(evidence.old.facts)
    first, last = _counted(evidence)
    if last <= first:
        return None
    facts.update({name: int(facts.get(name) or 0) - int(base.get(name) or 0) for name in _COUNTS})
    failed = facts.get("checks_failed") or {}
    before = base.get("checks_failed") or {}
    facts["checks_failed"] = {name: count - before.get(name, 0) for name, count in failed.items()}
    return replace(conduct_of_facts(evidence.old_version, facts), epochs=last - first)
