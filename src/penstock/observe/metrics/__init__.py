"""Metrics of flows: their frozen names, the totals behind them, and their text."""

from penstock.observe.metrics.exposition import FlowSample, MetricValue, metric_values, render_metrics
from penstock.observe.metrics.totals import FlowTotals, TotalsByFlow
from penstock.observe.metrics.vocabulary import METRICS, MetricDefinition, MetricType, metrics_page

__all__ = [
    "METRICS",
    "FlowSample",
    "FlowTotals",
    "MetricDefinition",
    "MetricType",
    "MetricValue",
    "TotalsByFlow",
    "metric_values",
    "metrics_page",
    "render_metrics",
]
