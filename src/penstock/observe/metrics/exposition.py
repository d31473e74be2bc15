"""The text of metrics, as Prometheus and all that speak OpenMetrics read it.

prometheus-client writes it, and is loaded when it is first asked to: the processes of flows never are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

from penstock.observe.metrics.families import MetricFamily, metric_families
from penstock.observe.metrics.samples import FlowSample, ServerSample
from penstock.observe.metrics.vocabulary import MetricType

__all__ = ["render_families", "render_metrics"]


def render_metrics(
    project: str, env: str, samples: Sequence[FlowSample], server: ServerSample | None = None, *, accept: str = ""
) -> tuple[bytes, str]:
    """Text and its content type, as the header `accept` asks: OpenMetrics, or else the text of Prometheus."""
    return render_families(metric_families(project, env, samples, server), accept=accept)


def render_families(families: Iterable[MetricFamily], *, accept: str = "") -> tuple[bytes, str]:
    """The same of families that are there already. Those without a number are left out."""
    client = import_module("prometheus_client.core")
    encode, content_type = import_module("prometheus_client.exposition").choose_encoder(accept)
    text: bytes = encode(_Registry([_written(client, family) for family in families if family.values]))
    return text, str(content_type)


class _Registry:
    """What the library's encoders ask for."""

    def __init__(self, families: Sequence[Any]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        """One family after the other."""
        return iter(self._families)


def _written(client: Any, family: MetricFamily) -> Any:
    """A family of ours as the library's."""
    kinds = {
        MetricType.COUNTER: client.CounterMetricFamily,
        MetricType.GAUGE: client.GaugeMetricFamily,
        MetricType.HISTOGRAM: client.HistogramMetricFamily,
    }
    written = kinds[family.type](family.name, family.help, labels=(), unit=family.unit)
    for one in family.values:
        written.add_sample(one.name, dict(one.labels), one.value)
    return written
