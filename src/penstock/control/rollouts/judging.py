"""The stages that compare and decide: shadow, gate, approve; for an undo or a replay compare, keep, into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.connect import Change
from penstock.control.rollouts.handover import Go, Handover, Outcome, Stay, Stop, refused
from penstock.control.rollouts.stages import Approve, Compare, Cut, Follow, Gate, Into, Keep, Shadow, short
from penstock.control.rollouts.world import Evidence, Outputs
from penstock.ledger import DeploymentStatus, Member

__all__ = ["approve", "compare", "feed", "gate", "into", "keep", "shadow"]

STEP_S = 0.05
"""How long one step may compare: the server has other things to do."""
ALONE_S = 30.0
COUNTED_S = 10.0
THIN_EVERY_S = 60.0
CHORE_S = 3_600.0


def shadow(h: Handover, stage: Shadow) -> Outcome:
    """Compare what both members computed for the same epochs, until there is enough of it."""
    unfit = h.unfit() or h.uncopied()
    if unfit is not None:
        return unfit
    old, new = h.leader(), h.member("new")
    first = int(h.fact("savepoint").get("epoch", 0)) + 1
    compared = feed(h, Shadow.name, first, old=old, new=new)
    h.show(stage.name, compared=compared)
    enough = stage.epochs is not None and compared >= stage.epochs
    over = stage.seconds is not None and h.waited_s(stage.name) >= stage.seconds
    if enough or over:
        h.note(stage.name, compared=compared)
        return Go()
    if old is not None:
        if "alone_us" in h.fact(stage.name):
            h.note(stage.name, alone_us=None)
        return Stay()
    if h.has_ended() and new is not None and new.facts.get("state") in ("ready", "done"):
        h.note(stage.name, compared=compared, note="the input has ended")
        return Go()
    if h.fact(stage.name).get("alone_us") is None:
        h.note(stage.name, alone_us=h.now_us)
    if h.waited_s(stage.name, "alone_us") > ALONE_S:
        h.note(stage.name, compared=compared, note=f"nobody led for {ALONE_S:.0f}s, so there was nothing to compare")
        return Go()
    return Stay()


def feed(h: Handover, phase: str, first: int, *, old: Member | None, new: Member | None) -> int:
    """Compare the epochs from `first` on that both have and nobody compared yet, for a moment; gives how many in all.

    After a restart of the server it begins anew: the outputs are still there. Each `phase` has a comparison of its own.
    """
    memory = h.memory
    if memory.phase != phase:
        memory.phase, memory.comparison, memory.next_epoch, memory.compared = phase, None, first, 0
    left, right = h.outputs(old), h.outputs(new)
    if left is None or right is None or old is None or new is None:
        return memory.compared
    if memory.comparison is None:
        memory.comparison = h.world.comparison(h.flow, old.version, new.version)
    deadline_s = h.clock.stopwatch_s() + STEP_S
    both = sorted({*left.epochs()} & {*right.epochs()})
    for epoch in both:
        if epoch < memory.next_epoch:
            continue
        try:
            memory.comparison.feed(epoch, left.read(epoch), right.read(epoch))
        except (KeyError, OSError):  # the file was dropped meanwhile
            continue
        memory.next_epoch = epoch + 1
        memory.compared += 1
        if h.clock.stopwatch_s() > deadline_s:
            break
    return memory.compared


def gate(h: Handover, stage: Gate) -> Outcome:
    """Put the evidence together and judge it; whether that is enough is for `approve` to say."""
    unfit = h.unfit()
    if unfit is not None:
        return unfit
    old, new = h.leader(), h.member("new")
    assert new is not None, "it is fit, so it is there"
    diff = None
    first = int(h.fact("savepoint").get("epoch", 0)) + 1
    if h.stage(Shadow) is not None:
        before = h.memory.compared
        compared = feed(h, Shadow.name, first, old=old, new=new)
        if compared < int(h.fact(Shadow.name).get("compared", 0)) and compared > before:
            return Stay()  # another server compared more already: this one catches up first
        diff = None if h.memory.comparison is None else h.memory.comparison.report()
    upto = int(new.facts.get("counted_epoch") or new.facts.get("epoch") or 0)
    if h.waited_s(stage.name) < COUNTED_S:
        if h.standing is not None and upto > h.standing.last_epoch:
            return Stay()  # both are judged by the same epochs, and the leader has not committed the last one yet
        if diff is not None and upto < h.memory.next_epoch - 1:
            return Stay()  # rows were compared whose dead letters and checks the new version has not told of yet
    approval = h.stage(Approve)
    evidence = Evidence(
        h.flow,
        h.version,
        new.version,
        h.now_us,
        h.facts,
        diff=diff,
        old=old,
        new=new,
        approve="policy" if approval is None else approval.by,
        before=h.ledger.epochs(h.flow, first=first, last=upto) if upto >= first else (),
    )
    h.note(stage.name, **h.world.judge(evidence), forced=stage.force, why=stage.why)
    return Go()


def approve(h: Handover, stage: Approve) -> Outcome:
    """The policy says yes where the gate passed; a person says it in the ledger, as the fact `approval`.

    What is final can't be waved through, by nobody; what is not, is by `force`.
    """
    unfit = h.unfit() if h.stage(Follow) is not None else None
    if unfit is not None:
        return unfit
    judged = h.fact(Gate.name)
    reasons = list(judged.get("reasons", ())) or ["the gate did not pass"]
    final = any(detail.get("final") for detail in judged.get("details", ()))
    passed = not final and (bool(judged.get("passed", True)) or bool(judged.get("forced")))
    if final or (not passed and stage.by == "policy"):
        return refused(reasons)
    if passed and stage.by != "person":
        return Go()
    answer = h.fact("approval")
    if answer:
        who, why = answer.get("who") or "somebody", answer.get("why")
        if answer.get("yes"):
            return Go()
        return refused(f"{who} said no" + (f": {why}" if why else ""))
    if h.waited_s(stage.name) > stage.within_s:
        return refused(f"nobody approved it within {stage.within_s / 3600:.0f} hours")
    _thin(h)
    return Stay()


def _thin(h: Handover) -> None:
    """While somebody is waited for, what was compared already need not be kept; an undo needs all of it."""
    made = h.stage(Cut)
    if made is None or made.rewrite_first is not None or h.standing is None or not h.is_time("thin", THIN_EVERY_S):
        return
    for member in (h.leader(), h.member("new")):
        if member is not None:
            h.wish(member, spill_from=h.standing.last_epoch)


def compare(h: Handover, stage: Compare) -> Outcome:
    """Count what the version writes in these epochs beside what was written then; row by row where both are there."""
    lost = h.lost()
    if lost is not None:
        return lost
    outputs = h.outputs(h.member("new"))
    plan = h.stage(Follow)
    if outputs is None or plan is None:
        return Stop(DeploymentStatus.FAILED, "what it computed is gone")
    if not _counted(h, stage, outputs):
        h.show(stage.name, epoch=h.memory.counts.get("epoch"))
        return Stay()
    diff = None
    if plan.beside is not None and not h.fact("beside").get("gone"):
        done = feed(h, stage.name, stage.first, old=h.member("beside"), new=h.member("new"))
        if done < stage.last - stage.first + 1 and h.memory.next_epoch <= stage.last:
            return Stay()
        diff = None if h.memory.comparison is None else h.memory.comparison.report()
    h.note(stage.name, sinks=h.memory.counts["sinks"], diff=diff)
    return Go()


def _counted(h: Handover, stage: Compare, outputs: Outputs) -> bool:
    """Add up the rows of both sides, for a moment; whether all epochs are done."""
    counts = h.memory.counts
    counts.setdefault("epoch", stage.first)
    sinks: dict[str, dict[str, int]] = counts.setdefault("sinks", {})
    deadline_s = h.clock.stopwatch_s() + STEP_S
    there = set(outputs.epochs())
    while counts["epoch"] <= stage.last:
        last = min(stage.last, counts["epoch"] + 99)
        for record in h.ledger.epochs(h.flow, first=counts["epoch"], last=last):
            for step, rows in record.rows_out.items():
                _add(sinks, step, "then", rows)
            for step, rows in _rows(outputs, record.epoch, there):
                _add(sinks, step, "now", rows)
        counts["epoch"] = last + 1
        if h.clock.stopwatch_s() > deadline_s:
            break
    return bool(counts["epoch"] > stage.last)


def _rows(outputs: Outputs, epoch: int, there: set[int]) -> Iterator[tuple[str, int]]:
    found: Mapping[str, Change] = outputs.read(epoch) if epoch in there else {}
    for step, change in found.items():
        yield step, change.rows.height + (0 if change.deleted is None else change.deleted.height)


def _add(sinks: dict[str, dict[str, int]], step: str, side: str, rows: int) -> None:
    found = sinks.setdefault(step, {"then": 0, "now": 0})
    found[side] += rows


def keep(h: Handover, stage: Keep) -> Outcome:
    """Let a process of its own write the rows as Parquet."""
    job = {"kind": "keep", "first": stage.first, "last": stage.last, "folder": stage.folder}
    return _written(h, stage, job)


def into(h: Handover, stage: Into) -> Outcome:
    """Let a process of its own write the rows to the tables of another environment."""
    names = {"environment": stage.environment, "into_flow": stage.flow}
    return _written(h, stage, {"kind": "into", "first": stage.first, "last": stage.last, **names})


def _written(h: Handover, stage: Keep | Into, job: Mapping[str, Any]) -> Outcome:
    lost = h.lost()
    if lost is not None:
        return lost
    member = h.member("new")
    spill = None if member is None else member.facts.get("spill")
    if member is None or not spill:
        return Stop(DeploymentStatus.FAILED, "what it computed is gone")
    key = f"{h.deployment.id}:{stage.name}"
    answer = h.world.chore(key, {**job, "flow": h.flow, "version": member.version, "spill": spill})
    if answer is None:
        if h.waited_s(stage.name) <= CHORE_S:
            return Stay()
        answer = {"ok": False, "error": {"message": f"{short(member.version)} was not written in time"}}
    h.world.drop_chore(key)
    if not answer.get("ok"):
        error = answer.get("error") or {}
        return Stop(DeploymentStatus.FAILED, str(error.get("message") or "it could not be written"), error)
    h.note(stage.name, **{name: value for name, value in answer.items() if name != "ok"})
    return Go()
