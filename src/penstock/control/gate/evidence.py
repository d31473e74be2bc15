"""From what members and records tell to a judgement as JSON values: what a driver of handovers keeps in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.control.gate.comparison import diffs_of_report, epochs_of_report
from penstock.control.gate.conduct import Conduct, conduct_of_facts, conduct_of_records
from penstock.control.gate.judgement import Judgement
from penstock.control.gate.verdict import Determinism, Gate, judge
from penstock.control.gate.watch import watch_judge
from penstock.control.policies import DeployPolicy
from penstock.ledger import EpochRecord, Member

__all__ = ["gate_of", "judged_cut", "judged_watch"]


def gate_of(
    flow: str,
    env: str,
    *,
    diff: Mapping[str, Any] | None,
    old: Member | None,
    new: Member | None,
    records: Sequence[EpochRecord] = (),
    changes: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
    determinism: Determinism | None = None,
) -> Gate:
    """The gate of a handover. `old` leads, `new` follows; `diff`: `SinkComparison.report`.

    `records`: those of the leader; the ones of the epochs that `new` ran say how the old version did in them. Without
    any of these it is what the leader did in all its life, which is compared by shares.
    """
    facts = {} if new is None else new.facts
    first, last = int(facts.get("start_epoch") or 0), int(facts.get("epoch") or 0)
    same = [record for record in records if first < record.epoch <= last]
    version = "" if old is None else old.version
    before = conduct_of_records(version, same) if same else Conduct(version)
    if not same and old is not None:
        before = conduct_of_facts(version, old.facts)
    return Gate(
        flow=flow,
        env=env,
        old_version=version,
        new_version="" if new is None else new.version,
        epochs=epochs_of_report(diff),
        changes=dict(changes or {}),
        state=dict(state or {}),
        migrated=dict(facts.get("migrated") or {}),
        rows=diffs_of_report(diff),
        old=before,
        new=Conduct() if new is None else conduct_of_facts(new.version, facts),
        determinism=determinism,
    )


def judged_cut(gate: Gate, policy: DeployPolicy) -> dict[str, Any]:
    """`judge`, as JSON values: `Judgement.as_json`, and how both versions did."""
    kept = gate.as_json()
    return {**judge(gate, policy).as_json(), **{name: kept[name] for name in ("old", "new", "migrated", "determinism")}}


def judged_watch(
    policy: DeployPolicy,
    *,
    diff: Mapping[str, Any] | None,
    leader: Member | None,
    hidden: Member | None,
    before: Sequence[EpochRecord],
    since: Sequence[EpochRecord],
    approved: Mapping[str, Any] | None = None,
    freshness_s: float | None = None,
    backlog_before_rows: int | None = None,
    now_us: int | None = None,
) -> dict[str, Any]:
    """`watch_judge`, as JSON values. `diff`, `approved`: reports of the watch and of the gate that was passed.

    `before`: records of the old version up to the cut; `since`: of the new one; `backlog_before_rows`: what waited at
    the cut; `now_us`: the time.
    """
    backlog = None if leader is None else leader.facts.get("backlog_rows")
    after = conduct_of_records(
        since[-1].version if since else "",
        since,
        backlog_rows=backlog,
        backlog_before_rows=backlog_before_rows,
        now_us=now_us,
    )
    if not since and before and now_us is not None and backlog != 0:
        # It has not committed anything yet: the newest result is still the old version's.
        after = replace(after, result_age_s=(now_us - before[-1].committed_us) / 1e6)
    if leader is not None:
        after = replace(after, error=leader.facts.get("error"))
    reasons = watch_judge(
        conduct_of_records(
            before[-1].version if before else "", before, now_us=before[-1].committed_us if before else None
        ),
        after,
        policy,
        hidden=None if hidden is None else conduct_of_facts(hidden.version, hidden.facts),
        rows=diffs_of_report(diff),
        approved=diffs_of_report(approved),
        freshness_s=freshness_s,
    )
    return {**Judgement(not reasons, reasons).as_json(), "after": after.as_json()}
