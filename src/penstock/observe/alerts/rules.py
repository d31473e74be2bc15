"""Rules: what is worth telling somebody, as values. A rule asks metrics, log entries or SQL, and when it matters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from penstock.errors import ConfigError, QueryError
from penstock.observe.filters import compile_filter
from penstock.observe.promql import parse_query

__all__ = ["Basis", "Rule", "Severity", "checked"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")


class Severity(StrEnum):
    """How soon somebody has to act: now, in working hours, or not at all."""

    PAGE = "page"
    TICKET = "ticket"
    INFO = "info"


class Basis(StrEnum):
    """What a rule asks."""

    METRIC = "metric"
    """PromQL: each series of the answer is an alert."""
    LOG_ENTRY = "log-entry"
    """A filter of logs: entries that match are an alert, one for each flow."""
    LOG_RATE = "log-rate"
    """A filter of logs: an alert for each flow with more than `above` such entries within `over_s`."""
    SQL = "sql"
    """A query: each row is an alert; its column `value` is the value, all others are labels."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    `query`: PromQL, a filter, or SQL. `summary`: a sentence with `{value}`, `{target}` and the names of labels in
    braces. `target`: PromQL of what the value should be, joined by project, env and flow. `unit`: of value and target:
    `s`, `bytes`, `rows`, `share` or nothing. `for_s`: how long it must hold. `keep_s`: how long it goes on after it
    held last. `quiets`: names of rules that say nothing about a flow while this one fires for it. `hint`: the next
    command.
    """

    name: str
    severity: Severity
    query: str
    summary: str
    basis: Basis = Basis.METRIC
    for_s: float = 0.0
    keep_s: float = 0.0
    over_s: float = 300.0
    above: float = 0.0
    target: str = ""
    unit: str = ""
    quiets: tuple[str, ...] = ()
    hint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def checked(rule: Rule) -> Rule:
    """The rule, where it can be worked out. Raises ConfigError, naming the rule."""
    try:
        if not _NAME.fullmatch(rule.name):
            raise ConfigError("a rule's name has letters, digits and underscores, at most 80")
        if rule.basis is Basis.METRIC:
            parse_query(rule.query)
        elif rule.basis is not Basis.SQL:
            compile_filter(rule.query, now_us=0)
        if rule.target:
            parse_query(rule.target)
    except (ConfigError, QueryError) as error:
        raise ConfigError(f"alert rule {rule.name!r}: {error.message}", hint=error.hint) from error
    return rule
