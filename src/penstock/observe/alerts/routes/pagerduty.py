"""PagerDuty Events API v2. Settings: `routing_key`, and `url` where it is not the usual one.

See https://developer.pagerduty.com/docs/send-alert-event. One incident a group: its key is the `dedup_key`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.clock import to_datetime
from penstock.observe.alerts.messages import Message
from penstock.observe.alerts.routes.posts import Post, json_post
from penstock.observe.alerts.rules import Severity

__all__ = ["posts"]

_URL = "https://events.pagerduty.com/v2/enqueue"
_SUMMARY = 1_024
_SEVERITIES: Mapping[Severity, str] = {
    Severity.PAGE: "critical",
    Severity.TICKET: "warning",
    Severity.INFO: "info",
}


def posts(message: Message, settings: Mapping[str, Any]) -> list[Post]:
    """A trigger while anything fires, else a resolve."""
    event: dict[str, Any] = {
        "routing_key": str(settings["routing_key"]),
        "event_action": "trigger" if message.firing else "resolve",
        "dedup_key": message.key[:255],
        "client": "Penstock",
        "payload": {
            "summary": message.title[:_SUMMARY],
            "source": "/".join(message.labels.get(name, "") for name in ("project", "env", "flow")).strip("/")
            or "penstock",
            "severity": _SEVERITIES[message.severity],
            "timestamp": to_datetime(message.at_us).isoformat(),
            "custom_details": message.as_dict(),
        },
    }
    if message.circumstance.link:
        event["client_url"] = message.circumstance.link
        event["links"] = [{"href": message.circumstance.link, "text": "Penstock"}]
    return [json_post(str(settings.get("url", _URL)), event)]
