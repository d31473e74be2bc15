"""Thirty log entries that every test of the filter language asks, and what the columns of a short row mean.

`NOW` is noon of 26 November 2026. Entries 1-12 are of a flow in production, 13-20 of one in staging, 21-26 of another
project; 27-30 come from no step, and 28 has no attributes at all.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from penstock.observe import SEVERITIES, log_schema

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
NOW_US = round(NOW.timestamp()) * 1_000_000

FLOWS = {
    "revenue": ("shop", "prod"),
    "clicks": ("shop", "staging"),
    "fraud": ("bank", "prod"),
    "nightly": ("ops", "dev"),
}
"""Project and environment of each flow."""

NOWHERE = (None, None, None, None, None)

ROWS: list[tuple[Any, ...]] = [
    (
        1,
        "25T10:00:00",
        "INFO",
        "revenue",
        ("read", "v1", 1, 1, "w1"),
        None,
        "started reading orders",
        {"rows": 100, "source": "orders"},
    ),
    (
        2,
        "25T10:05:00",
        "DEBUG",
        "revenue",
        ("read", "v1", 1, 2, "w1"),
        None,
        "offered 50 rows",
        {"rows": 50, "source": "orders"},
    ),
    (
        3,
        "25T11:00:00",
        "WARNING",
        "revenue",
        ("sum", "v1", 1, 3, "w1"),
        "t1",
        "late row dropped",
        {"rows": 1, "late_s": 12.5, "tags": ["late", "window"]},
    ),
    (
        4,
        "25T11:30:00",
        "ERROR",
        "revenue",
        ("write", "v1", 1, 3, "w1"),
        "t1",
        "Timeout writing to postgres",
        {"code": 504, "retry": True, "host": "db1.example.com"},
    ),
    (
        5,
        "25T11:31:00",
        "ERROR",
        "revenue",
        ("write", "v1", 1, 3, "w1"),
        "t1",
        "connection refused",
        {"code": 111, "retry": True, "host": "db1.example.com"},
    ),
    (
        6,
        "25T11:32:00",
        "NOTICE",
        "revenue",
        ("write", "v1", 1, 3, "w1"),
        None,
        "connection restored",
        {"attempts": 3, "host": "db1.example.com"},
    ),
    (7, "25T12:00:00", "INFO", "revenue", ("sum", "v2", 2, 4, "w2"), None, "started", {}),
    (
        8,
        "25T13:00:00",
        "CRITICAL",
        "revenue",
        ("sum", "v2", 2, 5, "w2"),
        "t2",
        "ZeroDivisionError: division by zero",
        {"code": "E42", "user": {"name": "Ann", "id": 7}},
    ),
    (
        9,
        "25T13:00:00.500000",
        "ALERT",
        "revenue",
        ("sum", "v2", 2, 5, "w2"),
        "t2",
        "flow held after 5 failures",
        {"failures": 5},
    ),
    (
        10,
        "25T14:00:00",
        "INFO",
        "revenue",
        ("sum", "v2", 3, 5, "w2"),
        None,
        "dead letter 17 replayed",
        {"rows": 1, "user": {"name": "Bob", "id": 8}},
    ),
    (
        11,
        "26T09:00:00",
        "INFO",
        "revenue",
        ("read", "v2", 3, 6, "w2"),
        None,
        "offered 200 rows",
        {"rows": 200, "source": "orders"},
    ),
    (
        12,
        "26T11:30:00",
        "WARNING",
        "revenue",
        ("write", "v2", 3, 7, "w2"),
        None,
        "slow sink: 900 ms",
        {"duration_ms": 900, "host": "db2.example.com"},
    ),
    (
        13,
        "25T10:00:00",
        "INFO",
        "clicks",
        ("read", "v10", 1, 1, "w3"),
        None,
        "started reading clicks",
        {"rows": 1000, "source": "clicks"},
    ),
    (
        14,
        "25T15:00:00",
        "DEFAULT",
        "clicks",
        ("map", "v10", 1, 2, "w3"),
        None,
        "print from user code",
        {"stream": "stdout"},
    ),
    (
        15,
        "25T15:00:01",
        "DEFAULT",
        "clicks",
        ("map", "v10", 1, 2, "w3"),
        None,
        "Print: 100%",
        {"stream": "stderr", "note": None},
    ),
    (
        16,
        "25T16:00:00",
        "ERROR",
        "clicks",
        ("map", "v10", 1, 3, "w3"),
        "t3",
        "bad row: invalid utf-8",
        {"code": 22, "retry": False, "tags": ["bad-row"], "note": "see runbook"},
    ),
    (
        17,
        "25T16:05:00",
        "ERROR",
        "clicks",
        ("map", "v10", 1, 3, "w3"),
        "t3",
        "bad row: missing key",
        {"code": 23, "retry": False, "tags": ["bad-row", "key"]},
    ),
    (
        18,
        "26T08:00:00",
        "DEBUG",
        "clicks",
        ("write", "v11", 2, 4, "w3"),
        None,
        "wrote 990 rows",
        {"rows": 990, "k8s.io/pod": "pod-7"},
    ),
    (
        19,
        "26T10:00:00",
        "INFO",
        "clicks",
        ("write", "v11", 2, 5, "w4"),
        None,
        "handover: v10 -> v11",
        {"from": "v10", "to": "v11"},
    ),
    (
        20,
        "26T11:59:00",
        "WARNING",
        "clicks",
        ("write", "v11", 2, 6, "w4"),
        None,
        "disk 91% full",
        {"disk": {"used": 0.91, "path": "/data"}},
    ),
    (
        21,
        "25T17:00:00",
        "INFO",
        "fraud",
        ("score", "v3", 4, 1, "w5"),
        "t4",
        "Scored 10 payments",
        {"rows": 10, "model": "Alpha"},
    ),
    (
        22,
        "25T18:00:00",
        "EMERGENCY",
        "fraud",
        ("score", "v3", 4, 2, "w5"),
        "t4",
        "model file lost",
        {"model": "alpha", "path": "C:\\models\\a.bin"},
    ),
    (
        23,
        "25T18:01:00",
        "ERROR",
        "fraud",
        ("score", "v3", 4, 2, "w5"),
        "t4",
        "Error: model file lost",
        {"model": "beta", "code": 404},
    ),
    (
        24,
        "25T19:00:00",
        "WARNING",
        "fraud",
        ("score", "v3", 4, 3, "w5"),
        None,
        "Überlauf in Tabelle",
        {"city": "Zürich"},
    ),
    (
        25,
        "26T11:00:00",
        "INFO",
        "fraud",
        ("load", "v3", 4, 4, "w6"),
        None,
        'loaded "cards" table',
        {"table": "cards", "rows": 0},
    ),
    (
        26,
        "26T11:45:00",
        "ERROR",
        "fraud",
        ("load", "v3", 5, 5, "w6"),
        "t5",
        "password=*** rejected",
        {"user": {"name": "ann", "id": None}},
    ),
    (27, "25T00:00:00", "NOTICE", "nightly", NOWHERE, None, "server started", {}),
    (28, "25T00:00:01", "INFO", "nightly", NOWHERE, None, "token check passed", None),
    (
        29,
        "26T12:00:00",
        "ERROR",
        "nightly",
        NOWHERE,
        None,
        "",
        {"empty": "", "list": [], "nested": [{"a": 1}, {"a": 2}]},
    ),
    (30, "26T12:30:00", "DEBUG", "nightly", NOWHERE, None, "from the future", {"rows": -5, "flag": "true"}),
]


def entries() -> list[dict[str, Any]]:
    """The corpus as rows of `LOG_COLUMNS`; `insert_id` is the number of the entry as text."""
    found = []
    for number, time, severity, flow, (step, version, generation, epoch, worker), trace, message, attributes in ROWS:
        project, env = FLOWS[flow]
        found.append(
            {
                "timestamp": datetime.fromisoformat(f"2026-11-{time}+00:00"),
                "insert_id": str(number),
                "severity": SEVERITIES[severity],
                "project": project,
                "flow": flow,
                "env": env,
                "step": step,
                "version": version,
                "generation": generation,
                "epoch": epoch,
                "worker": worker,
                "trace_id": trace,
                "message": message,
                "signature": f"sig-{step}" if step and severity in ("ERROR", "CRITICAL") else None,
                "attrs": None
                if attributes is None
                else json.dumps(attributes, ensure_ascii=False, separators=(",", ":")),
            }
        )
    return found


def connection() -> duckdb.DuckDBPyConnection:
    """A DuckDB with the corpus as the table `logs`, with the types that Parquet gives."""
    database = duckdb.connect(config={"threads": 1})
    database.register("given", pa.Table.from_pylist(entries(), schema=log_schema()))
    database.execute("create table logs as select * from given")
    return database
