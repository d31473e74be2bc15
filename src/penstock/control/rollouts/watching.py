"""After the cut: is the new version as good as the old one was? If not, back, while the old one is warm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from penstock.control.rollouts.cutting import revive, settle
from penstock.control.rollouts.handover import Back, Go, Handover, Outcome, Stay, Stop
from penstock.control.rollouts.judging import feed
from penstock.control.rollouts.stages import Cut, Watch, short
from penstock.control.rollouts.world import Evidence
from penstock.control.supervising.ends import Outcome as Ending
from penstock.control.supervising.ends import read_end
from penstock.ledger import Member

__all__ = ["watch"]

DEATHS_MAX = 3
SAME_EPOCH_MAX = 2
DOWN_S = 30.0
JUDGE_EVERY_S = 1.0
RECORDS = 200
SLOW_S = 10.0


def watch(h: Handover, stage: Watch) -> Outcome:
    """Look at the new leader, at the hidden old version, and at what both write; until the time is over."""
    made = h.stage(Cut)
    assert made is not None, "only a cut is watched"
    settle(h, Cut.name, made.version)
    asked = h.fact("rollback_asked")
    if asked:
        why = f": {asked['why']}" if asked.get("why") else ""
        return Back(f"{asked.get('who') or 'somebody'} asked for it{why}")
    if h.version != made.version:
        return Back(f"{short(h.version)} leads, and not {short(made.version)}")
    rest = h.is_to_rest()
    if rest is not None:
        h.note(stage.name, cut_short=f"{rest.who or 'somebody'} wants the flow {rest.want.value}")
        return Go()
    if h.has_ended():
        h.note(stage.name, cut_short="the input has ended")
        return Go()
    bad = _deaths(h, made) or _down(h, stage)
    if bad is not None:
        return Back(bad)
    _keep_hidden(h, made)
    over = h.waited_s(stage.name) >= stage.seconds
    bad = _judged(h, stage, last=over)
    if bad is not None:
        return Back(bad)
    return Go() if over and h.fact(stage.name).get("slow_us") is None and _has_shown(h) else Stay()


def _has_shown(h: Handover) -> bool:
    """Whether there was something to look at: the new leader has committed an epoch, or it found no input."""
    leader = h.leader()
    if leader is None or leader.facts.get("role") != "leading":
        return False
    newest = h.ledger.epochs(h.flow, limit=1, newest=True)
    since = bool(newest) and newest[0].generation >= int(h.fact(Cut.name).get("generation") or 0)
    return since or leader.facts.get("waits") is False


def _deaths(h: Handover, made: Cut) -> str | None:
    """Why the new version is no good, where its processes died of themselves; None where they may be tried again."""
    since_us = int(h.fact(Cut.name).get("asked_us", 0))
    first = h.fact(Cut.name).get("member")
    deaths: list[dict[str, Any]] = []
    for member in h.ledger.members(h.flow, ended=True):
        led = member.id == first or member.wish.get("role") == "lead"
        if member.ended_us is None or member.ended_us < since_us or member.version != made.version or not led:
            continue
        death = _death(member)
        if death is not None:
            deaths.append(death)
    if not deaths:
        return None
    h.note(Watch.name, deaths=deaths)
    own = [death for death in deaths if death["own"]]
    for epoch, count in Counter(death["epoch"] for death in own).items():
        if count >= SAME_EPOCH_MAX:
            return f"it failed {count} times in epoch {epoch}: {own[0]['why']}"
    unable = next((death for death in own if not death["led"] and death["member"] != first), None)
    if unable is not None:
        return f"it can't be started: {unable['why']}"
    return f"it died {len(deaths)} times: {deaths[0]['why']}" if len(deaths) >= DEATHS_MAX else None


def _death(member: Member) -> dict[str, Any] | None:
    """What an end says of the version; None where it was asked for. `own`: nobody else killed it."""
    end = read_end(member)
    facts: Mapping[str, Any] = member.facts
    if end is None:
        if member.wish.get("role") == "stop":
            return None
        epoch, why, own = int(facts.get("epoch") or 0) + 1, member.ended or "nobody knows how", True
    elif end.is_bad:
        epoch, why, own = end.epoch, end.cause, end.outcome not in (Ending.KILLED, Ending.LOST)
    else:
        return None
    led = facts.get("generation") is not None or facts.get("takeover") is not None
    return {"member": member.id, "epoch": epoch, "why": why, "own": own, "led": led, "at_us": member.ended_us}


def _down(h: Handover, stage: Watch) -> str | None:
    """Whether nobody leads for too long."""
    if h.leader() is not None:
        h.note(stage.name, down_us=None)
        return None
    if h.fact(stage.name).get("down_us") is None:
        h.note(stage.name, down_us=h.now_us)
    return f"nobody leads for {DOWN_S:.0f}s" if h.waited_s(stage.name, "down_us") > DOWN_S else None


def _keep_hidden(h: Handover, made: Cut) -> None:
    """See that the way back is warm: a hidden process that died is started again, once, and the receipt says so."""
    hidden = h.member("old")
    if hidden is not None:
        _note_base(h, hidden)
        return
    lost = h.dead("old")
    if lost is None and h.member("again") is None and h.fact(Cut.name).get("former") is None:
        h.note("hidden", note="no process of the old version led at the cut")
        return
    if "gone" not in h.fact("hidden"):
        h.note("hidden", gone="it is not there" if lost is None else h.death(lost, "it").why, gone_us=h.now_us)
    if "failed" in h.fact("hidden"):
        return
    found = revive(h, made)
    if isinstance(found, Member):
        h.note("hidden", again=found.id)
    elif isinstance(found, Stop):
        h.note("hidden", failed=found.why)


def _judged(h: Handover, stage: Watch, *, last: bool) -> str | None:
    """What the gate says of the new version now; None where nothing is against it."""
    if not h.is_time("judge", JUDGE_EVERY_S) and not last:
        return None
    leader, hidden = h.leader(), h.member("old")
    at = int(h.fact(Cut.name).get("epoch", 0))
    compared = feed(h, stage.name, at + 1, old=hidden, new=leader)
    diff = None if h.memory.comparison is None else h.memory.comparison.report()
    evidence = Evidence(
        h.flow,
        h.deployment.old_version,
        h.version,
        h.now_us,
        h.facts,
        diff=diff,
        old=hidden,
        new=leader,
        before=h.ledger.epochs(h.flow, first=max(1, at - RECORDS), last=at),
        since=h.ledger.epochs(h.flow, first=at + 1, limit=RECORDS, newest=True),
        cut_us=h.fact(Cut.name).get("taken_us"),
    )
    judged = h.world.judge_watch(evidence)
    slow_us = h.fact(stage.name).get("slow_us") if _is_slow(judged) else None
    if _is_slow(judged) and slow_us is None:
        slow_us = h.now_us
    h.note(stage.name, compared=compared, judged=judged, diff=diff, slow_us=slow_us)
    if judged.get("passed", True) or (slow_us is not None and h.waited_s(stage.name, "slow_us") < SLOW_S):
        return None
    return "; ".join(judged.get("reasons", ())) or "it does worse than the old version"


def _is_slow(judged: Mapping[str, Any]) -> bool:
    """Whether time is all that speaks against it. It may be the machine's doing, so it has to last."""
    kinds = {detail.get("kind") for detail in judged.get("details", ())}
    return bool(kinds) and kinds <= {"speed", "freshness"}


def _note_base(h: Handover, hidden: Member) -> None:
    """What the hidden process had counted when it stepped down: from there on its counts are of the same epochs."""
    facts = hidden.facts
    if facts.get("role") == "following" and (h.fact("hidden").get("base") or {}).get("member") != hidden.id:
        names = ("counted_epoch", "rows_in", "rows_out", "rows_late", "rows_dead", "checks_failed")
        h.note("hidden", base={"member": hidden.id, **{name: facts.get(name) for name in names}})
