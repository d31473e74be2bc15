"""The vocabulary of a log entry: its columns, their types, and the order of severities.

What writes entries (the log store) and what asks for them (filters, SQL) share this table and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import pyarrow as pa

__all__ = ["LOG_COLUMNS", "SEVERITIES", "ColumnType", "LogColumn", "log_schema"]

SEVERITIES: Mapping[str, int] = MappingProxyType(
    {
        "DEFAULT": 0,
        "DEBUG": 100,
        "INFO": 200,
        "NOTICE": 300,
        "WARNING": 400,
        "ERROR": 500,
        "CRITICAL": 600,
        "ALERT": 700,
        "EMERGENCY": 800,
    }
)
"""Name of each severity and the number that is stored for it, lowest first. The numbers are those of Cloud Logging's
`LogSeverity`, so that an export needs no translation."""


class ColumnType(StrEnum):
    """How a column is kept: the name of its kind, as `log_schema` turns it into an Arrow type."""

    TIME = "time"
    SEVERITY = "severity"
    COUNT = "count"
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class LogColumn:
    """One column of the log: what it is called, how it is kept, whether an entry may lack it, and what it says."""

    name: str
    type: ColumnType
    nullable: bool
    meaning: str


LOG_COLUMNS: tuple[LogColumn, ...] = (
    LogColumn("timestamp", ColumnType.TIME, nullable=False, meaning="when it was logged, in microseconds, UTC"),
    LogColumn("insert_id", ColumnType.TEXT, nullable=False, meaning="names the entry: one that is there twice is one"),
    LogColumn("severity", ColumnType.SEVERITY, nullable=False, meaning="a number of `SEVERITIES`"),
    LogColumn("project", ColumnType.TEXT, nullable=False, meaning="the project of `penstock.toml`"),
    LogColumn("flow", ColumnType.TEXT, nullable=False, meaning="the flow"),
    LogColumn("env", ColumnType.TEXT, nullable=False, meaning="the environment"),
    LogColumn("step", ColumnType.TEXT, nullable=True, meaning="the step, where a step logged it"),
    LogColumn("version", ColumnType.TEXT, nullable=True, meaning="the version of the flow that ran"),
    LogColumn("generation", ColumnType.COUNT, nullable=True, meaning="the claim of the process that ran it"),
    LogColumn("epoch", ColumnType.COUNT, nullable=True, meaning="the epoch that was under way"),
    LogColumn("worker", ColumnType.TEXT, nullable=True, meaning="the process"),
    LogColumn("trace_id", ColumnType.TEXT, nullable=True, meaning="the trace that the entry belongs to"),
    LogColumn("message", ColumnType.TEXT, nullable=False, meaning="the text of the entry, already formatted"),
    LogColumn("signature", ColumnType.TEXT, nullable=True, meaning="what entries of one kind have in common"),
    LogColumn(
        "attrs",
        ColumnType.JSON,
        nullable=True,
        meaning="further values: an object of strict JSON, compact, letters outside ASCII as they are",
    ),
)
"""All columns of a log entry, in the order in which they are stored."""

_ARROW: Mapping[ColumnType, pa.DataType] = {
    ColumnType.TIME: pa.timestamp("us", tz="UTC"),
    ColumnType.SEVERITY: pa.int16(),
    ColumnType.COUNT: pa.int64(),
    ColumnType.TEXT: pa.string(),
    ColumnType.JSON: pa.string(),
}


def log_schema() -> pa.Schema:
    """`LOG_COLUMNS` as the Arrow schema of the Parquet files; the meaning of each column is in its metadata."""
    return pa.schema(
        [
            pa.field(column.name, _ARROW[column.type], nullable=column.nullable, metadata={"meaning": column.meaning})
            for column in LOG_COLUMNS
        ]
    )
