"""The VOCABULARY of what is seen of flows: log entries and the filters that ask for them."""

from penstock.observe.entries import LOG_COLUMNS, SEVERITIES, ColumnType, LogColumn, log_schema
from penstock.observe.filters import Condition, compile_filter

__all__ = [
    "LOG_COLUMNS",
    "SEVERITIES",
    "ColumnType",
    "Condition",
    "LogColumn",
    "compile_filter",
    "log_schema",
]
