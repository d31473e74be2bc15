"""The end of a deployment, good or bad: stop whom nobody needs, hold nothing any more, say which version leads."""

from __future__ import annotations

from penstock.control.rollouts.cutting import BACK, is_taken, settle
from penstock.control.rollouts.handover import Back, Go, Handover, Outcome, Stay, leads
from penstock.control.rollouts.opening import savepoint_reason
from penstock.control.rollouts.stages import Cut, Retire
from penstock.control.supervising.crew import SUPERVISOR, is_of
from penstock.control.supervising.standing import is_leader
from penstock.ledger import DeploymentStatus, Member

__all__ = ["final_status", "release", "retire"]

STOP_S = 30.0
OURS = ("hold_from", "spill", "spill_from", "expected", "rewrite", "wrong", "until", "part")
"""What deployments wish of a leader."""
HELD = ("hold_from", "spill", "spill_from")
"""What of it they wish of every process that is about to lead, too (`Handover.hold`)."""


def retire(h: Handover, stage: Retire | None = None) -> Outcome:
    """Stop every process of this deployment that does not lead, then let go of what was held."""
    del stage
    if not stopped(h, [one for one in everyone(h) if not leads(one, h.standing)]):
        return Stay()
    for member in list(h.alive.values()):
        if leads(member, h.standing):
            h.wish(member, **dict.fromkeys(OURS), owner=SUPERVISOR)
        elif is_leader(member):  # the one that led is dead, and this one will, once it has loaded
            h.wish(member, **dict.fromkeys(HELD))
    why = savepoint_reason(h)
    mine = [one.id for one in h.ledger.savepoints(h.flow) if one.why == why]
    if mine:
        h.ledger.drop_savepoints(h.flow, mine)
    return Go()


def everyone(h: Handover) -> list[Member]:
    """The processes of this deployment that are there."""
    return [member for member in h.alive.values() if is_of(member, h.deployment.id)]


def stopped(h: Handover, members: list[Member]) -> bool:
    """Ask processes to stop, and end those that do not; whether all have."""
    for member in members:
        if member.wish.get("role") != "stop":
            h.wish(member, role="stop", expected=None, rewrite=None)
            h.note("stopping", **{member.id: h.now_us})
        elif h.waited_s("stopping", member.id) > STOP_S:
            h.world.kill(member)
    return not members


def release(h: Handover) -> Outcome:
    """Clean up after what did not come to its end. A cut that happened after all is taken back, if it can be."""
    made = h.stage(Cut)
    if made is not None and "asked_us" in h.fact(Cut.name) and BACK not in h.facts:
        # The process may be about to take over: only when it has ended, or leads, is it known who does.
        asked = h.alive.get(str(h.fact(Cut.name).get("member")))
        if asked is not None and not leads(asked, h.standing):
            stopped(h, [asked])
            return Stay()
        if is_taken(h, Cut.name) and made.rewrite_first is None:
            return Back(str(h.fact("ending").get("why", "")))
    if made is not None and h.version in (made.version, made.expected_version):
        for key in (Cut.name, BACK):
            if "asked_us" in h.fact(key) and is_taken(h, key):
                settle(h, key, h.version)
    h.reserve(holds=False)
    return retire(h)


def final_status(h: Handover) -> DeploymentStatus:
    """What a deployment that did not come to its end came to."""
    return DeploymentStatus(h.fact("ending").get("status", DeploymentStatus.FAILED.value))
