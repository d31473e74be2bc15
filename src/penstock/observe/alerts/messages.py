"""What people read: in a sentence what is wrong, the value against the target, what runs and what changed last, three
lines of the log, where to look. The same for every route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.clock import to_datetime
from penstock.observe.alerts.grouping import Notice
from penstock.observe.alerts.rules import Rule, Severity
from penstock.observe.alerts.state import Alert

__all__ = ["Circumstance", "Line", "Message", "alert_text", "message_of", "sentence", "told"]

_BINARY = 1024
_LINE = 300


@dataclass(frozen=True, slots=True)
class Circumstance:
    """What is known of a flow beside its alerts: the version that runs, its last change, a link to its page."""

    version: str = ""
    last_change: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One alert as it is told."""

    alert: Alert
    text: str
    value: str
    target: str
    hint: str


@dataclass(frozen=True, slots=True)
class Message:
    """What a route tells. `firing` false: all of it is over. `key`: the same for all messages of one group."""

    key: str
    title: str
    severity: Severity
    firing: bool
    lines: tuple[Line, ...]
    resolved: tuple[Line, ...]
    circumstance: Circumstance
    labels: Mapping[str, str] = field(default_factory=dict)
    at_us: int = 0

    @property
    def samples(self) -> tuple[str, ...]:
        """Lines of the log that show it, at most three."""
        found = [sample[:_LINE] for line in self.lines for sample in line.alert.samples]
        return tuple(dict.fromkeys(found))[-3:]

    @property
    def text(self) -> str:
        """All of it, for people."""
        parts = []
        for line in self.lines:
            against = f" (it should be at most {line.target})" if line.target else ""
            parts.append(f"{line.text}{against}.")
            if line.hint:
                parts.append(f"  next: {line.hint}")
        parts += [f"Over: {line.text}." for line in self.resolved]
        if self.circumstance.version:
            parts.append(f"Running version: {self.circumstance.version}.")
        if self.circumstance.last_change:
            parts.append(f"Last change: {self.circumstance.last_change}.")
        parts += [f"  {sample}" for sample in self.samples]
        if self.circumstance.link:
            parts.append(self.circumstance.link)
        return "\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, for programs."""
        return {
            "key": self.key,
            "title": self.title,
            "status": "firing" if self.firing else "resolved",
            "severity": self.severity.value,
            "labels": dict(self.labels),
            "at": to_datetime(self.at_us).isoformat(),
            "text": self.text,
            "alerts": [_values(line) for line in (*self.lines, *self.resolved)],
            "version": self.circumstance.version,
            "last_change": self.circumstance.last_change,
            "samples": list(self.samples),
            "link": self.circumstance.link,
        }


def _values(line: Line) -> dict[str, Any]:
    return {**line.alert.as_dict(), "summary": line.text, "value_text": line.value, "target_text": line.target}


def message_of(notice: Notice, rules: Mapping[str, Rule], circumstance: Circumstance, *, now_us: int) -> Message:
    """The message of a notice; the worst alert is the title."""
    order = list(Severity)
    lines = tuple(_line(alert, rules) for alert in sorted(notice.firing, key=lambda one: order.index(one.severity)))
    resolved = tuple(_line(alert, rules) for alert in notice.resolved)
    every = (*lines, *resolved)
    first = every[0] if every else None
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    title = "nothing is wrong any more" if first is None else f"{first.text}{more}" if lines else f"over: {first.text}"
    shared = {} if first is None else dict(first.alert.labels)
    for line in every:
        shared = {name: value for name, value in shared.items() if line.alert.labels.get(name) == value}
    severity = Severity.INFO if first is None else first.alert.severity
    return Message(notice.key, title, severity, bool(lines), lines, resolved, circumstance, shared, now_us)


def alert_text(alert: Alert, rules: Mapping[str, Rule]) -> str:
    """The sentence of an alert."""
    return _line(alert, rules).text


def _line(alert: Alert, rules: Mapping[str, Rule]) -> Line:
    rule = rules.get(alert.rule)
    unit = "" if rule is None else rule.unit
    value = told(alert.value, unit)
    target = "" if alert.target is None else told(alert.target, unit)
    if rule is None:  # it was taken out of the file while its alert fired
        return Line(alert, alert.rule, value, target, "")
    return Line(
        alert, sentence(rule.summary, alert, value, target), value, target, sentence(rule.hint, alert, value, target)
    )


class _Names(dict[str, str]):
    """Names of a sentence; one that is not there is shown as it stands."""

    def __missing__(self, name: str) -> str:
        return "{" + name + "}"


def sentence(text: str, alert: Alert, value: str, target: str) -> str:
    """A rule's text with the values of an alert. Only names are put in: no attribute of anything can be asked for."""
    names = _Names({**alert.labels, "value": value, "target": target})
    parts = text.split("{")
    found = [parts[0]]
    for part in parts[1:]:
        name, closed, rest = part.partition("}")
        found.append(f"{names[name]}{rest}" if closed else "{" + part)
    return "".join(found)


def told(value: float, unit: str) -> str:
    """A number as people say it: `4 min`, `1.5 GiB`, `3.2 %`, `1,200 rows`."""
    if unit == "s":
        for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
            if abs(value) >= 2 * size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} s"
    if unit == "share":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        for name in ("B", "KiB", "MiB", "GiB"):
            if abs(value) < _BINARY:
                return f"{value:.3g} {name}"
            value /= _BINARY
        return f"{value:.3g} TiB"
    if unit == "rows":  # rates over a time are spread over all of it: there is no half a row
        return f"{value:,.0f} rows"
    number = f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.3g}"  # noqa: PLR2004
    return f"{number} {unit}".strip()
