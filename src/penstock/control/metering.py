"""What is measured of the flows of an environment: from the ledger, with or without a server."""

from __future__ import annotations

from penstock.clock import Clock
from penstock.control.project import Environment
from penstock.control.supervising.status import FlowStatus, flow_statuses
from penstock.ledger import Ledger
from penstock.observe import FlowSample, TotalsByFlow

__all__ = ["flow_samples"]


def flow_samples(
    ledger: Ledger, environment: Environment, clock: Clock, totals: TotalsByFlow, *, flow: str | None = None
) -> list[FlowSample]:
    """The flows that ran or are wished to, by name, or one of them, as they are now. Raises LedgerError."""
    found = flow_statuses(ledger, environment, clock, flow=flow)
    return [_sample(status, ledger, clock, totals) for status in found]


def _sample(status: FlowStatus, ledger: Ledger, clock: Clock, totals: TotalsByFlow) -> FlowSample:
    kept = ledger.operations.version(status.flow, status.version) if status.version else None
    freshness_us = None if kept is None else kept.manifest.get("freshness_us")
    leader = status.leader
    return FlowSample(
        status.flow,
        clock.now_us(),
        status.state,
        status.version,
        totals.of(status.flow),
        generation=status.generation,
        committed_us=status.committed_us,
        watermark_us=status.watermark_us,
        freshness_us=None if freshness_us is None else int(freshness_us),
        backlog_rows=None if leader is None else leader.facts.get("backlog_rows"),
        dead_letters=ledger.count_dead_letters(status.flow),
    )
