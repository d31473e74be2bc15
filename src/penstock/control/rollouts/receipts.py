"""What a handover came to, as one JSON value that stays in the ledger: measured, not promised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.control.gate import accounting, pause_at
from penstock.control.rollouts.cutting import BACK
from penstock.control.rollouts.handover import Handover
from penstock.control.rollouts.stages import (
    CatchUp,
    Check,
    Compare,
    Corrections,
    Cut,
    Follow,
    Gate,
    Into,
    Keep,
    Shadow,
    Watch,
)
from penstock.control.rollouts.targets import taken_back
from penstock.ledger import DeploymentStatus

__all__ = ["receipt"]

BEFORE = 50
AROUND = 20


def receipt(h: Handover, status: DeploymentStatus) -> dict[str, Any]:
    """Everything about it that somebody may want to know later."""
    deployment, ending = h.deployment, h.fact("ending")
    found: dict[str, Any] = {
        "deployment": deployment.id,
        "flow": h.flow,
        "kind": deployment.kind,
        "status": status.value,
        "why": ending.get("why", ""),
        "error": ending.get("error"),
        "at_stage": ending.get("at"),
        "leads": h.version,
        "generation": None if h.standing is None else h.standing.generation,
        "old_version": deployment.old_version,
        "new_version": deployment.new_version,
        "asked_by": deployment.who,
        "asked_why": deployment.why,
        "began_us": deployment.made_us,
        "seconds": round((h.now_us - deployment.made_us) / 1e6, 3),
        "stages_s": _stages_s(h),
        "state_rows_migrated": sum(int(rows) for rows in (h.fact(Follow.name).get("migrated") or {}).values()),
        "savepoint": dict(h.fact("savepoint")),
    }
    for key, name in (("cut", Cut.name), ("back", BACK)):
        if "taken_us" in h.fact(name):
            found[key] = _handed(h, h.fact(name))
    for name in (Check.name, CatchUp.name, Shadow.name, Gate.name, Watch.name, Compare.name, Corrections.name):
        if h.fact(name):
            found[name] = _plain(h.fact(name))
    for name in (Keep.name, Into.name, "hidden", "approval", "rollback_asked", "beside"):
        if h.fact(name):
            found[name] = _plain(h.fact(name))
    return found


def _plain(fact: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fact.items() if name not in ("began_us", "ended_us", "best", "best_us")}


def _stages_s(h: Handover) -> dict[str, float]:
    """How long each stage took."""
    names = [*(stage.name for stage in h.plan), BACK]
    spans = {name: (h.fact(name).get("began_us"), h.fact(name).get("ended_us", h.now_us)) for name in names}
    return {name: round((end - begin) / 1e6, 3) for name, (begin, end) in spans.items() if begin is not None}


def _handed(h: Handover, fact: Mapping[str, Any]) -> dict[str, Any]:
    """A cut: the pause at the sink, and whether each row was taken once, both from the records of the epochs."""
    generation = fact.get("generation")
    at = int(fact.get("epoch", 0))
    records = h.ledger.epochs(h.flow, first=max(1, at - BEFORE), last=at + BEFORE)
    first = next((one for one in records if generation is not None and one.generation >= generation), None)
    rewrite = fact.get("rewrite")
    found: dict[str, Any] = {
        "asked_us": fact.get("asked_us"),
        "generation": generation,
        "from_epoch": None if first is None else first.epoch,
        "takeover": fact.get("takeover"),
    }
    if rewrite is not None:
        return {**found, **_rewritten(h, fact, str(rewrite["fields"]["id"]), int(rewrite["fields"]["first"]))}
    if first is None:
        return found
    pause = pause_at(records, first.epoch)
    account = accounting([one for one in records if abs(one.epoch - first.epoch) <= AROUND])
    return {
        **found,
        "pause_ms": None if pause is None else pause.pause_ms,
        "gap_ms": None if pause is None else pause.gap_ms,
        "usual_gap_ms": None if pause is None else pause.usual_ms,
        "rows_lost": account.rows_lost,
        "rows_duplicated": account.rows_duplicated,
        "faults": list(account.faults),
    }


def _rewritten(h: Handover, fact: Mapping[str, Any], rewrite: str, first: int) -> dict[str, Any]:
    """An undo: which epochs were written anew, the rows of each sink then and now, and how long nobody wrote."""
    undone = [record for _, record in h.ledger.undone_epochs(h.flow, rewrite=rewrite)]
    upto = undone[-1].epoch if undone else None
    rows: dict[str, dict[str, int]] = {}
    for record in undone:
        for sink, count in record.rows_out.items():
            rows.setdefault(sink, {"then": 0, "now": 0})["then"] += count
    if upto is not None:
        for sink, loss in taken_back(h.ledger, h.flow, first, upto).sinks.items():
            rows.setdefault(sink, {"then": 0, "now": 0})["now"] = loss.rows
    times: Mapping[str, Any] = fact.get("takeover") or {}
    pause_ms = (times["opened_us"] - times["fenced_us"]) / 1000 if times.get("opened_us") else None
    return {
        "rewritten_from": first,
        "rewritten_upto": upto,
        "rewritten_epochs": len(undone),
        "rewritten_rows": rows,
        "pause_ms": pause_ms,
        "uncorrected": fact.get("uncorrected") or {},
    }
