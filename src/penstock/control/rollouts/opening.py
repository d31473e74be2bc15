"""The stages before anything can be compared: check, verdict, hold, savepoint, follow, catch up. The old one leads."""

from __future__ import annotations

from penstock.control.rollouts.handover import Go, Handover, Outcome, Stay, Stop, failed, refused
from penstock.control.rollouts.stages import CatchUp, Check, Cut, Follow, Hold, Savepoint, Start, Verdict, short
from penstock.control.rollouts.world import Launch
from penstock.errors import PenstockError
from penstock.ledger import BEGINNING, DeploymentStatus, Member, Want

__all__ = ["NOTHING", "catch_up", "check", "follow", "hold", "savepoint", "start", "verdict"]

NOTHING = BEGINNING.id
"""The savepoint before the first epoch."""

CHECK_S = 120.0
HOLD_S = 300.0
TRIES = 3
SILENT_S = 600.0
NEAR_EPOCHS = 1
STARTED_S = 120.0
STARTS_MAX = 3


def check(h: Handover, stage: Check) -> Outcome:
    """Ask a throwaway process; before that, see that production is what the plan was made for."""
    cut = h.stage(Cut)
    if cut is not None and "ground" not in h.facts:
        now = h.standing
        found = ("", 0) if now is None else (now.version, now.generation)
        if found != (cut.expected_version, cut.expected_generation):
            return refused(
                f"production changed since the plan: {short(found[0])} leads as generation {found[1]}, the plan was "
                f"made for {short(cut.expected_version)} as generation {cut.expected_generation}"
            )
        h.note("ground", version=found[0], generation=found[1], epoch=0 if now is None else now.last_epoch)
    key = f"{h.deployment.id}:check"
    job = {"kind": "check", "flow": h.flow, "version": stage.version, "input_from": stage.input_from}
    answer = h.world.chore(key, job)
    if answer is None:
        if h.waited_s(stage.name) <= CHECK_S:
            return Stay()
        h.world.drop_chore(key)
        return Stop(DeploymentStatus.FAILED, f"{short(stage.version)} was not ready after {CHECK_S:.0f}s of loading")
    h.world.drop_chore(key)
    if not answer.get("ok"):
        error = answer.get("error") or {}
        why = str(error.get("message") or "it could not be checked")
        return Stop(DeploymentStatus.FAILED, f"{short(stage.version)} can't be used: {why}", error)
    h.note(stage.name, **{name: value for name, value in answer.items() if name != "ok"})
    gone = [f"{step}: {found['message']}" for step, found in answer.get("input", {}).items() if not found.get("there")]
    if gone:
        return Stop(DeploymentStatus.FAILED, f"the input is not there any more ({'; '.join(gone)})")
    return Go()


def verdict(h: Handover, stage: Verdict) -> Outcome:
    """Look whether the state can become the new version's."""
    found = h.world.verdict(h.flow, stage.old, stage.new)
    h.note(stage.name, **found)
    return Go() if found.get("compatible") else refused(list(found.get("reasons", ())) or "the state does not fit")


def hold(h: Handover, stage: Hold) -> Outcome:
    """Ask the leader, and wait until it says that it keeps a copy of what it writes: then it holds, too."""
    if "from" not in h.fact(stage.name):
        h.note(stage.name, **{"from": 1 if h.standing is None else h.standing.last_epoch + 1})
    h.hold()
    leader = h.leader()
    if leader is None or leader.facts.get("spill"):
        return Go()
    uncopied = h.uncopied()
    if uncopied is not None:
        return uncopied
    if h.waited_s(stage.name) > HOLD_S:
        return Stop(DeploymentStatus.FAILED, f"the leader {leader.id} did not look at its wishes for {HOLD_S:.0f}s")
    return Stay()


def savepoint(h: Handover, stage: Savepoint) -> Outcome:
    """Name the state as it is, or the old restore point once more, so that nobody lets go of it meanwhile."""
    if stage.id is None and stage.epoch == 0:
        h.note(stage.name, id=NOTHING, epoch=0)
        return Go()
    why = savepoint_reason(h)
    known = h.ledger.savepoints(h.flow)
    found = next((one for one in known if one.why == why), None)
    if found is None and stage.id is not None:
        if all(one.id != stage.id for one in known):
            return Stop(DeploymentStatus.FAILED, f"the restore point of epoch {stage.epoch} is gone")
        found = h.ledger.savepoint(h.flow, why=why, pinned=True, of=stage.id)
    if found is None:
        if h.standing is None or h.standing.last_epoch == 0:
            h.note(stage.name, id=NOTHING, epoch=0)
            return Go()
        found = h.ledger.savepoint(h.flow, why=why, pinned=True)
    h.note(stage.name, id=found.id, epoch=found.epoch, version=found.version)
    return Go()


def savepoint_reason(h: Handover) -> str:
    """By which words the savepoint of this deployment is found again."""
    return f"{h.deployment.kind} {h.deployment.id}"


