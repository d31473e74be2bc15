"""Who is not told: silences that somebody set, and alerts that another one of the same flow explains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.errors import ConfigError
from penstock.observe.alerts.rules import Rule
from penstock.observe.alerts.state import Alert, State
from penstock.observe.promql import Matcher, MatchKind

__all__ = ["Silence", "parse_matchers", "quieted"]

_MATCHER = re.compile(r"""\s*([A-Za-z_][\w]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)\s*(?:,|$)""")


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """`flow="orders", severity=~"page|ticket"`, as Alertmanager writes it. Raises ConfigError."""
    found, at = [], 0
    while at < len(text.rstrip()):
        match = _MATCHER.match(text, at)
        if match is None:
            raise ConfigError(
                f"{text!r} is no list of labels: see at {text[at : at + 20]!r}", hint='write it as flow="orders"'
            )
        value = match[3]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        matcher = Matcher(match[1], MatchKind(match[2]), value)
        try:
            matcher.fits("")
        except ValueError as error:
            raise ConfigError(f"{value!r} is no regular expression: {error}", hint="see the syntax of RE2") from None
        found.append(matcher)
        at = match.end()
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that match say nothing from `from_us` to `until_us`; `rule` and `severity` count as labels."""

    id: str
    matchers: str
    from_us: int
    until_us: int
    who: str
    why: str

    def covers(self, alert: Alert, now_us: int) -> bool:
        """Whether it keeps an alert quiet now."""
        if not self.from_us <= now_us < self.until_us:
            return False
        labels = {**alert.labels, "rule": alert.rule, "severity": alert.severity.value}
        return all(matcher.fits(labels.get(matcher.label, "")) for matcher in parse_matchers(self.matchers))

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def made(cls, id_: str, matchers: str, from_us: int, until_us: int, *, who: str, why: str) -> Silence:
        """A silence. Raises ConfigError where it would keep everything quiet, nothing, or is over before it begins."""
        if not parse_matchers(matchers):
            raise ConfigError("a silence of everything is none that anybody wants", hint='name a flow: flow="orders"')
        if until_us <= from_us:
            raise ConfigError("the silence ends before it begins", hint="--for 2h")
        return cls(id_, matchers, from_us, until_us, who, why)


def quieted(
    alerts: Sequence[Alert], rules: Mapping[str, Rule], silences: Iterable[Silence], now_us: int
) -> dict[str, str]:
    """By the id of each alert that says nothing now: why. An alert that explains it must fire for the same flow."""
    firing: dict[tuple[str, str], set[str]] = {}
    for alert in alerts:
        if alert.state is State.FIRING:
            firing.setdefault(_flow(alert), set()).add(alert.rule)
    standing = list(silences)
    found: dict[str, str] = {}
    for alert in alerts:
        by = next((one for one in standing if one.covers(alert, now_us)), None)
        if by is not None:
            found[alert.id] = f"silenced by {by.who or 'somebody'}" + (f": {by.why}" if by.why else "")
            continue
        for other in sorted(firing.get(_flow(alert), ())):
            if other in rules and alert.rule in rules[other].quiets and alert.labels.get("flow"):
                found[alert.id] = f"explained by {other}"
                break
    return found


def _flow(alert: Alert) -> tuple[str, str]:
    return alert.labels.get("env", ""), alert.labels.get("flow", "")
