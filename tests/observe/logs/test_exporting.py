"""Exports: files that others load, and pushes to real receivers that speak HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.parquet as pq
import pytest
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]  # its stubs are another package
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from penstock.clock import ManualClock
from penstock.errors import ConfigError, ConnectorError
from penstock.observe import LogQuery, LogReader, export_entries, export_file, log_schema, push_loki, push_otlp
from tests.observe.logs.lines import START_US, written


@dataclass
class Receiver:
    """A server that keeps what is posted to it."""

    url: str
    status: int = 204
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@contextmanager
def receiver(status: int = 204) -> Iterator[Receiver]:
    """A receiver on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.got.append((self.path, json.loads(body)))
            self.send_response(found.status)
            self.end_headers()
            self.wfile.write(b"entry too old" if found.status >= 400 else b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}", status)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LogReader]:
    """Three entries of one flow."""
    written(tmp_path / "orders", [(0, "first"), (1, "second")])
    written(tmp_path / "orders", [(2, "third")], severity=500, worker="w2")
    with LogReader(tmp_path, ManualClock()) as opened:
        yield opened


def test_files_hold_what_was_asked(reader: LogReader, tmp_path: Path) -> None:
    """A Parquet file has the types of the log, an NDJSON file an object a line, both the oldest first."""
    parquet, ndjson = tmp_path / "out.parquet", tmp_path / "out.ndjson"

    assert export_file(reader, LogQuery(), parquet) == 3
    assert export_file(reader, LogQuery(filter="severity<ERROR"), ndjson) == 2
    assert pq.read_schema(parquet).equals(log_schema())
    assert pq.read_table(parquet).column("message").to_pylist() == ["first", "second", "third"]
    lines = [json.loads(line) for line in ndjson.read_text().splitlines()]
    assert [(line["message"], line["severity"], line["attrs"]) for line in lines] == [
        ("first", "INFO", {"logger": "test"}),
        ("second", "INFO", {"logger": "test"}),
    ]
    with pytest.raises(ConfigError, match=r"\.csv is no kind of file"):
        export_file(reader, LogQuery(), tmp_path / "out.csv")


def test_loki_gets_streams_with_few_labels(reader: LogReader) -> None:
    """Entries of one severity are one stream, with nanoseconds, and the rest as structured metadata."""
    with receiver() as loki:
        sent = push_loki(export_entries(reader, LogQuery()), loki.url)

    ((path, body),) = loki.got
    assert (sent, path) == (3, "/loki/api/v1/push")
    labels = {"project": "shop", "env": "dev", "flow": "orders"}
    assert [stream["stream"] for stream in body["streams"]] == [
        {**labels, "severity": "info"},
        {**labels, "severity": "error"},
    ]
    assert [line[:2] for line in body["streams"][0]["values"]] == [
        [str(START_US * 1_000), "first"],
        [str(START_US * 1_000 + 1_000), "second"],
    ]
    assert body["streams"][1]["values"][0][2]["worker"] == "w2"


def test_a_collector_gets_otlp(reader: LogReader) -> None:
    """Entries of one process are one resource; severities, times and attributes are those of the data model."""
    with receiver(200) as collector:
        sent = push_otlp(export_entries(reader, LogQuery()), collector.url)

    ((path, body),) = collector.got
    assert (sent, path) == (3, "/v1/logs")
    request = ParseDict(body, ExportLogsServiceRequest())  # the official shape: a wrong name or type is an error
    assert len(request.resource_logs) == 2
    first, second = body["resourceLogs"]
    attributes = {one["key"]: one["value"]["stringValue"] for one in second["resource"]["attributes"]}
    assert attributes["service.name"] == "orders"
    assert attributes["service.instance.id"] == "w2"
    (record,) = second["scopeLogs"][0]["logRecords"]
    assert len(first["scopeLogs"][0]["logRecords"]) == 2
    assert record["severityNumber"] == 17
    assert record["body"] == {"stringValue": "third"}
    assert record["timeUnixNano"] == str(START_US * 1_000 + 2_000)
    assert {"key": "logger", "value": {"stringValue": "test"}} in record["attributes"]


def test_a_receiver_that_refuses_is_told(reader: LogReader) -> None:
    """What it answered is in the error, and so is one that is not there."""
    with receiver(429) as full, pytest.raises(ConnectorError, match="answered 429: entry too old"):
        push_loki(export_entries(reader, LogQuery()), full.url)
    with pytest.raises(ConnectorError, match="can't be reached"):
        push_otlp(export_entries(reader, LogQuery()), full.url)
    with pytest.raises(ConfigError, match="no address"):
        push_loki(export_entries(reader, LogQuery()), "file:///etc/passwd")
