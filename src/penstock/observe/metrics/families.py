"""Samples as families of numbers: one for each metric, in the order of the vocabulary, those of authors behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

from penstock.observe.metrics.samples import FlowSample, ServerSample
from penstock.observe.metrics.totals import LABELS_MAX
from penstock.observe.metrics.user_totals import UserMetric
from penstock.observe.metrics.vocabulary import EPOCH_BUCKETS_S, METRICS, STATES, MetricType

__all__ = ["USER_PREFIX", "MetricFamily", "MetricValue", "metric_families", "metric_values"]

USER_PREFIX = "penstock_user_"

Values: TypeAlias = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One number of a metric. `name`: of a histogram the metric's with `_bucket`, `_count` or `_sum`."""

    name: str
    labels: Mapping[str, str]
    value: float

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {"name": self.name, "labels": dict(self.labels), "value": self.value}


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """All numbers of one metric. A counter's name ends with `_total`."""

    name: str
    type: MetricType
    unit: str
    help: str
    values: list[MetricValue] = field(default_factory=list)

    def add(self, labels: Mapping[str, str], value: float) -> None:
        """A number of a counter or a gauge."""
        self.values.append(MetricValue(self.name, labels, float(value)))

    def add_histogram(
        self, labels: Mapping[str, str], bounds: Sequence[float], counts: Sequence[int], total: float
    ) -> None:
        """`counts`: by bound, and of all that is larger."""
        upto = list(accumulate(counts))
        for bound, count in zip((*map(str, bounds), "+Inf"), upto, strict=True):
            self.values.append(MetricValue(f"{self.name}_bucket", {**labels, "le": bound}, float(count)))
        self.values.append(MetricValue(f"{self.name}_count", labels, float(upto[-1])))
        self.values.append(MetricValue(f"{self.name}_sum", labels, float(total)))


def metric_families(
    project: str, env: str, samples: Sequence[FlowSample], server: ServerSample | None = None
) -> list[MetricFamily]:
    """All metrics, with the flows in the order of `samples`."""
    place = {"project": project, "env": env}
    told = [({**place, "flow": sample.flow}, sample, _values(sample)) for sample in samples]
    own = {} if server is None else _server_values(server)
    found = []
    for definition in METRICS:
        family = MetricFamily(definition.name, definition.type, definition.unit, definition.help)
        found.append(family)
        if definition.of_server:
            for more, value in own.get(definition.name, ()):
                family.add({**place, **dict(zip(definition.labels, more, strict=True))}, value)
        elif definition.type is MetricType.HISTOGRAM:
            for labels, sample, _ in told:
                spent_s = sum(sample.totals.phases_s.values())
                family.add_histogram(labels, EPOCH_BUCKETS_S, sample.totals.buckets, spent_s)
        else:
            for labels, _, values in told:
                for more, value in values.get(definition.name, ()):
                    family.add({**labels, **dict(zip(definition.labels, more, strict=True))}, value)
    return [*found, *_user_families(told)]


def metric_values(
    project: str, env: str, samples: Sequence[FlowSample], server: ServerSample | None = None
) -> list[MetricValue]:
    """The same, number after number."""
    return [value for family in metric_families(project, env, samples, server) for value in family.values]


def _user_families(told: Iterable[tuple[Mapping[str, str], FlowSample, object]]) -> list[MetricFamily]:
    """The metrics of authors. Where two flows mean different things by one name, the first flow's is told."""
    families: dict[str, MetricFamily] = {}
    for labels, sample, _ in told:
        for name, one in sorted(sample.totals.user.items()):
            kind = MetricType(one.kind)
            full = f"{USER_PREFIX}{name}{'_total' if kind is MetricType.COUNTER else ''}"
            family = families.setdefault(name, MetricFamily(full, kind, "", one.help or f"{name}, of a flow's author."))
            if family.type is kind:
                _add_user(family, labels, one)
    return [families[name] for name in sorted(families)]


def _add_user(family: MetricFamily, labels: Mapping[str, str], one: UserMetric) -> None:
    for key, value in sorted(one.values.items()):
        named = {**labels, **dict(zip(one.labels, key, strict=True))}
        if family.type is MetricType.HISTOGRAM:
            family.add_histogram(named, one.buckets, value[:-1], value[-1])
        else:
            family.add(named, value)


