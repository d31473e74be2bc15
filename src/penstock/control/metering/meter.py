"""Measuring: all that is known of the flows and the server now, as samples and as families of numbers."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from threading import Lock
from typing import Any

from penstock.clock import Clock
from penstock.control.metering.counts import FACT, FlowCounts, SideCounts
from penstock.control.metering.machine import disk_bytes, files_bytes, memory_limit_bytes
from penstock.control.policies import MetricsPolicy
from penstock.control.project import Environment
from penstock.control.supervising.schedule import next_us, read_schedule
from penstock.control.supervising.standing import is_leader
from penstock.control.supervising.status import FlowStatus, flow_statuses
from penstock.flow import duration_text
from penstock.ledger import Deployment, Ledger
from penstock.observe import (
    BURN_RATES,
    BurnRate,
    FlowSample,
    FlowTotals,
    FreshnessLog,
    MetricFamily,
    MetricHistory,
    SavepointSample,
    ServerSample,
    TotalsByFlow,
    metric_families,
)

__all__ = ["LogCounts", "Meter", "no_log_lines"]

LogCounts = Callable[[str], Mapping[str, int]]
"""From a flow to how many log lines it ever wrote, by severity: the one place where the store of logs comes in."""

_COMPARED = ("equal", "changed", "only_old", "only_new")


def no_log_lines(_: str) -> Mapping[str, int]:
    """Where no store of logs is."""
    return {}


class Meter:
    """Measures one environment. Safe to use from several threads. `history`: what is kept there is counted on.

    `loop_lag_s`: how late the event loop of the server is. `rates`: the windows of burn rates.
    """

    def __init__(
        self,
        ledger: Ledger,
        environment: Environment,
        clock: Clock,
        *,
        history: MetricHistory | None = None,
        log_lines: LogCounts = no_log_lines,
        policy: MetricsPolicy | None = None,
        rates: Sequence[BurnRate] = BURN_RATES,
    ) -> None:
        self.environment = environment
        self.history = history
        self.clock = clock
        self.loop_lag_s: Callable[[], float | None] = lambda: None
        self._ledger = ledger
        self._log_lines = log_lines
        self._policy = policy or MetricsPolicy()
        self._rates = rates
        self._totals = TotalsByFlow(ledger, history)
        self._counts = SideCounts(None if history is None else history.load(FACT))
        self._logs: dict[str, FreshnessLog] = {}
        self._lock = Lock()
        self._took_s: float | None = None

    def samples(self, flow: str | None = None) -> list[FlowSample]:
        """The flows that ran or are wished to, by name, or one of them, as they are now. Raises LedgerError."""
        with self._lock:
            self._counts.look(self._ledger)
            found = flow_statuses(self._ledger, self.environment, self.clock, flow=flow)
            deployments = {one.flow: one for one in self._ledger.operations.deployments(running=True)}
            return [self._sample(status, deployments.get(status.flow)) for status in found]

    @property
    def every_s(self) -> float:
        """How far samples that are kept are apart."""
        return self._policy.every_s

    def families(self, samples: Sequence[FlowSample] | None = None) -> list[MetricFamily]:
        """All numbers of the environment, as in these samples or as they are now. Raises LedgerError."""
        began_s = self.clock.stopwatch_s()
        samples = self.samples() if samples is None else samples
        server = self._server()
        self._took_s = self.clock.stopwatch_s() - began_s
        return metric_families(self.environment.project, self.environment.name, samples, server)

    def count_objectives(self, samples: Sequence[FlowSample]) -> None:
        """Hold a sample of each flow with an objective against it. Called by who keeps samples, and by nobody else."""
        with self._lock:
            for sample in samples:
                fresh_s, objective_us = sample.fresh_s, sample.freshness_us
                if fresh_s is None or objective_us is None:
                    continue
                met = fresh_s * 1e6 <= objective_us
                counted = self._counts.of(sample.flow).objective
                counted.met, counted.missed = counted.met + met, counted.missed + (not met)
                self._log_of(sample.flow).add(sample.now_us, met=int(met), missed=int(not met))

    def kept(self) -> dict[str, str]:
        """What is to be kept in the store beside the numbers, so that counting goes on after a restart."""
        with self._lock:
            return {FACT: self._counts.kept()}

    def _log_of(self, flow: str) -> FreshnessLog:
        """Which samples of a flow were in time; after a restart from the store."""
        found = self._logs.get(flow)
        if found is None:
            found = self._logs[flow] = FreshnessLog(rates=self._rates, share=self._policy.objective_share)
            if self.history is not None:
                self._refill(flow, found, self.history)
        return found

    def _refill(self, flow: str, log: FreshnessLog, history: MetricHistory) -> None:
        now_us, step_s = self.clock.now_us(), max(log.windows_s[0] / 30, log.windows_s[-1] / 10_000)
        start_us = now_us - round(log.windows_s[-1] * 1e6)
        counts: dict[int, Counter[str]] = {}
        name = "penstock_freshness_samples_total"
        if not any(one.name == name for one in history.names()):
            return
        answer = history.series(
            name, {"flow": flow}, start_us=start_us, end_us=now_us, step_s=step_s, function="increase"
        )
        for one in answer.series:
            for at_us, value in zip(answer.times_us, one.values.tolist(), strict=True):
                if value > 0:
                    counts.setdefault(at_us, Counter())[one.labels["result"]] += round(value)
        for at_us, results in sorted(counts.items()):
            log.add(at_us, met=results["met"], missed=results["missed"])

    def _sample(self, status: FlowStatus, deployment: Deployment | None) -> FlowSample:
        flow, ledger, leader = status.flow, self._ledger, status.leader
        facts = {} if leader is None else leader.facts
        totals, counts, letters = self._totals.of(flow), self._counts.of(flow), ledger.open_dead_letters(flow)
        now_us = self.clock.now_us()
        has_objective = status.objective_us is not None
        rates = self._log_of(flow).burn_rates(now_us) if has_objective else {}
        options = status.options or {}
        return FlowSample(
            flow,
            now_us,
            status.state,
            status.version,
            totals,
            owner=status.owner,
            generation=status.generation,
            committed_us=status.committed_us,
            watermark_us=status.committed_watermark_us,
            caught_up_us=status.caught_up_us,
            waits=status.waits,
            freshness_us=status.objective_us,
            objective=counts.objective if has_objective else None,
            burn_rates={duration_text(round(window_s * 1e6)): rate for window_s, rate in rates.items()},
            backlog_rows=facts.get("backlog_rows"),
            backlog_bytes=facts.get("backlog_bytes"),
            catch_up_s=facts.get("catch_up_s"),
            dead_letters=ledger.count_dead_letters(flow),
            dead_pending=letters.open_by_error,
            oldest_dead_us=self._committed_us(flow, letters.oldest_epoch),
            state_bytes=sum(segment.size_bytes for segment in ledger.segments(flow)),
            state_rows=dict(facts.get("state_rows") or {}),
            savepoint=self._savepoint(flow, facts.get("savepoint_ms")),
            restarts=counts.restarts,
            recovery_s=_recovery_s(counts, totals),
            stage=None if deployment is None else deployment.stage,
            compared={} if deployment is None else _compared(deployment),
            run_ended_us=totals.run_ended_us,
            run_s=totals.run_s,
            schedule_s=_interval_s(options, now_us),
            log_lines=self._log_lines(flow),
            cpu_s=dict(counts.cpu_s),
            memory_bytes=_memory(status),
            memory_limit_bytes=memory_limit_bytes(options.get("memory_bytes")),
        )

    def _committed_us(self, flow: str, epoch: int | None) -> int | None:
        """When an epoch was committed."""
        found = () if epoch is None else self._ledger.epochs(flow, first=epoch, last=epoch)
        return found[0].committed_us if found else None

    def _savepoint(self, flow: str, took_ms: float | None) -> SavepointSample | None:
        found = max(self._ledger.savepoints(flow), key=lambda one: one.made_us, default=None)
        if found is None:
            return None
        size_bytes = sum(segment.size_bytes for segment in found.segments)
        return SavepointSample(found.made_us, size_bytes, None if took_ms is None else took_ms / 1e3)

    def _server(self) -> ServerSample:
        folder, history = self.environment.folder, self.history
        free_bytes, size_bytes = disk_bytes(folder)
        return ServerSample(
            version("penstock"),
            platform.python_version(),
            free_bytes,
            size_bytes,
            files_bytes(folder),
            None if history is None else history.size_bytes,
            None if history is None else history.series_count,
            self._took_s,
            self.loop_lag_s(),
        )


def _recovery_s(counts: FlowCounts, totals: FlowTotals) -> float | None:
    """From the last end of a leader that nobody asked for to the first commit of another one after it."""
    if counts.ended_us is None:
        return None
    after = [committed_us for _, committed_us, _ in totals.firsts if committed_us > counts.ended_us]
    return (after[0] - counts.ended_us) / 1e6 if after else None


def _compared(deployment: Deployment) -> dict[str, int]:
    """Rows of old and new version compared so far, over all sinks: at the gate, or after the cut."""
    facts = deployment.facts
    told = (facts.get("watch") or {}).get("diff") or (facts.get("gate") or {}).get("diff") or {}
    return {name: sum(int(diff.get(name, 0)) for diff in told.values()) for name in _COMPARED} if told else {}


def _memory(status: FlowStatus) -> dict[str, int]:
    found: Counter[str] = Counter()
    for member in status.members:
        if member.facts.get("memory_bytes") is not None:
            found["leader" if is_leader(member) else "follower"] += int(member.facts["memory_bytes"])
    return dict(found)


def _interval_s(options: Mapping[str, Any], now_us: int) -> float | None:
    """How far the next two runs of a flow are apart; None for one that does not run by the clock."""
    schedule = read_schedule(options)
    if schedule is None:
        return None
    first_us = next_us(schedule, now_us)
    return (next_us(schedule, first_us) - first_us) / 1e6
