"""Sending metrics on by OTLP over HTTP, by the exporter of OpenTelemetry's SDK: same names, same labels.

The SDK is an extra, and loaded where somebody wants to push.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from itertools import groupby
from typing import Any

from penstock.clock import Clock
from penstock.errors import ConfigError, ConnectorError
from penstock.observe.metrics import MetricFamily, MetricType, MetricValue

__all__ = ["OtlpPush", "header_values"]

_METRICS = "opentelemetry.sdk.metrics.export"
_TIMEOUT_S = 10.0


def header_values(text: str) -> dict[str, str]:
    """`name=value, name=value` as headers. Raises ConfigError."""
    headers = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not (equals and name.strip()):
            raise ConfigError("the OTLP headers can't be read", hint="write name=value, name=value")
        headers[name.strip()] = value.strip()
    return headers


class OtlpPush:
    """Sends families of numbers to an endpoint; counters are cumulative since this object was made.

    `about`: attributes of the resource beside `service.name`. Raises ConfigError where the SDK is not installed.
    """

    def __init__(self, endpoint: str, *, headers: Mapping[str, str], about: Mapping[str, str], clock: Clock) -> None:
        try:
            self._export = import_module(_METRICS)
            exporter = import_module("opentelemetry.exporter.otlp.proto.http.metric_exporter")
            resources = import_module("opentelemetry.sdk.resources")
            scopes = import_module("opentelemetry.sdk.util.instrumentation")
        except ModuleNotFoundError:
            raise ConfigError(
                "to push metrics by OTLP takes OpenTelemetry's SDK, which is not installed",
                hint='pip install "penstock[otlp]"',
            ) from None
        self._endpoint = endpoint
        self._clock = clock
        self._since_ns = clock.now_us() * 1_000
        self._resource = resources.Resource({"service.name": "penstock", **about})
        self._scope = scopes.InstrumentationScope("penstock")
        self._exporter = exporter.OTLPMetricExporter(endpoint, headers=dict(headers), timeout=_TIMEOUT_S)

    def __call__(self, families: Sequence[MetricFamily]) -> None:
        """Send them. Raises ConnectorError where the receiver did not take them."""
        export, now_ns = self._export, self._clock.now_us() * 1_000
        metrics = [self._metric(family, now_ns) for family in families if family.values]
        scope = export.ScopeMetrics(self._scope, metrics, "")
        data = export.MetricsData([export.ResourceMetrics(self._resource, [scope], "")])
        if self._exporter.export(data) is not export.MetricExportResult.SUCCESS:
            raise ConnectorError(
                f"metrics could not be sent to {self._endpoint}",
                state_left="they are in the store and at /metrics",
                hint="check [metrics.otlp] of penstock.toml; it is tried again",
            )

    def close(self) -> None:
        """Let go of the connection."""
        self._exporter.shutdown()

    def _metric(self, family: MetricFamily, now_ns: int) -> Any:
        export = self._export
        cumulative = export.AggregationTemporality.CUMULATIVE
        if family.type is MetricType.HISTOGRAM:
            data = export.Histogram(list(self._histograms(family, now_ns)), cumulative)
        else:
            points = [
                export.NumberDataPoint(dict(one.labels), self._since_ns, now_ns, one.value) for one in family.values
            ]
            is_counter = family.type is MetricType.COUNTER
            data = export.Sum(points, cumulative, is_monotonic=True) if is_counter else export.Gauge(points)
        return export.Metric(family.name, family.help, _UNITS.get(family.unit, ""), data)

    def _histograms(self, family: MetricFamily, now_ns: int) -> Iterable[Any]:
        """Values come as Prometheus tells them: for each histogram its buckets, counted up, then count and sum."""

        def labels_of(one: MetricValue) -> dict[str, str]:
            return {name: value for name, value in one.labels.items() if name != "le"}

        for labels, values in groupby(family.values, labels_of):
            told = list(values)
            upto = [round(one.value) for one in told if one.name.endswith("_bucket")]
            bounds = [float(one.labels["le"]) for one in told if one.name.endswith("_bucket")]
            counts = [count - before for count, before in zip(upto, [0, *upto[:-1]], strict=True)]
            total = next(one.value for one in told if one.name.endswith("_sum"))
            yield self._export.HistogramDataPoint(
                labels, self._since_ns, now_ns, upto[-1], total, counts, bounds[:-1], None, None
            )


_UNITS = {"seconds": "s", "bytes": "By", "ratio": "1"}