def follow(h: Handover, stage: Follow) -> Outcome:
    """Start the process, and the one beside it; wait until the state is loaded."""
    if stage.beside is not None:
        _follow_beside(h, stage, stage.beside)
    outcome = launched(h, "new", stage.version, until=stage.until)
    if isinstance(outcome, Member):
        state = outcome.facts.get("state")
        if outcome.facts.get("role") == "following" and state not in ("loading", "migrating"):
            h.note(stage.name, state=state, migrated=outcome.facts.get("migrated") or {}, member=outcome.id)
            return Go()
        h.show(stage.name, state=state, member=outcome.id)
        if h.waited_s(stage.name) > SILENT_S:
            return Stop(DeploymentStatus.FAILED, f"{short(stage.version)} was not loaded after {SILENT_S:.0f}s")
        return Stay()
    return outcome


def _follow_beside(h: Handover, stage: Follow, version: str) -> None:
    """The version of then is only there to compare with: where it can't run, counts have to do."""
    if h.fact("beside").get("gone"):
        return
    outcome = launched(h, "beside", version, until=stage.until)
    if isinstance(outcome, Stop):
        h.note("beside", gone=outcome.why)


def launched(
    h: Handover,
    part: str,
    version: str,
    *,
    until: int | None = None,
    savepoint: str | None = None,
    record_from: int | None = None,
) -> Member | Outcome:
    """The process that plays a part, started where nobody did; from the deployment's savepoint, or another one.

    One that ended before it ever said a word never had its job: the server died while it gave it. It is started again.
    """
    member = h.member(part)
    if member is not None:
        return member
    dead = h.dead(part)
    if dead is not None and (
        "beat_us" in dead.facts or dead.facts.get("error") or h.fact("tries").get(part, 0) >= TRIES
    ):
        return h.death(dead, short(version))
    if dead is not None:
        h.note("tries", **{part: int(h.fact("tries").get(part, 0)) + 1})
    cut = h.stage(Cut)
    launch = Launch(
        flow=h.flow,
        version=version,
        owner=h.deployment.id,
        part=part,
        savepoint=savepoint or str(h.fact("savepoint").get("id") or NOTHING),
        wish={"spill": True, **({} if until is None else {"until": until})},
        record_from=record_from if cut is None or cut.rewrite_first is None else cut.rewrite_first,
    )
    try:
        h.world.start(launch)
    except PenstockError as error:
        return failed(error)
    return Stay()


def catch_up(h: Handover, stage: CatchUp) -> Outcome:
    """Wait until the follower is as far as the leader; give up where it comes no nearer."""
    lost = h.lost()
    if lost is not None:
        return lost
    member = h.member("new")
    plan = h.stage(Follow)
    if member is None or plan is None:
        return Stay()
    epoch = int(member.facts.get("epoch") or 0)
    goal = plan.until if plan.until is not None else (0 if h.standing is None else h.standing.last_epoch)
    lag = max(0, goal - epoch)
    # What a process tells is a moment old, so that of a quick flow seems behind when it is not: it says itself.
    near = lag == 0 or (plan.until is None and (lag <= NEAR_EPOCHS or member.facts.get("state") == "ready"))
    if near and _beside_is_done(h, plan):
        h.note(stage.name, lag=lag, epoch=epoch)
        return Go()
    known = h.fact(stage.name)
    if known.get("best") is None:
        h.note(stage.name, lag=lag, best=lag, best_us=h.now_us, epoch=epoch)
    elif lag < known["best"]:
        h.show(stage.name, lag=lag, best=lag, best_us=h.now_us, epoch=epoch)
    elif h.waited_s(stage.name, "best_us") > stage.stalled_s:
        return Stop(
            DeploymentStatus.FAILED,
            f"{short(member.version)} is too slow: {lag} epochs behind, and no nearer for {stage.stalled_s:.0f}s",
        )
    else:
        h.show(stage.name, lag=lag, epoch=epoch)
    return Stay()


def _beside_is_done(h: Handover, plan: Follow) -> bool:
    if plan.beside is None or h.fact("beside").get("gone") or plan.until is None:
        return True
    member = h.member("beside")
    if member is None:
        lost = h.lost("beside")
        h.note("beside", gone=lost.why if lost is not None else "it is not there")
        return True
    return int(member.facts.get("epoch") or 0) >= plan.until


def start(h: Handover, stage: Start) -> Outcome:
    """Say that the version is wanted, and see it lead."""
    h.desire(stage.version)
    known = h.desired()
    if known is not None and known.want is not Want.RUNNING:
        return Go()
    leader = h.leader()
    if h.version == stage.version and leader is not None and leader.facts.get("role") == "leading":
        return Go()
    dead = [one for one in h.ledger.members(h.flow, ended=True) if one.ended_us and one.version == stage.version]
    ends = [one for one in dead if (one.ended_us or 0) >= int(h.fact(stage.name).get("began_us", 0))]
    if len(ends) >= STARTS_MAX:
        return h.death(ends[0], short(stage.version))
    if h.waited_s(stage.name) > STARTED_S:
        return Stop(DeploymentStatus.FAILED, f"{short(stage.version)} does not lead after {STARTED_S:.0f}s")
    return Stay()
