"""The EDGES: one file a system, one contract."""

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
]
