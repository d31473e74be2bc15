"""OTLP: what a real receiver on loopback decodes is what `/metrics` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from penstock.clock import ManualClock
from penstock.errors import ConfigError, ConnectorError
from penstock.observe import FlowSample, FlowTotals, OtlpPush, header_values, metric_families
from tests.ledger.facts import record


@dataclass
class Receiver:
    """What came, and where to send it."""

    url: str = ""
    status: int = 200
    requests: list[tuple[dict[str, str], ExportMetricsServiceRequest]] = field(default_factory=list)

    def metrics(self) -> dict[str, Any]:
        """The metrics of the last request by name."""
        found = self.requests[-1][1].resource_metrics[0]
        return {metric.name: metric for scope in found.scope_metrics for metric in scope.metrics}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that takes OTLP over HTTP."""
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if kept.status == 200:
                assert self.headers.get("content-encoding", "identity") == "identity"
                kept.requests.append((dict(self.headers), ExportMetricsServiceRequest.FromString(body)))
            self.send_response(kept.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}/v1/metrics"
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


def sample() -> FlowSample:
    """A flow of two epochs."""
    totals = FlowTotals()
    for epoch in (1, 2):
        totals.add(record(epoch))
    return FlowSample("orders", 5_000_000, "running", "v1", totals, backlog_rows=7)


def test_a_receiver_gets_the_same_names_and_numbers(receiver: Receiver) -> None:
    """Counters are cumulative and only grow, gauges are gauges, histograms have their buckets, one by one."""
    push = OtlpPush(
        receiver.url, headers=header_values("x-key = secret"), about={"penstock.project": "shop"}, clock=ManualClock()
    )
    push(metric_families("shop", "dev", [sample()]))
    push.close()
    headers, request = receiver.requests[0]
    found = receiver.metrics()
    rows = found["penstock_records_in_total"].sum
    epochs = found["penstock_epoch_duration_seconds"].histogram.data_points[0]

    assert headers["x-key"] == "secret"
    about = {one.key: one.value.string_value for one in request.resource_metrics[0].resource.attributes}
    assert (about["service.name"], about["penstock.project"]) == ("penstock", "shop")
    assert (rows.is_monotonic, rows.aggregation_temporality) == (True, 2)
    assert rows.data_points[0].as_double == 20
    labels = {one.key: one.value.string_value for one in rows.data_points[0].attributes}
    assert labels == {"project": "shop", "env": "dev", "flow": "orders", "step": "orders"}
    assert found["penstock_source_backlog_records"].gauge.data_points[0].as_double == 7
    assert (epochs.count, list(epochs.bucket_counts)[:2], len(epochs.explicit_bounds)) == (2, [2, 0], 14)
    assert not epochs.HasField("min")


def test_a_receiver_that_refuses_is_told_of(receiver: Receiver) -> None:
    """The error says what is at stake: nothing is lost."""
    receiver.status = 400
    push = OtlpPush(receiver.url, headers={}, about={}, clock=ManualClock())

    with pytest.raises(ConnectorError, match="could not be sent"):
        push(metric_families("shop", "dev", [sample()]))
    push.close()


def test_headers_that_are_none() -> None:
    """A part without a name or a value is refused, and its text, which may be a secret, is not told."""
    assert header_values("") == {}
    with pytest.raises(ConfigError) as refused:
        header_values("a=b, geheim")
    assert "geheim" not in str(refused.value)
