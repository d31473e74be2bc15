"""How fresh a flow is: one definition, for the status, the metrics, the objective, and the watch after a change."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.ledger import LAST_TIME_US, EpochRecord

__all__ = [
    "BURN_RATES",
    "OBJECTIVE_SHARE",
    "SILENT_S",
    "BurnRate",
    "FreshnessCount",
    "FreshnessLog",
    "caught_up_of",
    "freshness_at_commit_us",
    "freshness_us",
    "freshness_words",
    "system_lag_us",
]

SILENT_S = 5.0
"""A leader that told nothing for so long may be gone or frozen: input is believed to wait from then on."""
OBJECTIVE_SHARE = 0.99
"""The share of time in which a flow is to be as fresh as its author says."""


def freshness_us(
    *, now_us: int, committed_us: int | None, watermark_us: int | None, caught_up_us: int | None, waits: bool
) -> int | None:
    """How far what readers of the outputs see lags behind what has come, in microseconds; None before the first commit.

    The age in event time of the newest commit (`committed_us - watermark_us`; 0 without event time, and where the input
    has ended), and how long input has waited since the flow had last worked off all of it (`caught_up_us`; where
    nobody knows, since the commit). So a quiet flow does not grow old; one that stands still does, second by second;
    data that comes late shows as its delay.
    """
    if committed_us is None:
        return None
    has_time = watermark_us is not None and watermark_us < LAST_TIME_US
    delay_us = max(committed_us - (watermark_us or 0), 0) if has_time else 0
    return delay_us + system_lag_us(
        now_us=now_us, caught_up_us=committed_us if caught_up_us is None else caught_up_us, waits=waits
    )


def system_lag_us(*, now_us: int, caught_up_us: int, waits: bool) -> int:
    """How long the oldest input has waited, at most: since the flow had last worked off all; 0 where none waits."""
    return max(now_us - caught_up_us, 0) if waits else 0


def freshness_at_commit_us(record: EpochRecord) -> int:
    """How fresh the flow was when an epoch was committed: its rows had waited since it was planned, at the least."""
    found = freshness_us(
        now_us=record.committed_us,
        committed_us=record.committed_us,
        watermark_us=record.watermark_us,
        caught_up_us=record.plan.now_us,
        waits=True,
    )
    return found or 0


def freshness_words(fresh_s: float | None, objective_s: float | None) -> str:
    """`fresh: 4 s of 30 s`, `late: 41 s of 30 s`, `4 s behind` without an objective; empty where nothing is known."""
    if fresh_s is None:
        return ""
    if objective_s is None:
        return f"{_span(fresh_s)} behind"
    return f"{'fresh' if fresh_s <= objective_s else 'late'}: {_span(fresh_s)} of {_span(objective_s)}"


def _span(seconds: float) -> str:
    for size_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size_s:
            amount = seconds / size_s
            return f"{amount:,.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"  # noqa: PLR2004
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == round(seconds) else f"{seconds:.1f} s"  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class BurnRate:
    """When to act on an objective: where in both windows the budget for being late burns `factor` times too fast.

    In the long one `share` of the budget of 30 days is gone then; the short one says that it still burns. The figures
    are those of the Site Reliability Workbook, chapter 5.
    """

    long_s: float
    short_s: float
    factor: float
    share: float
    urgent: bool


BURN_RATES = (
    BurnRate(3_600.0, 300.0, 14.4, 0.02, urgent=True),
    BurnRate(21_600.0, 1_800.0, 6.0, 0.05, urgent=True),
    BurnRate(86_400.0, 7_200.0, 3.0, 0.10, urgent=False),
    BurnRate(259_200.0, 21_600.0, 1.0, 0.10, urgent=False),
)


@dataclass(slots=True)
class FreshnessCount:
    """Samples of a flow that has an objective, ever: in time and late."""

    met: int = 0
    missed: int = 0

    @property
    def ratio(self) -> float | None:
        """The share in time; None without samples."""
        total = self.met + self.missed
        return self.met / total if total else None


class FreshnessLog:
    """Which samples of one flow were in time, for as long as the longest window: burn rates at every sample.

    Samples are put together in slots of the shortest window's thirtieth.
    """

    def __init__(self, *, rates: Sequence[BurnRate] = BURN_RATES, share: float = OBJECTIVE_SHARE) -> None:
        self._windows_s = sorted({window for rate in rates for window in (rate.short_s, rate.long_s)})
        self._budget = 1.0 - share
        self._slot_us = max(round(self._windows_s[0] / 30 * 1e6), 1)
        self._slots: deque[tuple[int, int, int]] = deque()

    @property
    def windows_s(self) -> Sequence[float]:
        """The lengths of the windows, shortest first."""
        return self._windows_s

    def add(self, at_us: int, *, met: int, missed: int) -> None:
        """Take in samples of a moment; those of a moment before the newest are its."""
        slot = at_us // self._slot_us
        if self._slots and self._slots[-1][0] >= slot:
            last, before, late = self._slots[-1]
            self._slots[-1] = (last, before + met, late + missed)
        else:
            self._slots.append((slot, met, missed))
        oldest = slot - round(self._windows_s[-1] * 1e6) // self._slot_us
        while self._slots and self._slots[0][0] <= oldest:
            self._slots.popleft()

    def burn_rates(self, now_us: int) -> dict[float, float]:
        """By window in seconds, how many times too fast the budget burns; without those that have no samples.

        The time before the first sample burnt nothing: a flow that has just begun to work off what waits pages nobody
        for the first minutes of it.
        """
        rates: dict[float, float] = {}
        met = missed = 0
        slots = reversed(self._slots)
        pending = next(slots, None)
        for window_s in self._windows_s:
            first = (now_us - round(window_s * 1e6)) // self._slot_us
            while pending is not None and pending[0] > first:
                met, missed = met + pending[1], missed + pending[2]
                pending = next(slots, None)
            if met + missed:
                seen = min((now_us - self._slots[0][0] * self._slot_us) / (window_s * 1e6), 1.0)
                rates[window_s] = missed / (met + missed) * seen / self._budget
        return rates


def caught_up_of(facts: Mapping[str, Any], *, now_us: int) -> tuple[int | None, bool]:
    """When a leader had last caught up, and whether input waits now, by its last heartbeat."""
    told_us = facts.get("caught_up_us")
    silent = now_us - int(facts.get("beat_us") or 0) > SILENT_S * 1e6
    waits = facts.get("waits")
    return (None if told_us is None else int(told_us)), bool(silent or waits is None or waits)
