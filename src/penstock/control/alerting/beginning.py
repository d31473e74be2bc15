"""Alerts of a server: all that looking needs, put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from penstock.clock import Clock
from penstock.control.alerting.asking import LogQueries
from penstock.control.alerting.duty import AlertDuty
from penstock.control.alerting.looking import Alerting
from penstock.control.alerting.planning import alert_plan
from penstock.control.alerting.telling import circumstance_of, delivery
from penstock.control.project import Environment, Project
from penstock.ledger import Ledger
from penstock.observe import SeriesStore

__all__ = ["alert_duty"]


def alert_duty(
    project: Project,
    environment: Environment,
    ledger: Ledger,
    clock: Clock,
    store: SeriesStore,
    logs: LogQueries | None,
    *,
    tell: Callable[[str, str], None],
) -> AlertDuty:
    """The duty; it looks at nothing where alerts are off. Raises ConfigError where `[alerts]` is wrong."""
    plan = alert_plan(project.alerts)

    def make() -> Alerting:
        return Alerting(
            ledger,
            clock,
            plan,
            store,
            logs,
            circumstance=partial(circumstance_of, ledger, plan.link),
            deliver=delivery(environment),
        )

    return AlertDuty(make, clock, every_s=plan.every_s, tell=tell, on=plan.on)