def _values(sample: FlowSample) -> Mapping[str, Values]:
    """By metric: values of the labels beside project, env and flow, and the number."""
    totals, savepoint, objective = sample.totals, sample.savepoint, sample.objective
    states = STATES if sample.state in STATES else (*STATES, sample.state)
    oldest_us = sample.oldest_dead_us
    counted = {} if objective is None else {"met": objective.met, "missed": objective.missed}
    return {
        "penstock_records_in_total": _by_name(totals.rows_in),
        "penstock_records_out_total": _by_name(totals.rows_out),
        "penstock_bytes_in_total": _by_name(totals.bytes_in),
        "penstock_bytes_out_total": _by_name(totals.bytes_out),
        "penstock_records_late_total": _one(totals.rows_late),
        "penstock_records_dead_total": _one(totals.rows_dead),
        "penstock_quality_checks_total": sorted(totals.checks.items()),
        "penstock_step_records_in_total": _by_name(totals.step_rows_in),
        "penstock_step_records_out_total": _by_name(totals.step_rows_out),
        "penstock_step_time_seconds_total": sorted(totals.step_times_s().items()),
        "penstock_epochs_total": _one(totals.epochs),
        "penstock_epochs_undone_total": _one(totals.epochs_undone),
        "penstock_claims_total": _one(sample.generation),
        "penstock_restarts_total": _by_name(sample.restarts),
        "penstock_recovery_duration_seconds": _one(sample.recovery_s),
        "penstock_phase_seconds_total": _by_name(totals.phases_s),
        "penstock_flow_info": [((sample.version, sample.owner), 1)],
        "penstock_flow_state": [((state,), int(state == sample.state)) for state in states],
        "penstock_source_backlog_records": _one(sample.backlog_rows),
        "penstock_source_backlog_bytes": _one(sample.backlog_bytes),
        "penstock_source_catch_up_seconds": _one(sample.catch_up_s),
        "penstock_system_lag_seconds": _one(sample.lag_s),
        "penstock_dead_letters": _one(sample.dead_letters),
        "penstock_dead_letters_pending": _by_name(_most(sample.dead_pending)),
        "penstock_dead_letter_oldest_seconds": _one(
            None if oldest_us is None else max(sample.now_us - oldest_us, 0) / 1e6
        ),
        "penstock_watermark_timestamp_seconds": _seconds(sample.finite_watermark_us),
        "penstock_last_commit_timestamp_seconds": _seconds(sample.committed_us),
        "penstock_last_output_timestamp_seconds": _seconds(totals.last_output_us),
        "penstock_freshness_seconds": _one(sample.fresh_s),
        "penstock_freshness_objective_seconds": _seconds(sample.freshness_us),
        "penstock_freshness_samples_total": _by_name(counted),
        "penstock_freshness_met_ratio": _one(None if objective is None else objective.ratio),
        "penstock_freshness_burn_rate": [((window,), rate) for window, rate in sample.burn_rates.items()],
        "penstock_state_bytes": _one(sample.state_bytes),
        "penstock_state_rows": _by_name(_most(sample.state_rows)),
        "penstock_savepoint_last_success_timestamp_seconds": _seconds(None if savepoint is None else savepoint.made_us),
        "penstock_savepoint_duration_seconds": _one(None if savepoint is None else savepoint.took_s),
        "penstock_savepoint_size_bytes": _one(None if savepoint is None else savepoint.size_bytes),
        "penstock_rollout_stage": [] if sample.stage is None else [((sample.stage,), 1)],
        "penstock_rollout_compared_rows": _by_name(sample.compared),
        "penstock_run_last_success_timestamp_seconds": _seconds(sample.run_ended_us),
        "penstock_run_duration_seconds": _one(sample.run_s),
        "penstock_schedule_interval_seconds": _one(sample.schedule_s),
        "penstock_log_lines_total": _by_name(sample.log_lines),
        "penstock_worker_cpu_seconds_total": _by_name(sample.cpu_s),
        "penstock_worker_memory_bytes": _by_name(sample.memory_bytes),
        "penstock_worker_memory_limit_bytes": _one(sample.memory_limit_bytes),
    }


def _server_values(server: ServerSample) -> Mapping[str, Values]:
    return {
        "penstock_build_info": [((server.version, server.python), 1)],
        "penstock_disk_free_bytes": _one(server.disk_free_bytes),
        "penstock_disk_size_bytes": _one(server.disk_size_bytes),
        "penstock_ledger_size_bytes": _one(server.ledger_bytes),
        "penstock_history_size_bytes": _one(server.history_bytes),
        "penstock_history_series": _one(server.history_series),
        "penstock_sample_duration_seconds": _one(server.sample_s),
        "penstock_event_loop_lag_seconds": _one(server.loop_lag_s),
    }


def _most(numbers: Mapping[str, int]) -> Mapping[str, int]:
    """Not more label values than there may be, the largest by themselves, the rest as `other`."""
    if len(numbers) <= LABELS_MAX:
        return numbers
    ranked = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return {**dict(ranked[: LABELS_MAX - 1]), "other": sum(number for _, number in ranked[LABELS_MAX - 1 :])}


def _by_name(numbers: Mapping[str, float]) -> Values:
    return [((name,), number) for name, number in sorted(numbers.items())]


def _one(number: float | None) -> Values:
    return [] if number is None else [((), number)]


def _seconds(time_us: int | None) -> Values:
    return _one(None if time_us is None else time_us / 1e6)
