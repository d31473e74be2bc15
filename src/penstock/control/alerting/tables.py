"""`[alerts]` of `penstock.toml`, as it is written. What it means is worked out where alerts are looked at, not by each
process that reads the file. Documented in docs/alerts.md.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.control.policies import Names, Seconds, SecondsOrNone

__all__ = ["AlertsTable", "RouteTable", "RuleTable"]

_Severity = Literal["page", "ticket", "info"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RuleTable(_Table):
    """`[alerts.rule.NAME]`: one of `expr` (PromQL), `logs` (a filter), `sql`; or some keys of a rule that is there."""

    expr: str | None = None
    logs: str | None = None
    sql: str | None = None
    severity: _Severity | None = None
    summary: str | None = None
    for_: SecondsOrNone | None = Field(default=None, alias="for")
    keep: SecondsOrNone | None = None
    over: Seconds | None = None
    more_than: float | None = Field(default=None, ge=0)
    target: str | None = None
    unit: Literal["", "s", "bytes", "rows", "share"] | None = None
    quiets: Names | None = None
    hint: str | None = None
    labels: dict[str, str] | None = None


class RouteTable(_Table):
    """`[alerts.route.NAME]`. `kind` and its settings; the rest says which alerts go there, and how often."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    kind: str
    severities: list[_Severity] | None = None
    matches: str | None = None
    wait: SecondsOrNone | None = None
    interval: SecondsOrNone | None = None
    repeat: Seconds | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What belongs to the kind."""
        return dict(self.model_extra or {})


class AlertsTable(_Table):
    """`[alerts]`. `link`: where people reach the page, for messages."""

    on: bool = True
    every: Seconds | None = None
    off: Names = ()
    link: str = ""
    rule: dict[str, RuleTable] = Field(default_factory=dict)
    route: dict[str, RouteTable] = Field(default_factory=dict)
