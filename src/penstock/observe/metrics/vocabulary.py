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
    """One metric. `unit`: a base unit that its name ends with, or empty. `labels`: all beside `project`, `env`, and, of
    what is not the server's own, `flow`.
    """

    name: str
    type: MetricType
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    of_server: bool = False


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


def _server(name: str, unit: str, text: str, *labels: str) -> MetricDefinition:
    return MetricDefinition(name, _G, unit, text, labels, of_server=True)


METRICS = (
    MetricDefinition("penstock_records_in_total", _C, "", "Rows read, by source step.", ("step",)),
    MetricDefinition("penstock_records_out_total", _C, "", "Rows written, by sink step.", ("step",)),
    MetricDefinition("penstock_bytes_in_total", _C, "", "Size of the rows read, as Arrow in memory.", ("step",)),
    MetricDefinition("penstock_bytes_out_total", _C, "", "Size of the rows written, as Arrow in memory.", ("step",)),
    MetricDefinition("penstock_records_late_total", _C, "", "Rows that came after their window was closed."),
    MetricDefinition("penstock_records_dead_total", _C, "", "Rows that could not be processed."),
    MetricDefinition(
        "penstock_quality_checks_total", _C, "", "Rows that met an expectation or did not.", ("check", "result")
    ),
    MetricDefinition(
        "penstock_step_records_in_total", _C, "", "Rows that a step got, where they were counted.", ("step",)
    ),
    MetricDefinition(
        "penstock_step_records_out_total", _C, "", "Rows that a step gave, where they were counted.", ("step",)
    ),
    MetricDefinition(
        "penstock_step_time_seconds_total",
        _C,
        "",
        "Time of a step: busy, blocked while an epoch is elsewhere, idle between epochs. Steps of one query share it.",
        ("step", "state"),
    ),
    MetricDefinition("penstock_epochs_total", _C, "", "Epochs committed, those written anew by an undo too."),
    MetricDefinition("penstock_epochs_undone_total", _C, "", "Epochs that undos put aside."),
    MetricDefinition("penstock_claims_total", _C, "", "Times that a process became the leader: starts and takeovers."),
    MetricDefinition(
        "penstock_restarts_total", _C, "", "Ends of leading processes that nobody asked for, by cause.", ("cause",)
    ),
    MetricDefinition(
        "penstock_recovery_duration_seconds", _G, "seconds", "From the last such end to the next commit after it."
    ),
    MetricDefinition("penstock_phase_seconds_total", _C, "", "Time spent in a phase of epochs.", ("phase",)),
    MetricDefinition("penstock_epoch_duration_seconds", _H, "seconds", "Time that an epoch took."),
    MetricDefinition(
        "penstock_flow_info", _G, "", "Always 1; says which version leads and whose flow it is.", ("version", "owner")
    ),
    MetricDefinition("penstock_flow_state", _G, "", "1 for the state that the flow is in, 0 for others.", ("state",)),
    MetricDefinition("penstock_source_backlog_records", _G, "", "Rows that wait at the sources, where they can tell."),
    MetricDefinition(
        "penstock_source_backlog_bytes",
        _G,
        "bytes",
        "What waits at the sources, as it lies there, where they can tell.",
    ),
    MetricDefinition(
        "penstock_source_catch_up_seconds", _G, "seconds", "When nothing will wait, as the backlog shrank lately."
    ),
    MetricDefinition("penstock_system_lag_seconds", _G, "seconds", "How long the oldest input has waited, at most."),
    MetricDefinition("penstock_dead_letters", _G, "", "Dead letters that are kept, whatever became of them."),
    MetricDefinition(
        "penstock_dead_letters_pending",
        _G,
        "",
        "Dead letters that nobody took care of, by class of error.",
        ("reason",),
    ),
    MetricDefinition(
        "penstock_dead_letter_oldest_seconds", _G, "seconds", "How long ago the oldest pending dead letter fell."
    ),
    MetricDefinition("penstock_watermark_timestamp_seconds", _G, "seconds", "Event time that is complete."),
    MetricDefinition("penstock_last_commit_timestamp_seconds", _G, "seconds", "When the newest epoch was committed."),
    MetricDefinition("penstock_last_output_timestamp_seconds", _G, "seconds", "When rows were last written."),
    MetricDefinition(
        "penstock_freshness_seconds", _G, "seconds", "How far what readers see lags behind what has come (see above)."
    ),
    MetricDefinition("penstock_freshness_objective_seconds", _G, "seconds", "How far it may."),
    MetricDefinition(
        "penstock_freshness_samples_total", _C, "", "Samples of flows with an objective: met or missed.", ("result",)
    ),
    MetricDefinition("penstock_freshness_met_ratio", _G, "ratio", "Share of all samples that met the objective."),
    MetricDefinition(
        "penstock_freshness_burn_rate", _G, "", "How many times too fast the budget for lateness burns.", ("window",)
    ),
    MetricDefinition("penstock_state_bytes", _G, "bytes", "Files of the state of the flow."),
    MetricDefinition("penstock_state_rows", _G, "", "Rows that a step remembers.", ("step",)),
    MetricDefinition(
        "penstock_savepoint_last_success_timestamp_seconds", _G, "seconds", "When the newest savepoint was made."
    ),
    MetricDefinition("penstock_savepoint_duration_seconds", _G, "seconds", "How long it took to make."),
    MetricDefinition("penstock_savepoint_size_bytes", _G, "bytes", "Size of the files that it names."),
    MetricDefinition("penstock_rollout_stage", _G, "", "1 for the stage of the change that is under way.", ("stage",)),
    MetricDefinition(
        "penstock_rollout_compared_rows", _G, "", "Rows of old and new version compared, by what came out.", ("result",)
    ),
    MetricDefinition(
        "penstock_run_last_success_timestamp_seconds", _G, "seconds", "When input with an end was last read to it."
    ),
    MetricDefinition("penstock_run_duration_seconds", _G, "seconds", "How long that run took."),
    MetricDefinition(
        "penstock_schedule_interval_seconds", _G, "seconds", "From the next time of its schedule to the one after it."
    ),
    MetricDefinition("penstock_log_lines_total", _C, "", "Log lines, by severity.", ("severity",)),
    MetricDefinition("penstock_worker_cpu_seconds_total", _C, "", "Processor time of processes, by role.", ("role",)),
    MetricDefinition("penstock_worker_memory_bytes", _G, "bytes", "Memory in use, by role.", ("role",)),
    MetricDefinition(
        "penstock_worker_memory_limit_bytes", _G, "bytes", "What one process may use: its limit, or the machine's."
    ),
    _server("penstock_build_info", "", "Always 1; says which Penstock and Python the server is.", "version", "python"),
    _server("penstock_disk_free_bytes", "bytes", "Free where the environment keeps ledger, state and tables."),
    _server("penstock_disk_size_bytes", "bytes", "Size of that disk."),
    _server("penstock_ledger_size_bytes", "bytes", "Size of the ledger's files, those of rolled up epochs too."),
    _server("penstock_history_size_bytes", "bytes", "Size of the built-in store of metrics."),
    _server("penstock_history_series", "", "Series in the built-in store of metrics."),
    _server("penstock_sample_duration_seconds", "seconds", "How long it took to ask for all of this."),
    _server("penstock_event_loop_lag_seconds", "seconds", "How late the server's event loop was, at the last look."),
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

Every metric has the labels `project` and `env`, those of flows `flow` too; none has keys of rows. A label has at most
1,000 values in one metric of a flow; what comes beyond is counted as `other`. Counters are sums over the records in the
ledger, also those rolled up, so they go on after a restart of a flow or the server. An undo takes nothing from them:
rows that were put aside were read and written, and count beside those that came in their place. Only `penstock run
--reset`, which forgets the flow, begins them at 0 again (`penstock_claims_total` goes on). The version is a label of
`penstock_flow_info` alone, so that a deploy begins no new counters.

A metric that nothing can tell is left out: no watermark without event time or after the end of the input, no backlog
where the source can't count, no objective where the author gave none.

## Freshness

`penstock_freshness_seconds` is how far what readers of the outputs see lags behind what has come: the age in event time
of the newest commit (its time less the watermark; 0 without event time), and, while input waits, how long ago the flow
had last worked off all of it. A quiet flow does not grow old. One that stands still grows second by second. Data that
comes late shows as its delay. What a stopped flow misses nobody knows, so it has none.

`ps.Flow("revenue", freshness="30s")` makes it an objective: every sample (each 10 s) meets it or misses it, and 99 %
are to meet it. `penstock_freshness_burn_rate{window}` says how many times too fast the rest is used up, over 5 minutes
to 3 days: 14.4 over an hour and over 5 minutes is 2 % of what 30 days allow, gone in that hour.

## Time of steps

`busy`, `blocked` and `idle` of `penstock_step_time_seconds_total` grow together by the time that passes, so their rates
add to 1: a step is busy for its own part of an epoch, blocked while the epoch is with other steps, sinks or the ledger,
idle between epochs. Steps that Polars runs as one query share the time of that query in equal parts; rows between them
are counted by nobody, so `penstock_step_records_*` tells only of steps whose rows were ever there.

A read is busy while it reads, its part of that time by its rows, and idle while the flow waits for input. A write is
busy while it waits for its sink. The page draws these three on each step of the graph, as the mean of what
`penstock metrics FLOW --name penstock_step_time_seconds_total --over 1m --step 10s --json` tells. What waits at each
read is in `backlogs` of the leading member in `penstock status FLOW --json`, in rows or bytes, as its source can tell.

## Metrics of your own

```python
rejected = ps.metric("orders_rejected", labels=["reason"], help="Orders that we do not take.")


def known(batch):
    rejected.inc(batch["price"].null_count(), reason="no price")
    return batch.drop_nulls("price")
```

A metric stands at the top of a module: a `counter` (`inc`), a `gauge` (`set`) or a `histogram` (`observe`, a value or a
column). What a step counts is committed with its epoch: an epoch that runs again counts once, a shadow counts nothing,
rows that were tried and failed neither. It is told as `penstock_user_orders_rejected_total`. At most 100 sets of label
values are told apart, the others are counted as `other`, with a warning. In tests:
`penstock.testing.run(...).metric("orders_rejected", reason="no price")`.

## History

The server that leads keeps a sample of every value each 10 seconds (`[metrics] every_s` of penstock.toml), in
`metrics.db` of the environment's folder: as they are for 24 hours, by the minute for 14 days, by the hour for 400 days.
Nothing else has to run. `penstock metrics FLOW --over 1h --name penstock_records_in_total` draws a line, `penstock sql
"select * from metrics"` asks in SQL, and the REST interface gives

- `GET /v1/metrics/names`: `{"names": [{"name", "type", "unit", "help", "series"}]}`, what is stored;
- `GET /v1/metrics/series?name=penstock_records_in_total&flow=revenue&over=1h&step=1m&function=rate`:
  `{"name", "function", "step_s", "times_us": [...], "series": [{"labels": {...}, "values": [...]}]}`, a value for each
  time, null where there was no sample: a gap is a gap. `label=step=orders` (any number) picks series; `start_us`,
  `end_us` instead of `over`; `q=0.99` with `function=quantile`.

Functions: `last`, `avg`, `max`; `rate` (a second) and `increase`, which know that a counter that fell began again;
`quantile`, of the samples, or, by the name of a histogram, of what it counted. A time is the beginning of its step.

## Push

```toml
[metrics.otlp]
endpoint = "https://otel.example.com/v1/metrics"
headers = "env:OTLP_HEADERS"        # name=value, name=value
```

sends the same names by OTLP over HTTP (`pip install 'penstock[otlp]'`), each `every_s` (60).

## All of them

| name | type | labels | what it says |
|---|---|---|---|
"""
