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
from penstock.connect.registry import open_sink, open_source, sink_class, source_class
from penstock.connect.secrets import is_reference, resolve

__all__ = [
    "Backlog",
    "Budget",
    "Change",
    "Context",
    "Delivery",
    "Offsets",
    "PartitionRead",
    "Receipt",
    "Reject",
    "Sink",
    "Source",
    "is_reference",
    "open_sink",
    "open_source",
    "resolve",
    "sink_class",
    "source_class",
]
