"""Change: a flow with a million keys gets new code while it runs, and the old code back, twenty times each.

The pause of a handover is the longest gap between visible outputs from the moment at which it is asked for until a
second after the first output of who leads then, less the usual gap. A deploy is: a follower of the new version,
its state, a shadow run with a comparison row by row, the gate, the cut. In a rollback the old version, which was kept
warm, leads again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.handovers.gaps import percentile, usual_ms, worst_ms
from benchmarks.handovers.stage import FLOW, Stage, stage
from benchmarks.places import say
from benchmarks.running import CLOCK
from penstock.control import Asker, Extent, manner_of
from penstock.ledger import Deployment, DeploymentStatus

__all__ = ["KEYS", "TIMES", "change"]

KEYS = 1_000_000
RATE_PER_S = 5_000
TIMES = 20
SHADOW_EPOCHS = 20
WATCH_S = 600.0
AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class _Cut:
    """One handover: what it was, when it was asked for and cut, and when the new leader's first epoch was committed."""

    kind: str
    asked_s: float
    cut_s: float
    first_s: float


def change(*, times: int = TIMES, keys: int = KEYS, rate_per_s: int = RATE_PER_S) -> dict[str, Any]:
    """Deploy and roll back so often; give the pauses."""
    cuts: list[_Cut] = []
    with stage(keys=keys, rate_per_s=rate_per_s) as made:
        began_s = CLOCK.now_us() / 1e6
        for number in range(1, times + 1):
            CLOCK.sleep(AFTER_S)  # to keep a version is work too, and none of a handover's
            version = made.write_version(number)
            CLOCK.sleep(AFTER_S)
            deploy, rollback = _there_and_back(made, version)
            cuts += [deploy, rollback]
            say(f"{number} of {times}: cut after {deploy.cut_s - deploy.asked_s:.1f} s")
    commits_s = made.final.commits_s
    usual = usual_ms(commits_s, began_s, cuts[-1].first_s)
    pauses = [(cut.kind, max(0.0, worst_ms(commits_s, cut.asked_s, cut.first_s + AFTER_S) - usual)) for cut in cuts]
    deploys = [pause for kind, pause in pauses if kind == "deploy"]
    rollbacks = [pause for kind, pause in pauses if kind == "rollback"]
    near = [max(0.0, worst_ms(commits_s, cut.cut_s, cut.first_s + AFTER_S) - usual) for cut in cuts]
    return {
        "keys": keys,
        "rate_per_s": rate_per_s,
        "handovers": len(cuts),
        "usual_gap_ms": round(usual, 1),
        "pause_ms_p50": percentile(deploys, 0.5),
        "pause_ms_p99": percentile(deploys, 0.99),
        "rollback_pause_ms_p50": percentile(rollbacks, 0.5),
        "rollback_pause_ms_p99": percentile(rollbacks, 0.99),
        "cut_pause_ms_p99": percentile(near, 0.99),
        "seconds_to_cut_p50": round(
            percentile([cut.cut_s - cut.asked_s for cut in cuts if cut.kind == "deploy"], 0.5), 1
        ),
        **made.final.differences,
    }


def _there_and_back(made: Stage, version: str) -> tuple[_Cut, _Cut]:
    asker = Asker(made.ledger, made.environment, CLOCK, who="benchmark", why="benchmark")
    policy = made.project.deploy_policy("bench")
    manner = manner_of(policy, shadow=Extent(epochs=SHADOW_EPOCHS), watch_s=WATCH_S, auto_approve=True)
    asked_s = CLOCK.now_us() / 1e6
    begun = asker.begin(asker.deploy(FLOW, version, manner))
    deploy = _cut(made, "deploy", version, asked_s)
    made.wait("the watch", lambda: _known(made, begun).stage == "watch")
    CLOCK.sleep(AFTER_S)
    asked_s = CLOCK.now_us() / 1e6
    back = asker.rollback(FLOW)
    asker.begin(back)
    rollback = _cut(made, "rollback", begun.old_version, asked_s)
    made.wait("the end", lambda: _known(made, begun).status is not DeploymentStatus.RUNNING)
    return deploy, rollback


def _known(made: Stage, begun: Deployment) -> Deployment:
    found = made.ledger.operations.deployment(begun.id)
    assert found is not None
    if found.status in (DeploymentStatus.FAILED, DeploymentStatus.REFUSED):
        raise AssertionError(f"the deployment ended: {found.status} {found.receipt}")
    return found


def _cut(made: Stage, kind: str, version: str, asked_s: float) -> _Cut:
    """Wait until the version leads and has written."""

    def times() -> Any:
        leader = made.leader()
        if leader is None or leader.version != version:
            return None
        found = leader.facts.get("takeover") or {}
        return found if found.get("first_commit_us") else None

    found = made.wait(f"the {kind}", times)
    since_ms = {
        name: (found[name] - found["asked_us"]) / 1_000 for name in ("fenced_us", "opened_us", "first_commit_us")
    }
    say(f"  {kind}: " + ", ".join(f"{name.removesuffix('_us')} {ms:.0f} ms" for name, ms in since_ms.items()))
    return _Cut(kind, asked_s, found["asked_us"] / 1e6, found["first_commit_us"] / 1e6)
