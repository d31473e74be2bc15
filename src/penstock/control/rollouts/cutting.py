"""The cut, forwards and back: wish a follower to lead, see in the ledger that it does, and say what should be then.

Who leads is a fact of the ledger: the transaction of the takeover makes it so, and everything here only follows it. A
server that dies between the takeover and the wish for the new version (`desire`) finds the fact when it is back.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from penstock.control.rollouts.handover import Go, Handover, Outcome, Stay, Stop, leads, refused
from penstock.control.rollouts.opening import NOTHING, launched
from penstock.control.rollouts.plans import starting_point
from penstock.control.rollouts.stages import Corrections, Cut, short
from penstock.control.supervising.crew import is_of
from penstock.ledger import DeploymentStatus, Member

__all__ = ["BACK", "Handed", "corrections", "cut", "hand_over", "is_taken", "roll_back", "settle"]

BACK = "roll-back"
"""The name of the stage that takes a cut back; no plan has it."""

TAKEOVER_S = 120.0
ASKS_MAX = 20
BACK_S = 300.0
REVIVALS = 2
TOLD_S = 2.0
"""How long who did an undo may take to tell when it did what."""


class Handed(Enum):
    """How far a takeover is."""

    WAITING = "waiting"
    TAKEN = "taken"
    CHANGED = "changed"
    """Another version leads: neither the one that was to be followed nor the one that was to lead."""
    LATE = "late"


def cut(h: Handover, stage: Cut) -> Outcome:
    """Let the follower lead."""
    if not is_taken(h, stage.name):
        member = h.member("new")
        if member is None:
            return h.lost() or Stop(DeploymentStatus.FAILED, f"no process of {short(stage.version)} is there")
        handed = hand_over(h, stage.name, member, before=stage.expected_version, rewrite_first=stage.rewrite_first)
        if handed is Handed.WAITING:
            return Stay()
        if handed is Handed.CHANGED:
            return refused(f"production changed meanwhile: {short(h.version)} leads")
        if handed is Handed.LATE:
            return Stop(DeploymentStatus.FAILED, f"{short(stage.version)} did not take over, though it was asked to")
    settle(h, stage.name, stage.version)
    if h.standing is not None and h.standing.rewrite is not None:
        h.show(stage.name, rewriting=True)
        return Stay()
    told = stage.rewrite_first is None or bool((h.fact(stage.name).get("takeover") or {}).get("opened_us"))
    return Go() if told or h.waited_s(stage.name, "taken_us") > TOLD_S else Stay()


def hand_over(h: Handover, key: str, member: Member, *, before: str, rewrite_first: int | None = None) -> Handed:
    """Wish `member` to lead, again where the generation changed meanwhile; `key`: where its facts are noted.

    `before`: the version that it takes over from.
    """
    standing = h.standing
    assert standing is not None, "there is something to take over"
    known = h.fact(key)
    if "asked_us" in known and is_taken(h, key):
        return Handed.TAKEN
    if standing.version != before:
        return Handed.CHANGED
    if known.get("expected") != standing.generation or known.get("member") != member.id:
        if int(known.get("asks", 0)) >= ASKS_MAX:
            return Handed.LATE
        leader = h.leader()
        h.reserve(holds=True)
        h.note(
            key,
            asked_us=known.get("asked_us", h.now_us),
            expected=standing.generation,
            undos=standing.undos,
            member=member.id,
            former=None if leader is None or leader.id == member.id else leader.id,
            version=member.version,
            epoch=standing.last_epoch,
            backlog_rows=None if leader is None else leader.facts.get("backlog_rows"),
            asks=int(known.get("asks", 0)) + 1,
            rewrite=_rewrite(h, key, member, rewrite_first, leader),
        )
        known = h.fact(key)
    rewrite = known.get("rewrite")
    former = h.leader()
    manner = {} if former is None else {name: former.wish.get(name) for name in ("paused", "drain")}
    h.wish(
        member,
        **manner,
        role="lead",
        expected=standing.generation,
        until=None,
        spill=True,
        hold_from=h.fact("hold").get("from"),
        rewrite=None if rewrite is None else rewrite["fields"],
        wrong=None if rewrite is None else rewrite.get("wrong"),
    )
    return Handed.LATE if h.waited_s(key, "asked_us") > TAKEOVER_S else Handed.WAITING


def _rewrite(
    h: Handover, key: str, member: Member, first: int | None, leader: Member | None
) -> Mapping[str, Any] | None:
    """What a takeover that is an undo writes anew; `wrong`: where what was written is kept, if all of it is."""
    if first is None or h.standing is None:
        return None
    start = h.fact("savepoint").get("id") if key == Cut.name else None
    if start is None:
        found = starting_point(h.ledger.savepoints(h.flow), first - 1, member.version)
        start = NOTHING if found is None else found.id
    kept = h.outputs(leader)
    epochs = [] if kept is None else kept.epochs()
    wrong = leader.facts.get("spill") if leader is not None and epochs and epochs[0] <= first else None
    fields = {
        "id": h.deployment.id,
        "first": first,
        "upto": h.standing.last_epoch,
        "version": member.version,
        "savepoint": start,
        "why": h.deployment.why,
    }
    return {"fields": fields, "wrong": wrong}


def is_taken(h: Handover, key: str) -> bool:
    """Whether the takeover that was asked for under `key` has happened: the ledger says so."""
    known, standing = h.fact(key), h.standing
    if "asked_us" not in known or standing is None or standing.version != known["version"]:
        return False
    rewrite = known.get("rewrite")
    if rewrite is None:
        return bool(standing.generation > known["expected"])
    pending = standing.rewrite
    return standing.undos > known["undos"] or (pending is not None and pending.id == rewrite["fields"]["id"])


def settle(h: Handover, key: str, version: str) -> None:
    """After a takeover: this version is to be started from now on, and the one before it goes on hidden."""
    if not h.fact(key).get("settled"):
        h.desire(version)
        h.note(key, settled=True)
    h.reserve(holds=False)
    former = h.alive.get(str(h.fact(key).get("former")))
    if former is not None and former.wish.get("role") == "lead" and not leads(former, h.standing):
        part = "old" if key == Cut.name else "new"
        given_up = dict.fromkeys(("expected", "rewrite", "wrong", "paused", "drain"))
        h.wish(former, **given_up, role="follow", owner=h.deployment.id, part=part)
    known = h.fact(key)
    values: dict[str, Any] = {} if "taken_us" in known else {"taken_us": h.now_us}
    leader = h.leader()
    if leader is not None and leader.facts.get("takeover"):
        values["takeover"] = leader.facts["takeover"]
    if leader is not None and leader.facts.get("uncorrected"):
        values["uncorrected"] = leader.facts["uncorrected"]
    h.note(key, generation=None if h.standing is None else h.standing.generation, **values)


def corrections(h: Handover, stage: Corrections) -> Outcome:
    """Note which sinks could not be corrected after all: the leader has told it."""
    told = h.fact(Cut.name).get("uncorrected") or {}
    h.note(
        stage.name, sent=[step for step in stage.sinks if step not in told], failed=dict(told), left=list(stage.left)
    )
    return Go()


def roll_back(h: Handover) -> Outcome:
    """Let the old version lead again: the hidden one where it is there, else a fresh process from its savepoint.

    Gives Go where it leads, Stop where it can't: then the new version goes on leading.
    """
    made = h.stage(Cut)
    assert made is not None, "only a cut can be taken back"
    asked = h.fact("rollback_asked")
    first = asked.get("rewrite_first")
    if is_taken(h, BACK):
        settle(h, BACK, made.expected_version)
        return Stay() if h.standing is not None and h.standing.rewrite is not None else Go()
    if h.version == made.expected_version and first is None:
        settle(h, BACK, made.expected_version)
        return Go()
    member = h.member("old")
    if member is None:
        found = _revived(h, made)
        if not isinstance(found, Member):
            return found
        member = found
    if h.waited_s(BACK) > BACK_S:
        return Stop(DeploymentStatus.FAILED, f"{short(made.expected_version)} did not take over in time")
    handed = hand_over(h, BACK, member, before=made.version, rewrite_first=first)
    if handed is Handed.CHANGED:
        return Stop(DeploymentStatus.FAILED, f"{short(h.version)} leads, and not {short(made.version)}")
    if handed is Handed.LATE:
        return Stop(
            DeploymentStatus.FAILED, f"{short(made.expected_version)} did not take over, though it was asked to"
        )
    return Stay()


def _revived(h: Handover, made: Cut) -> Member | Outcome:
    """The old version again, as far as the new one is."""
    found = revive(h, made)
    if isinstance(found, Member) and found.facts.get("state") != "ready":
        return Stay()
    return found


def revive(h: Handover, made: Cut) -> Member | Outcome:
    """A fresh process of the old version, from the state that it left at the cut; it follows, or is on the way to."""
    gone = [one for one in h.everyone_ever() if one.ended_us is not None and is_of(one, h.deployment.id)]
    if sum(1 for one in gone if one.version == made.expected_version) > REVIVALS:
        return Stop(DeploymentStatus.FAILED, f"{short(made.expected_version)} ends again and again")
    first = h.fact("rollback_asked").get("rewrite_first")
    epoch = int(h.fact(Cut.name).get("epoch", 0)) + 1 if first is None else int(first) - 1
    left = starting_point(h.ledger.savepoints(h.flow), epoch, made.expected_version)
    own = left is not None and left.version == made.expected_version
    savepoint = left.id if left is not None and own else None
    found = launched(h, "again", made.expected_version, savepoint=savepoint, record_from=first)
    if isinstance(found, Member) and found.facts.get("role") == "following":
        h.wish(found, part="old")
        return found
    return Stay() if isinstance(found, Member) else found
