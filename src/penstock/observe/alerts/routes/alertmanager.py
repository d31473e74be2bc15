"""Prometheus's Alertmanager, which groups, silences and sends by itself. Settings: `url`, `headers`.

See https://github.com/prometheus/alertmanager, `POST /api/v2/alerts`. An alert that it hears nothing of is over for it:
let such a route repeat more often than its `resolve_timeout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.clock import to_datetime
from penstock.observe.alerts.messages import Line, Message
from penstock.observe.alerts.routes.posts import Post, json_post

__all__ = ["posts"]


def posts(message: Message, settings: Mapping[str, Any]) -> list[Post]:
    """All alerts of the message, those that are over with their end."""
    alerts = [_values(line, message) for line in (*message.lines, *message.resolved)]
    further = {str(name): str(value) for name, value in dict(settings.get("headers", {})).items()}
    return [json_post(f"{str(settings['url']).rstrip('/')}/api/v2/alerts", alerts, further)]


def _values(line: Line, message: Message) -> dict[str, Any]:
    alert = line.alert
    found: dict[str, Any] = {
        "labels": {**alert.labels, "alertname": alert.rule, "severity": alert.severity.value},
        "annotations": {
            "summary": line.text,
            "value": line.value,
            "target": line.target,
            "version": message.circumstance.version,
            "last_change": message.circumstance.last_change,
            "samples": "\n".join(alert.samples),
        },
        "startsAt": to_datetime(alert.fired_us or alert.since_us).isoformat(),
    }
    if message.circumstance.link:
        found["generatorURL"] = message.circumstance.link
    if alert.resolved_us is not None:
        found["endsAt"] = to_datetime(alert.resolved_us).isoformat()
    return found
