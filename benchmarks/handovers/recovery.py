"""Recovery: the process of a flow is killed with `kill -9` at random moments; how long until there is new output?

Without a standby the next process is a warm spare that loads the state; with one, a process that has the state already.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from benchmarks.handovers.gaps import percentile
from benchmarks.handovers.stage import FLOW, SEED, Stage, stage
from benchmarks.places import say
from benchmarks.running import CLOCK
from penstock.clock import seeded
from penstock.ledger import Member

__all__ = ["KEYS", "KILLS", "recovery"]

KEYS = 100_000
RATE_PER_S = 10_000
KILLS = 25
QUIET_S = (1.0, 2.0)


def recovery(*, kills: int = KILLS, keys: int = KEYS, rate_per_s: int = RATE_PER_S) -> dict[str, Any]:
    """Kill so often without a standby, and so often with one."""
    cold = _killed(kills, keys, rate_per_s, standby=False)
    warm = _killed(kills, keys, rate_per_s, standby=True)
    return {
        "kills": 2 * kills,
        "keys": keys,
        "rate_per_s": rate_per_s,
        "to_first_output_ms_p50": percentile(cold["ms"], 0.5),
        "to_first_output_ms_p99": percentile(cold["ms"], 0.99),
        "with_standby_ms_p50": percentile(warm["ms"], 0.5),
        "with_standby_ms_p99": percentile(warm["ms"], 0.99),
        "lost": cold["lost"] + warm["lost"],
        "duplicated": cold["duplicated"] + warm["duplicated"],
    }


def _killed(kills: int, keys: int, rate_per_s: int, *, standby: bool) -> dict[str, Any]:
    chance = seeded(SEED)
    killed_s: list[float] = []
    with stage(keys=keys, rate_per_s=rate_per_s, spares=2, options={"standby": standby}) as made:
        for number in range(1, kills + 1):
            leader = made.wait("a leader at work", lambda: _at_work(made, standby=standby))
            CLOCK.sleep(chance.uniform(*QUIET_S))
            killed_s.append(CLOCK.now_us() / 1e6)
            os.kill(leader.pid, signal.SIGKILL)
            made.wait("another leader", lambda pid=leader.pid: _other(made, pid))  # type: ignore[misc]
            if number % 5 == 0:
                say(f"{'with' if standby else 'without'} a standby: {number} of {kills} kills")
    commits_s = made.final.commits_s
    found = [float(commits_s[np.searchsorted(commits_s, moment, side="right")] - moment) for moment in killed_s]
    return {"ms": [seconds * 1_000 for seconds in found], **made.final.differences}


def _at_work(made: Stage, *, standby: bool) -> Member | None:
    """The leader, once it has committed, and a standby is ready where there should be one."""
    leader = made.leader()
    if leader is None or not leader.facts.get("rows_in"):
        return None
    ready = [one for one in made.ledger.members(FLOW) if one.facts.get("state") == "ready"]
    return leader if ready or not standby else None


def _other(made: Stage, pid: int) -> bool:
    leader = made.leader()
    return leader is not None and leader.pid != pid
