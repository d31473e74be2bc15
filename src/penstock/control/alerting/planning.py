"""From what is written to what holds: the rules and routes of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.control.alerting.tables import AlertsTable, RouteTable, RuleTable
from penstock.errors import ConfigError, did_you_mean
from penstock.observe import DEFAULT_RULES, Basis, Route, Rule, Severity, check_route, checked

__all__ = ["AlertPlan", "alert_plan"]

_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class AlertPlan:
    """What is looked at, how often, and who is told."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    every_s: float = _EVERY_S
    link: str = ""
    on: bool = True

    def rule(self, name: str) -> Rule:
        """A rule by its name. Raises ConfigError with the closest one."""
        if name not in self.rules:
            close = did_you_mean(name, tuple(self.rules))
            raise ConfigError(f"there is no alert rule {name!r}.{close}", hint="penstock alerts rules lists them")
        return self.rules[name]

    def route(self, name: str) -> Route:
        """A route by its name. Raises ConfigError with the closest one."""
        found = next((route for route in self.routes if route.name == name), None)
        if found is None:
            names = tuple(route.name for route in self.routes)
            raise ConfigError(
                f"there is no alert route {name!r}.{did_you_mean(name, names)}",
                hint=f"add [alerts.route.{name}] to penstock.toml" if not names else f"known: {', '.join(names)}",
            )
        return found


def alert_plan(table: AlertsTable) -> AlertPlan:
    """The rules that come with Penstock, with what the table says of them, and the table's own. Raises ConfigError."""
    rules = {rule.name: rule for rule in DEFAULT_RULES}
    strange = [name for name in table.off if name not in rules]
    if strange:
        raise ConfigError(
            f"[alerts] off: there is no rule {strange[0]!r}.{did_you_mean(strange[0], tuple(rules))}",
            hint="penstock alerts rules lists them",
        )
    for name in table.off:
        del rules[name]
    for name, written in table.rule.items():
        rules[name] = checked(_rule(name, written, rules.get(name)))
    routes = tuple(check_route(_route(name, route)) for name, route in table.route.items())
    return AlertPlan(rules, routes, table.every or _EVERY_S, table.link.rstrip("/"), table.on)


def _rule(name: str, table: RuleTable, known: Rule | None) -> Rule:
    asked = [(basis, text) for basis, text in _queries(table) if text is not None]
    if len(asked) > 1 or (known is None and not asked):
        raise ConfigError(
            f"alert rule {name!r}: it takes one of expr, logs and sql",
            hint=f"edit [alerts.rule.{name}] in penstock.toml",
        )
    rule = known or Rule(name, Severity.TICKET, "", f"{name}: {{value}}")
    if asked:
        basis, text = asked[0]
        if basis is Basis.LOG_ENTRY and table.more_than is not None:
            basis = Basis.LOG_RATE
        rule = replace(rule, basis=basis, query=text)
    given: dict[str, Any] = {
        "summary": table.summary,
        "for_s": table.for_,
        "keep_s": table.keep,
        "over_s": table.over,
        "above": table.more_than,
        "target": table.target,
        "unit": table.unit,
        "quiets": table.quiets,
        "hint": table.hint,
        "labels": table.labels,
        "severity": None if table.severity is None else Severity(table.severity),
    }
    return replace(rule, **{key: value for key, value in given.items() if value is not None})


def _queries(table: RuleTable) -> tuple[tuple[Basis, str | None], ...]:
    return ((Basis.METRIC, table.expr), (Basis.LOG_ENTRY, table.logs), (Basis.SQL, table.sql))


def _route(name: str, table: RouteTable) -> Route:
    given: dict[str, Any] = {
        "severities": None if table.severities is None else tuple(Severity(one) for one in table.severities),
        "matchers": table.matches,
        "wait_s": table.wait,
        "interval_s": table.interval,
        "repeat_s": table.repeat,
    }
    route = Route(name, table.kind, table.settings)
    return replace(route, **{key: value for key, value in given.items() if value is not None})
