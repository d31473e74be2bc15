"""What handovers and deaths cost, as a reader of the table sees it: the longest gap between visible outputs."""

from __future__ import annotations

from benchmarks.handovers.change import KEYS, TIMES, change
from benchmarks.handovers.recovery import KEYS as RECOVERY_KEYS
from benchmarks.handovers.recovery import KILLS, recovery

__all__ = ["KEYS", "KILLS", "RECOVERY_KEYS", "TIMES", "change", "recovery"]
