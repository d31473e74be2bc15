"""Entries for others: files that BigQuery loads as they are, and pushes to Loki and to any OpenTelemetry collector.

BigQuery: `bq load --source_format=PARQUET` or `NEWLINE_DELIMITED_JSON`; a Parquet file has the types of the store.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.errors import ConfigError, ConnectorError
from penstock.observe.entries import log_schema
from penstock.observe.logs.asking import LogQuery, LogReader, severity_name
from penstock.observe.logs.compacting import write_entries
from penstock.observe.logs.shapes import entry_json, us_of

__all__ = ["export_entries", "export_file", "push_loki", "push_otlp"]

_TIMEOUT_S = 30.0
_BATCH = 1_000
_LABELS = ("project", "env", "flow", "severity")
_ENTRIES = 'select * from logs order by "timestamp", insert_id'
# Severity numbers of OpenTelemetry's log data model, by the names of Cloud Logging (its appendix B).
_OTEL_SEVERITIES = {
    "DEFAULT": 0,
    "DEBUG": 5,
    "INFO": 9,
    "NOTICE": 10,
    "WARNING": 13,
    "ERROR": 17,
    "CRITICAL": 21,
    "ALERT": 22,
    "EMERGENCY": 24,
}


def export_file(reader: LogReader, query: LogQuery, path: Path) -> int:
    """Write the entries of a query, oldest first, to `*.parquet` or `*.ndjson`; gives how many.

    Raises ConfigError for another ending or a place that can't be written, QueryError.
    """
    if path.suffix not in (".parquet", ".ndjson", ".jsonl"):
        raise ConfigError(f"{path} is no kind of file to export to", hint="name it *.parquet or *.ndjson")
    table = reader.table(query, _ENTRIES).cast(log_schema())
    try:
        if path.suffix == ".parquet":
            write_entries(table, path)
        else:
            with path.open("w", encoding="utf-8") as out:
                out.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in _entries(table))
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror or error}", hint="name another place") from error
    return table.num_rows


def export_entries(reader: LogReader, query: LogQuery) -> Iterator[list[dict[str, Any]]]:
    """The entries of a query in batches, oldest first, as rows. Raises QueryError."""
    for batch in reader.table(query, _ENTRIES).to_batches(max_chunksize=_BATCH):
        yield batch.to_pylist()


def push_loki(
    entries: Iterable[Sequence[Mapping[str, Any]]], url: str, *, headers: Mapping[str, str] | None = None
) -> int:
    """Send batches of rows to Loki (`POST /loki/api/v1/push`); gives how many entries it took.

    `url`: of the server, or of the push itself. What has many values is structured metadata, and no label. Raises
    ConnectorError with what Loki said; what was sent before is there.
    """
    target = url if url.endswith("/push") else url.rstrip("/") + "/loki/api/v1/push"
    sent = 0
    for batch in entries:
        streams: defaultdict[tuple[str, ...], list[Any]] = defaultdict(list)
        for row in batch:
            labels = {**row, "severity": severity_name(row["severity"]).lower()}
            more = {
                name: str(row[name])
                for name in ("step", "version", "generation", "epoch", "worker", "trace_id", "insert_id", "attrs")
                if row[name] is not None
            }
            line = [str(us_of(row["timestamp"]) * 1_000), row["message"], more]
            streams[tuple(labels[name] for name in _LABELS)].append(line)
        body = [{"stream": dict(zip(_LABELS, key, strict=True)), "values": lines} for key, lines in streams.items()]
        _post(target, {"streams": body}, headers)
        sent += len(batch)
    return sent


def push_otlp(
    entries: Iterable[Sequence[Mapping[str, Any]]], url: str, *, headers: Mapping[str, str] | None = None
) -> int:
    """Send batches of rows to an OpenTelemetry collector, as OTLP in JSON over HTTP; gives how many entries it took.

    The shape is that of `ExportLogsServiceRequest` in JSON (OTLP 1.x): ids in hexadecimal, 64-bit numbers as text.
    `url`: of the collector, or of its `/v1/logs`. Raises ConnectorError; what was sent before is there.
    """
    target = url if url.endswith("/v1/logs") else url.rstrip("/") + "/v1/logs"
    sent = 0
    for batch in entries:
        resources: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
        for row in batch:
            resources[tuple(row[name] for name in ("project", "env", "flow", "version", "worker"))].append(_record(row))
        body = [
            {
                "resource": {"attributes": _attributes(_resource(*key))},
                "scopeLogs": [{"scope": {"name": "penstock"}, "logRecords": records}],
            }
            for key, records in resources.items()
        ]
        _post(target, {"resourceLogs": body}, headers)
        sent += len(batch)
    return sent


def _resource(project: str, env: str, flow: str, version: str | None, worker: str | None) -> dict[str, Any]:
    return {
        "service.namespace": project,
        "service.name": flow,
        "service.version": version,
        "service.instance.id": worker,
        "deployment.environment.name": env,
    }


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    name = severity_name(row["severity"])
    marks = {f"penstock.{column}": row[column] for column in ("step", "generation", "epoch", "signature")}
    record = {
        "timeUnixNano": str(us_of(row["timestamp"]) * 1_000),
        "severityNumber": _OTEL_SEVERITIES[name],
        "severityText": name,
        "body": {"stringValue": row["message"]},
        "attributes": _attributes({"log.record.uid": row["insert_id"], **marks, **entry_json(row)["attrs"]}),
    }
    trace = str(row["trace_id"] or "")
    if len(trace) == 32 and all(letter in "0123456789abcdef" for letter in trace):  # noqa: PLR2004 - 16 bytes
        record["traceId"] = trace
    return record


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in values.items() if value is not None]


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def _post(url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None) -> None:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no address to push to", hint="write http://HOST:PORT or https://HOST")
    given = {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), given, method="POST")  # noqa: S310 - checked
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            answer.read()
    except urllib.error.HTTPError as error:
        said = error.read(500).decode(errors="replace").strip()
        raise ConnectorError(
            f"{url} answered {error.code}: {said}", hint="look at its address and its limits"
        ) from None
    except OSError as error:
        raise ConnectorError(f"{url} can't be reached: {error}", hint="look at the address; is it up?") from None


def _entries(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_BATCH):
        yield from map(entry_json, batch.to_pylist())
