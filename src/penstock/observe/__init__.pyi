from .entries import LOG_COLUMNS, SEVERITIES, ColumnType, LogColumn, log_schema
from .filters import Condition, compile_filter
from .metrics import (
    METRICS,
    FlowSample,
    FlowTotals,
    MetricDefinition,
    MetricType,
    MetricValue,
    TotalsByFlow,
    metric_values,
    metrics_page,
    render_metrics,
)

__all__ = [
    "LOG_COLUMNS",
    "METRICS",
    "SEVERITIES",
    "ColumnType",
    "Condition",
    "FlowSample",
    "FlowTotals",
    "LogColumn",
    "MetricDefinition",
    "MetricType",
    "MetricValue",
    "TotalsByFlow",
    "compile_filter",
    "log_schema",
    "metric_values",
    "metrics_page",
    "render_metrics",
]
