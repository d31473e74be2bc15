"""The text of metrics, as Prometheus and all that speak OpenMetrics read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from penstock.ledger import LAST_TIME_US
from penstock.observe.metrics.totals import FlowTotals
from penstock.observe.metrics.vocabulary import EPOCH_BUCKETS_S, METRICS, STATES, MetricDefinition, MetricType

__all__ = ["FlowSample", "MetricValue", "metric_values", "render_metrics"]

Values: TypeAlias = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class FlowSample:
    """All that is known of one flow at `now_us`; what nobody can tell is None. Times: microseconds, UTC."""

    flow: str
    now_us: int
    state: str
    version: str
    totals: FlowTotals
    generation: int | None = None
    committed_us: int | None = None
    watermark_us: int | None = None
    freshness_us: int | None = None
    backlog_rows: int | None = None
    dead_letters: int = 0

    @property
    def finite_watermark_us(self) -> int | None:
        """The watermark, where it is a time: after the end of the input it is at the end of all times."""
        return None if self.watermark_us is None or self.watermark_us >= LAST_TIME_US else self.watermark_us

    @property
    def age_s(self) -> float | None:
        """How old the newest result is; None where there is none."""
        newest_us = self.finite_watermark_us
        newest_us = self.committed_us if newest_us is None else newest_us
        return None if newest_us is None else max(self.now_us - newest_us, 0) / 1e6


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One number of a metric. `name`: of a histogram the metric's with `_bucket`, `_count` or `_sum`."""

    name: str
    labels: Mapping[str, str]
    value: float

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {"name": self.name, "labels": dict(self.labels), "value": self.value}


def metric_values(env: str, samples: Sequence[FlowSample]) -> list[MetricValue]:
    """What `render_metrics` writes, as values: metric by metric, flow by flow."""
    families = _Samples(env, samples).collect()
    return [MetricValue(one.name, one.labels, one.value) for family in families for one in family.samples]


def render_metrics(env: str, samples: Sequence[FlowSample], *, accept: str = "") -> tuple[bytes, str]:
    """Text and its content type, as the header `accept` asks: OpenMetrics, or else the text of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Samples(env, samples))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Samples(Collector):
    """The samples as families of the library."""

    def __init__(self, env: str, samples: Sequence[FlowSample]) -> None:
        self._env = env
        self._samples = [(sample, _values(sample)) for sample in samples]

    def collect(self) -> Iterator[Metric]:
        """One family a metric, in the order of the vocabulary."""
        for definition in METRICS:
            labels = ("env", "flow", *definition.labels)
            if definition.type is MetricType.HISTOGRAM:
                yield self._durations(definition, labels)
                continue
            kind = CounterMetricFamily if definition.type is MetricType.COUNTER else GaugeMetricFamily
            family = kind(definition.name, definition.help, labels=labels, unit=definition.unit)
            for sample, values in self._samples:
                for more, value in values.get(definition.name, ()):
                    family.add_metric((self._env, sample.flow, *more), value)
            yield family

    def _durations(self, definition: MetricDefinition, labels: tuple[str, ...]) -> HistogramMetricFamily:
        family = HistogramMetricFamily(definition.name, definition.help, labels=labels, unit=definition.unit)
        for sample, _ in self._samples:
            upto, buckets = 0, []
            bounds = [*map(str, EPOCH_BUCKETS_S), "+Inf"]
            for bound, count in zip(bounds, sample.totals.buckets, strict=True):
                upto += count
                buckets.append((bound, float(upto)))
            family.add_metric((self._env, sample.flow), buckets, sum(sample.totals.phases_s.values()))
        return family


def _values(sample: FlowSample) -> Mapping[str, Values]:
    """By metric: values of the labels beside env and flow, and the number."""
    totals = sample.totals
    states = STATES if sample.state in STATES else (*STATES, sample.state)
    return {
        "penstock_records_in_total": _by_name(totals.rows_in),
        "penstock_records_out_total": _by_name(totals.rows_out),
        "penstock_records_late_total": _one(totals.rows_late),
        "penstock_records_dead_total": _one(totals.rows_dead),
        "penstock_quality_checks_total": sorted(totals.checks.items()),
        "penstock_epochs_total": _one(totals.epochs),
        "penstock_epochs_undone_total": _one(totals.epochs_undone),
        "penstock_claims_total": _one(sample.generation),
        "penstock_phase_seconds_total": _by_name(totals.phases_s),
        "penstock_flow_info": [((sample.version,), 1)],
        "penstock_flow_state": [((state,), int(state == sample.state)) for state in states],
        "penstock_source_backlog_records": _one(sample.backlog_rows),
        "penstock_dead_letters": _one(sample.dead_letters),
        "penstock_watermark_timestamp_seconds": _seconds(sample.finite_watermark_us),
        "penstock_last_commit_timestamp_seconds": _seconds(sample.committed_us),
        "penstock_last_output_timestamp_seconds": _seconds(totals.last_output_us),
        "penstock_freshness_seconds": _one(sample.age_s),
        "penstock_freshness_objective_seconds": _seconds(sample.freshness_us),
    }


def _by_name(numbers: Mapping[str, float]) -> Values:
    return [((name,), number) for name, number in sorted(numbers.items())]


def _one(number: float | None) -> Values:
    return [] if number is None else [((), number)]


def _seconds(time_us: int | None) -> Values:
    return _one(None if time_us is None else time_us / 1e6)
