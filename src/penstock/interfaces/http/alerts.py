"""The routes of alerts: which fire, the rules, silences."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import Field

from penstock.clock import Clock
from penstock.control import AlertDesk, AlertPlan, Meter
from penstock.errors import ConfigError, PenstockError
from penstock.flow import duration_us
from penstock.interfaces.http.bodies import Ask
from penstock.interfaces.http.missing import NotThere
from penstock.ledger import Ledger
from penstock.observe import backtest

__all__ = ["SilenceAsk", "alert_routes"]


class SilenceAsk(Ask):
    """Which alerts say nothing, and how long: `flow="orders"`, `2h`."""

    matchers: str = Field(min_length=1, max_length=1_000)
    for_: str = Field(default="1h", alias="for", max_length=40)


def alert_routes(app: FastAPI, ledger: Ledger, clock: Clock, plan: AlertPlan, meter: Meter) -> None:
    """Add the routes."""
    desk = AlertDesk(ledger, clock, plan)

    @app.get("/v1/alerts", tags=["alerts"])
    def alerts(flow: str | None = None, *, every: bool = False) -> dict[str, Any]:
        """Alerts that fire, worst first; `every`: those that wait, and those over within a day, too."""
        return {"alerts": [one.as_dict() for one in desk.alerts(flow, every=every)]}

    @app.get("/v1/alerts/rules", tags=["alerts"])
    def rules() -> dict[str, Any]:
        """The rules that are looked at, and the names of the routes that are told."""
        found = [
            {name: getattr(rule, name) for name in rule.__dataclass_fields__} | {"severity": rule.severity.value}
            for rule in plan.rules.values()
        ]
        routes = [{"name": route.name, "kind": route.kind} for route in plan.routes]
        return {"on": plan.on, "every_s": plan.every_s, "rules": found, "routes": routes}

    @app.get("/v1/alerts/rules/{rule}/backtest", tags=["alerts"])
    def backtested(rule: str, over: str = "1d") -> dict[str, Any]:
        """When a rule would have fired, over what is kept of metrics; `known_us`: the oldest sample of them."""
        if meter.history is None:
            raise ConfigError("no store of metrics is open here", hint="penstock up keeps one")
        try:
            chosen = plan.rule(rule)
        except ConfigError as error:
            raise NotThere(error.message, hint=error.hint) from error
        now_us = clock.now_us()
        start_us = now_us - duration_us(over, what="over")
        found = backtest(chosen, meter.history, start_us=start_us, end_us=now_us, step_s=plan.every_s)
        return {
            "rule": rule,
            "start_us": start_us,
            "end_us": now_us,
            "known_us": meter.history.oldest_us(),
            "episodes": [one.as_dict() for one in found],
        }

    _silence_routes(app, desk)


def _silence_routes(app: FastAPI, desk: AlertDesk) -> None:
    @app.get("/v1/silences", tags=["alerts"])
    def silences() -> dict[str, Any]:
        """Silences that stand."""
        return {"silences": [one.as_dict() for one in desk.silences()]}

    @app.post("/v1/silences", tags=["alerts"], status_code=201)
    def silence(ask: SilenceAsk) -> dict[str, Any]:
        """Keep alerts quiet for a while."""
        for_s = duration_us(ask.for_, what="for") / 1e6
        return {"silence": desk.silence(ask.matchers, for_s=for_s, who=ask.who, why=ask.why).as_dict()}

    @app.post("/v1/silences/{silence_id}/end", tags=["alerts"])
    def unsilence(silence_id: str, ask: Ask) -> dict[str, Any]:
        """Let them speak again."""
        try:
            return {"silence": desk.unsilence(silence_id, who=ask.who).as_dict()}
        except PenstockError as error:
            if isinstance(error, ConfigError):
                raise NotThere(error.message, hint=error.hint) from error
            raise
