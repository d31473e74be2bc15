"""Dashboards of Grafana: one of all flows, one of one flow. Each panel is a row of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["grafana_dashboards"]

_SCHEMA = 39
"""The version of Grafana's format that this is; newer ones read it."""
_WIDE, _HIGH, _ROW = 12, 8, 24
_MANY = 'project=~"$project",env=~"$env"'
_ONE = 'project=~"$project",env=~"$env",flow="$flow"'


@dataclass(frozen=True, slots=True)
class _Panel:
    """One panel. `queries`: PromQL by the text of its legend; `%s` stands for the labels that were chosen."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    help: str = ""
    wide: int = _WIDE


_BY = "(project, env, flow)"
_FLEET: tuple[_Panel, ...] = (
    _Panel(
        "Flows by state",
        {"{{state}}": "sum by (state) (penstock_flow_state{%s})"},
        help="How many flows are in each state.",
    ),
    _Panel(
        "Freshness against objective",
        {
            "{{flow}}": "penstock_freshness_seconds{%s}"
            " / on (project, env, flow) penstock_freshness_objective_seconds{%s}"
        },
        "percentunit",
        help="Above 100 % a flow is later than promised.",
    ),
    _Panel("Rows out", {"{{flow}}": f"sum by {_BY} (rate(penstock_records_out_total{{%s}}[$__rate_interval]))"}, "rps"),
    _Panel("System lag", {"{{flow}}": f"max by {_BY} (penstock_system_lag_seconds{{%s}})"}, "s"),
    _Panel("Backlog", {"{{flow}}": f"sum by {_BY} (penstock_source_backlog_records{{%s}})"}),
    _Panel(
        "Rows that can't be processed",
        {"{{flow}}": f"sum by {_BY} (increase(penstock_records_dead_total{{%s}}[$__rate_interval]))"},
    ),
    _Panel("Log lines", {"{{severity}}": "sum by (severity) (rate(penstock_log_lines_total{%s}[$__rate_interval]))"}),
    _Panel("Restarts", {"{{flow}} {{cause}}": "increase(penstock_restarts_total{%s}[1h])"}),
    _Panel("Memory of flows", {"{{flow}}": f"max by {_BY} (penstock_worker_memory_bytes{{%s}})"}, "bytes"),
    _Panel("Free disk", {"{{env}}": "penstock_disk_free_bytes{%s}"}, "bytes"),
)
_FLOW: tuple[_Panel, ...] = (
    _Panel(
        "Rows in and out",
        {
            "in {{step}}": "rate(penstock_records_in_total{%s}[$__rate_interval])",
            "out {{step}}": "rate(penstock_records_out_total{%s}[$__rate_interval])",
        },
        "rps",
    ),
    _Panel(
        "Freshness",
        {"freshness": "penstock_freshness_seconds{%s}", "objective": "penstock_freshness_objective_seconds{%s}"},
        "s",
        help="How far what readers see lags behind what has come.",
    ),
    _Panel("System lag", {"lag": "penstock_system_lag_seconds{%s}"}, "s"),
    _Panel(
        "Backlog",
        {"rows": "penstock_source_backlog_records{%s}"},
        help="Rows that wait at the sources.",
    ),
    _Panel("Time to catch up", {"seconds": "penstock_source_catch_up_seconds{%s}"}, "s"),
    _Panel(
        "Busy steps",
        {"{{step}}": 'rate(penstock_step_time_seconds_total{%s,state="busy"}[$__rate_interval])'},
        "percentunit",
    ),
    _Panel(
        "Time of an epoch",
        {
            "p50": "histogram_quantile(0.5, rate(penstock_epoch_duration_seconds_bucket{%s}[$__rate_interval]))",
            "p99": "histogram_quantile(0.99, rate(penstock_epoch_duration_seconds_bucket{%s}[$__rate_interval]))",
        },
        "s",
    ),
    _Panel("Burn rate", {"{{window}}": "penstock_freshness_burn_rate{%s}"}),
    _Panel(
        "Rows set aside",
        {
            "dead": "increase(penstock_records_dead_total{%s}[$__rate_interval])",
            "late": "increase(penstock_records_late_total{%s}[$__rate_interval])",
        },
    ),
    _Panel("Errors in logs", {"{{severity}}": "rate(penstock_log_lines_total{%s}[$__rate_interval])"}),
    _Panel("State", {"bytes": "penstock_state_bytes{%s}"}, "bytes"),
    _Panel(
        "Memory",
        {"{{role}}": "penstock_worker_memory_bytes{%s}", "limit": "penstock_worker_memory_limit_bytes{%s}"},
        "bytes",
    ),
    _Panel("Processor", {"{{role}}": "rate(penstock_worker_cpu_seconds_total{%s}[$__rate_interval])"}, "percentunit"),
    _Panel(
        "Checks",
        {"{{check}} {{result}}": "increase(penstock_quality_checks_total{%s}[$__rate_interval])"},
    ),
    _Panel("Version", {"{{version}}": "penstock_flow_info{%s}"}, help="Which version leads."),
)


def grafana_dashboards() -> dict[str, str]:
    """The files of both dashboards. They take any Prometheus: Grafana asks which when they are imported."""
    fleet = _dashboard("penstock-flows", "Penstock: flows", _FLEET, _MANY, (_variable("project"), _variable("env")))
    one = _variable("flow", within='project=~"$project",env=~"$env"', many=False)
    flow = _dashboard("penstock-flow", "Penstock: flow", _FLOW, _ONE, (_variable("project"), _variable("env"), one))
    return {"grafana/penstock-flows.json": fleet, "grafana/penstock-flow.json": flow}


def _dashboard(
    uid: str, title: str, panels: Sequence[_Panel], labels: str, variables: Sequence[Mapping[str, Any]]
) -> str:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    written, across, down = [], 0, 0
    for number, panel in enumerate(panels, 1):
        if across + panel.wide > _ROW:
            across, down = 0, down + _HIGH
        place = {"x": across, "y": down, "w": panel.wide, "h": _HIGH}
        written.append({"id": number, "gridPos": place, **_panel(panel, labels)})
        across += panel.wide
    values = {
        "uid": uid,
        "title": title,
        "tags": ["penstock"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "annotations": {"list": [_changes(labels)]},
        "panels": written,
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _source() -> dict[str, str]:
    return {"type": "prometheus", "uid": "${datasource}"}


def _panel(panel: _Panel, labels: str) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _source(),
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": _source(),
                "expr": query.replace("%s", labels),
                "legendFormat": text,
            }
            for at, (text, query) in enumerate(panel.queries.items())
        ],
    }


def _variable(name: str, *, within: str = "", many: bool = True) -> dict[str, Any]:
    query = f"label_values(penstock_flow_info{{{within}}}, {name})"
    found: dict[str, Any] = {
        "name": name,
        "type": "query",
        "datasource": _source(),
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
    }
    if many:
        found |= {
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }
    return found


def _changes(labels: str) -> dict[str, Any]:
    """A line on each chart where another process or version took over."""
    return {
        "name": "Takeovers",
        "enable": True,
        "datasource": _source(),
        "expr": f"changes(penstock_claims_total{{{labels}}}[1m]) > 0",
        "titleFormat": "{{flow}} was taken over",
        "iconColor": "purple",
    }
