"""What handovers and deaths cost, as a reader of the table sees it: the longest gap between visible outputs."""

from __future__ import annotations

from benchmarks.handovers.change import KEYS, TIMES, change
from benchmarks.handovers.change import RATE_PER_S as CHANGE_RATE_PER_S
from benchmarks.handovers.peers import change_peers, recover_peers
from benchmarks.handovers.recovery import KEYS as RECOVERY_KEYS
from benchmarks.handovers.recovery import KILLS, recovery
from benchmarks.handovers.recovery import RATE_PER_S as RECOVERY_RATE_PER_S

__all__ = [
    "CHANGE_RATE_PER_S",
    "KEYS",
    "KILLS",
    "RECOVERY_KEYS",
    "RECOVERY_RATE_PER_S",
    "TIMES",
    "change",
    "change_peers",
    "recover_peers",
    "recovery",
]
