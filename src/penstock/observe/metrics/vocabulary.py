"""The metrics there are. A name, its type and its labels are a promise: dashboards and alerts hold on to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["EPOCH_BUCKETS_S", "METRICS", "STATES", "MetricDefinition", "MetricType", "metrics_page"]


class MetricType(StrEnum):
    """How a metric behaves over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric. `unit`: a base unit that its name ends with, or empty. `labels`: all beside `env` and `flow`."""

    name: str
    type: MetricType
    unit: str
    help: str
    labels: tuple[str, ...] = ()


STATES = (
    "running",
    "starting",
    "paused",
    "draining",
    "stopping",
    "taking-over",
    "rewriting",
    "stopped",
    "finished",
    "scheduled",
    "held",
    "waiting",
    "busy",
    "down",
)
"""What a flow can be; any other word is told as it is."""

EPOCH_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of `penstock_epoch_duration_seconds`."""

_C, _G, _H = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM

METRICS = (
    MetricDefinition("penstock_records_in_total", _C, "", "Rows read, by source step.", ("step",)),
    MetricDefinition("penstock_records_out_total", _C, "", "Rows written, by sink step.", ("step",)),
    MetricDefinition("penstock_records_late_total", _C, "", "Rows that came after their window was closed."),
    MetricDefinition("penstock_records_dead_total", _C, "", "Rows that could not be processed."),
    MetricDefinition(
        "penstock_quality_checks_total", _C, "", "Rows that met an expectation or did not.", ("check", "result")
    ),
    MetricDefinition("penstock_epochs_total", _C, "", "Epochs committed, those written anew by an undo too."),
    MetricDefinition("penstock_epochs_undone_total", _C, "", "Epochs that undos put aside."),
    MetricDefinition("penstock_claims_total", _C, "", "Times that a process became the leader: starts and takeovers."),
    MetricDefinition("penstock_phase_seconds_total", _C, "", "Time spent in a phase of epochs.", ("phase",)),
    MetricDefinition("penstock_epoch_duration_seconds", _H, "seconds", "Time that an epoch took."),
    MetricDefinition("penstock_flow_info", _G, "", "Always 1; says which version leads.", ("version",)),
    MetricDefinition("penstock_flow_state", _G, "", "1 for the state that the flow is in, 0 for others.", ("state",)),
    MetricDefinition("penstock_source_backlog_records", _G, "", "Rows that wait at the sources, where they can tell."),
    MetricDefinition("penstock_dead_letters", _G, "", "Dead letters that are kept, whatever became of them."),
    MetricDefinition("penstock_watermark_timestamp_seconds", _G, "seconds", "Event time that is complete."),
    MetricDefinition("penstock_last_commit_timestamp_seconds", _G, "seconds", "When the newest epoch was committed."),
    MetricDefinition("penstock_last_output_timestamp_seconds", _G, "seconds", "When rows were last written."),
    MetricDefinition(
        "penstock_freshness_seconds",
        _G,
        "seconds",
        "Age of the newest result: of the watermark where there is one, else of the last commit.",
    ),
    MetricDefinition("penstock_freshness_objective_seconds", _G, "seconds", "How old the newest result may be."),
)


def metrics_page() -> str:
    """`docs/metrics.md`, as text."""
    rows = [
        f"| `{one.name}` | {one.type} | {', '.join(f'`{label}`' for label in one.labels) or '-'} | {one.help} |"
        for one in METRICS
    ]
    return _HEAD + "\n".join(rows) + "\n"


_HEAD = """# Metrics

`GET /metrics` of the server gives the metrics of all flows of its environment, as OpenMetrics or Prometheus text,
whichever is asked for by `Accept`. It takes the server's token, like every other read. Names, types and labels are a
promise. This page is written by `make docs` from `METRICS` of `penstock.observe`.

Every metric has the labels `env` and `flow`; none has keys of rows. Counters are sums over the records in the ledger,
also those rolled up, so they go on after a restart of a flow or the server. An undo takes nothing from them: rows
that were put aside were read and written, and count beside those that came in their place. Only `penstock run
--reset`, which forgets the flow, begins them at 0 again (`penstock_claims_total` goes on). The version is a label of
`penstock_flow_info` alone, so that a deploy begins no new counters.

A metric that nothing can tell is left out: no watermark without event time or after the end of the input, no backlog
where the source can't count, no objective where the author gave none.

| name | type | labels | what it says |
|---|---|---|---|
"""
