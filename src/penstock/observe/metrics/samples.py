"""All that is known of a flow, or of the server, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.ledger import LAST_TIME_US
from penstock.observe.freshness import FreshnessCount, freshness_us, system_lag_us
from penstock.observe.metrics.totals import FlowTotals

__all__ = ["FlowSample", "SavepointSample", "ServerSample"]


@dataclass(frozen=True, slots=True)
class SavepointSample:
    """The newest savepoint. `took_s`: None where the process that made it is gone."""

    made_us: int
    size_bytes: int
    took_s: float | None = None


@dataclass(frozen=True, slots=True)
class FlowSample:
    """All that is known of one flow at `now_us`; what nobody can tell is None. Times: microseconds, UTC.

    `watermark_us`: of the newest commit. `caught_up_us`: when all input was last worked off; `waits`: whether any waits
    now (None: nobody looks). `freshness_us`: the objective. `restarts`, `cpu_s`, `log_lines`: since ever, by cause,
    role and severity; `memory_bytes`: by role. `compared`: rows of a change that is under way, by result.
    """

    flow: str
    now_us: int
    state: str
    version: str
    totals: FlowTotals
    owner: str = ""
    generation: int | None = None
    committed_us: int | None = None
    watermark_us: int | None = None
    caught_up_us: int | None = None
    waits: bool | None = None
    freshness_us: int | None = None
    objective: FreshnessCount | None = None
    burn_rates: Mapping[str, float] = field(default_factory=dict)
    backlog_rows: int | None = None
    backlog_bytes: int | None = None
    catch_up_s: float | None = None
    dead_letters: int = 0
    dead_pending: Mapping[str, int] = field(default_factory=dict)
    oldest_dead_us: int | None = None
    state_bytes: int = 0
    state_rows: Mapping[str, int] = field(default_factory=dict)
    savepoint: SavepointSample | None = None
    restarts: Mapping[str, int] = field(default_factory=dict)
    recovery_s: float | None = None
    stage: str | None = None
    compared: Mapping[str, int] = field(default_factory=dict)
    run_ended_us: int | None = None
    run_s: float | None = None
    schedule_s: float | None = None
    log_lines: Mapping[str, int] = field(default_factory=dict)
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    memory_limit_bytes: int | None = None

    @property
    def finite_watermark_us(self) -> int | None:
        """The watermark, where it is a time: after the end of the input it is at the end of all times."""
        return None if self.watermark_us is None or self.watermark_us >= LAST_TIME_US else self.watermark_us

    @property
    def fresh_s(self) -> float | None:
        """How far what readers see lags behind what has come; None where nobody looks whether anything has."""
        if self.waits is None:
            return None
        found = freshness_us(
            now_us=self.now_us,
            committed_us=self.committed_us,
            watermark_us=self.watermark_us,
            caught_up_us=self.caught_up_us,
            waits=self.waits,
        )
        return None if found is None else found / 1e6

    @property
    def lag_s(self) -> float | None:
        """How long the oldest input has waited, at most."""
        since_us = self.committed_us if self.caught_up_us is None else self.caught_up_us
        if self.waits is None or since_us is None:
            return None
        return system_lag_us(now_us=self.now_us, caught_up_us=since_us, waits=self.waits) / 1e6


@dataclass(frozen=True, slots=True)
class ServerSample:
    """All that is known of the server and its machine; what nobody can tell is None."""

    version: str
    python: str
    disk_free_bytes: int | None = None
    disk_size_bytes: int | None = None
    ledger_bytes: int | None = None
    history_bytes: int | None = None
    history_series: int | None = None
    sample_s: float | None = None
    loop_lag_s: float | None = None
