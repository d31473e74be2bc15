"""Alerts: rules, their lives, who is told, and by what."""

from penstock.observe.alerts.defaults import DEFAULT_RULES
from penstock.observe.alerts.grouping import Group, Notice, Route, due
from penstock.observe.alerts.messages import Circumstance, Message, alert_text, message_of
from penstock.observe.alerts.rules import Basis, Rule, Severity, checked
from penstock.observe.alerts.silences import Silence, parse_matchers, quieted
from penstock.observe.alerts.state import Alert, Finding, State, advance, alert_id

__all__ = [
    "DEFAULT_RULES",
    "Alert",
    "Basis",
    "Circumstance",
    "Finding",
    "Group",
    "Message",
    "Notice",
    "Route",
    "Rule",
    "Severity",
    "Silence",
    "State",
    "advance",
    "alert_id",
    "alert_text",
    "checked",
    "due",
    "message_of",
    "parse_matchers",
    "quieted",
]
