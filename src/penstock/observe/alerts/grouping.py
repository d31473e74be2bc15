"""Who is told when: alerts of one flow go together, news at once but not too often, and again while it lasts.

The rhythm is Alertmanager's: wait a moment for what belongs together, then an interval between news of a group, then a
reminder now and then. Pure, so that a restart goes on from what was kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.observe.alerts.rules import Severity
from penstock.observe.alerts.silences import parse_matchers
from penstock.observe.alerts.state import Alert, State

__all__ = ["Group", "Notice", "Route", "due"]

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Route:
    """Where alerts go. `kind` and `settings`: see `penstock.observe.alerts.routes`; values may be secrets' references.

    `severities`: which it takes; `matchers`: labels that an alert must have, as a silence writes them.
    """

    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    severities: tuple[Severity, ...] = (Severity.PAGE, Severity.TICKET)
    matchers: str = ""
    wait_s: float = 10.0
    interval_s: float = 300.0
    repeat_s: float = 14_400.0

    def takes(self, alert: Alert) -> bool:
        """Whether an alert goes there."""
        labels = {**alert.labels, "rule": alert.rule, "severity": alert.severity.value}
        return alert.severity in self.severities and all(
            matcher.fits(labels.get(matcher.label, "")) for matcher in parse_matchers(self.matchers)
        )


@dataclass(frozen=True, slots=True)
class Group:
    """What a route was told of a group. `sent`: ids of the alerts that it was told fire. `first_us`: when the first
    alert that it was not told of came.
    """

    key: str
    sent: tuple[str, ...] = ()
    sent_us: int | None = None
    first_us: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"key": self.key, "sent": list(self.sent), "sent_us": self.sent_us, "first_us": self.first_us}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Group:
        """The group of `as_dict`."""
        return cls(values["key"], tuple(values["sent"]), values["sent_us"], values["first_us"])


@dataclass(frozen=True, slots=True)
class Notice:
    """What a route is to be told now: the alerts that fire, those that are over, and the group as it is afterwards."""

    route: Route
    firing: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    after: Group

    @property
    def key(self) -> str:
        """Names the group at whoever is told, for all of its life."""
        return self.after.key


def due(
    routes: Sequence[Route], alerts: Sequence[Alert], quiet: Mapping[str, str], groups: Mapping[str, Group], now_us: int
) -> tuple[list[Notice], dict[str, Group]]:
    """The notices that are due, and the groups that wait or are over, as they are to be kept (those of a notice once it
    was delivered). `quiet`: alerts that say nothing; one that fired before is not told to be over by that.
    """
    notices: list[Notice] = []
    kept: dict[str, Group] = {}
    for route in routes:
        members: dict[str, list[Alert]] = {}
        for alert in alerts:
            if route.takes(alert) and alert.state is not State.PENDING:
                members.setdefault(_key(route, alert), []).append(alert)
        begins = f"{route.name}/"
        for key in sorted({*members, *(key for key in groups if key.startswith(begins))}):
            group = groups.get(key, Group(key))
            notice, waiting = _looked(route, group, members.get(key, ()), quiet, now_us)
            if notice is not None:
                notices.append(notice)
            elif waiting != group:
                kept[key] = waiting
    return notices, kept


def _looked(
    route: Route, group: Group, members: Sequence[Alert], quiet: Mapping[str, str], now_us: int
) -> tuple[Notice | None, Group]:
    firing = [one for one in members if one.state is State.FIRING and (one.id not in quiet or one.id in group.sent)]
    loud = [one for one in firing if one.id not in quiet]
    fires = {one.id for one in firing}
    over = [one for one in members if one.state is State.RESOLVED and one.id in group.sent]
    news = [one for one in loud if one.id not in group.sent]
    gone = [id_ for id_ in group.sent if id_ not in fires]
    if not news and not gone:
        if not group.sent:
            return None, Group(group.key)
        reminder = bool(loud) and group.sent_us is not None and now_us - group.sent_us >= route.repeat_s * _US
        if not reminder:
            return None, Group(group.key, group.sent, group.sent_us)
    first_us = now_us if group.first_us is None else group.first_us
    if group.sent_us is None or not group.sent:
        ready = now_us - first_us >= route.wait_s * _US or not news
    else:
        ready = now_us - group.sent_us >= min(route.interval_s, route.repeat_s) * _US or not fires
    if not ready:
        return None, Group(group.key, group.sent, group.sent_us, first_us)
    after = Group(group.key, tuple(sorted(one.id for one in firing)), now_us)
    return Notice(route, tuple(firing), tuple(over), after), after


def _key(route: Route, alert: Alert) -> str:
    labels = alert.labels
    return "/".join((route.name, labels.get("project", ""), labels.get("env", ""), labels.get("flow", "")))
