"""Metrics of flows: their frozen names, the totals behind them, and their text."""

from penstock.observe.metrics.counting import TotalsByFlow, TotalsKeep
from penstock.observe.metrics.exposition import render_families, render_metrics
from penstock.observe.metrics.families import (
    USER_PREFIX,
    MetricFamily,
    MetricValue,
    metric_families,
    metric_values,
)
from penstock.observe.metrics.labels import labels_of
from penstock.observe.metrics.samples import FlowSample, SavepointSample, ServerSample
from penstock.observe.metrics.totals import FlowTotals
from penstock.observe.metrics.user_totals import UserMetric, add_user_metrics
from penstock.observe.metrics.vocabulary import METRICS, MetricDefinition, MetricType, metrics_page

__all__ = [
    "METRICS",
    "USER_PREFIX",
    "FlowSample",
    "FlowTotals",
    "MetricDefinition",
    "MetricFamily",
    "MetricType",
    "MetricValue",
    "SavepointSample",
    "ServerSample",
    "TotalsByFlow",
    "TotalsKeep",
    "UserMetric",
    "add_user_metrics",
    "labels_of",
    "metric_families",
    "metric_values",
    "metrics_page",
    "render_families",
    "render_metrics",
]
