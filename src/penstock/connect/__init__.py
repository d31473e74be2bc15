"""The EDGES: one file a system, one contract."""

from __future__ import annotations

from penstock.connect.contract import (
    Backlog,
    Budget,
    Change,
    Context,
    Delivery,
    Offsets,
    PartitionRead,
    Receipt,
    Reject,
    Sink,
    Source,
)
from penstock.connect.delta_epochs import FileOrigin, file_origins
from penstock.connect.memory import clear, finish, memory_rows, put_rows
from penstock.connect.multisets import only_in
from penstock.connect.ndjson import JsonLines
from penstock.connect.registry import open_sink, open_source, preload, sink_class, source_class
from penstock.connect.secrets import is_reference, resolve, resolved_secrets
from penstock.connect.sql_text import literal, quoted

__all__ = [
    "Backlog",
    "Budget",
    "Change",
    "Context",
    "Delivery",
    "FileOrigin",
    "JsonLines",
    "Offsets",
    "PartitionRead",
    "Receipt",
    "Reject",
    "Sink",
    "Source",
    "clear",
    "file_origins",
    "finish",
    "is_reference",
    "literal",
    "memory_rows",
    "only_in",
    "open_sink",
    "open_source",
    "preload",
    "put_rows",
    "quoted",
    "resolve",
    "resolved_secrets",
    "sink_class",
    "source_class",
]
