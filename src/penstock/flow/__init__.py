"""WHAT a flow is: frozen values, the builder, validation, fingerprint. Does no I/O, imports no dataframe library."""

from penstock.flow import ops
from penstock.flow.builder import Flow, Keyed, Stream, Table, Windowed
from penstock.flow.checks import Check, OnFail, between, matches, not_null, one_of, that, unique
from penstock.flow.datasets import (
    Dataset,
    console,
    delta,
    duckdb_table,
    files,
    http_push,
    memory,
    nats,
    nexmark,
    parquet,
    postgres,
    postgres_changes,
    table,
    topic,
)
from penstock.flow.definition import Definition, Step
from penstock.flow.durations import Duration, duration_text, duration_us
from penstock.flow.fingerprint import CodePart, code_parts, flow_version, step_fingerprint
from penstock.flow.migrations import Migration, Rename
from penstock.flow.ops import PROCESSING_TIME
from penstock.flow.params import Param, ParamScope, ParamValue, giving, param
from penstock.flow.process import KeyContext, ProcessFunction, Row
from penstock.flow.statements import statement_of
from penstock.flow.validate import FLOW_NAME, validate
from penstock.flow.windows import (
    SameWindow,
    Session,
    Sliding,
    Tumbling,
    Window,
    same_window,
    session,
    sliding,
    tumbling,
)

__all__ = [
    "FLOW_NAME",
    "PROCESSING_TIME",
    "Check",
    "CodePart",
    "Dataset",
    "Definition",
    "Duration",
    "Flow",
    "KeyContext",
    "Keyed",
    "Migration",
    "OnFail",
    "Param",
    "ParamScope",
    "ParamValue",
    "ProcessFunction",
    "Rename",
    "Row",
    "SameWindow",
    "Session",
    "Sliding",
    "Step",
    "Stream",
    "Table",
    "Tumbling",
    "Window",
    "Windowed",
    "between",
    "code_parts",
    "console",
    "delta",
    "duckdb_table",
    "duration_text",
    "duration_us",
    "files",
    "flow_version",
    "giving",
    "http_push",
    "matches",
    "memory",
    "nats",
    "nexmark",
    "not_null",
    "one_of",
    "ops",
    "param",
    "parquet",
    "postgres",
    "postgres_changes",
    "same_window",
    "session",
    "sliding",
    "statement_of",
    "step_fingerprint",
    "table",
    "that",
    "topic",
    "tumbling",
    "unique",
    "validate",
]
