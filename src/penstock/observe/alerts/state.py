"""The life of an alert: pending while it may pass, firing, resolved. Pure: what was known and found, to what is known.

As Prometheus has it (`for`, `keep_firing_for`), with one alert for each rule and set of labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from penstock.observe.alerts.rules import Rule, Severity

__all__ = ["Alert", "Finding", "State", "advance", "alert_id"]

_SAMPLES = 3


class State(StrEnum):
    """Where an alert is."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found at one time. `samples`: lines of the log that show it, newest last."""

    labels: Mapping[str, str]
    value: float
    target: float | None = None
    samples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. Times: microseconds, UTC; `since_us`: when it was found first, `seen_us`: last."""

    id: str
    rule: str
    severity: Severity
    labels: Mapping[str, str]
    state: State
    since_us: int
    seen_us: int
    value: float
    target: float | None = None
    fired_us: int | None = None
    resolved_us: int | None = None
    samples: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "severity": self.severity.value,
            "labels": dict(self.labels),
            "state": self.state.value,
            "samples": list(self.samples),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Alert:
        """The alert of `as_dict`; keys that this version does not know are passed over."""
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        return cls(
            **known
            | {
                "severity": Severity(values["severity"]),
                "state": State(values["state"]),
                "samples": tuple(values.get("samples", ())),
            }
        )


def alert_id(rule: str, labels: Mapping[str, str]) -> str:
    """Names an alert: the same rule and labels are the same alert, in each process and after each restart."""
    text = json.dumps([rule, sorted(labels.items())], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Step:
    rule: Rule
    now_us: int
    for_us: int = field(init=False)
    keep_us: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "for_us", round(self.rule.for_s * 1e6))
        object.__setattr__(self, "keep_us", round(self.rule.keep_s * 1e6))

    def found(self, known: Alert | None, finding: Finding, labels: Mapping[str, str]) -> Alert:
        now_us = self.now_us
        if known is None or known.state is State.RESOLVED:
            known = Alert(
                alert_id(self.rule.name, labels),
                self.rule.name,
                self.rule.severity,
                labels,
                State.PENDING,
                since_us=now_us,
                seen_us=now_us,
                value=finding.value,
            )
        fires = known.state is State.FIRING or now_us - known.since_us >= self.for_us
        return replace(
            known,
            severity=self.rule.severity,
            state=State.FIRING if fires else State.PENDING,
            fired_us=(known.fired_us or now_us) if fires else None,
            seen_us=now_us,
            value=finding.value,
            target=finding.target,
            samples=finding.samples[-_SAMPLES:] or known.samples,
        )

    def missing(self, known: Alert) -> Alert | None:
        """What becomes of an alert that was not found: None where it never fired, or was resolved before."""
        if known.state is not State.FIRING:
            return None
        if self.now_us - known.seen_us < self.keep_us:
            return known
        return replace(known, state=State.RESOLVED, resolved_us=self.now_us)


def advance(rule: Rule, known: Iterable[Alert], findings: Iterable[Finding], now_us: int) -> list[Alert]:
    """The alerts of a rule now, of those known before and what it found. One that is resolved is given once more."""
    step = _Step(rule, now_us)
    before = {alert.id: alert for alert in known}
    after: dict[str, Alert] = {}
    for finding in findings:
        labels = {**finding.labels, **rule.labels}
        labels.pop("__name__", None)
        id_ = alert_id(rule.name, labels)
        after[id_] = step.found(before.get(id_), finding, labels)
    for id_, alert in before.items():
        if id_ not in after:
            left = step.missing(alert)
            if left is not None:
                after[id_] = left
    return sorted(after.values(), key=lambda alert: alert.id)
