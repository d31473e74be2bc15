"""FACTS that survive a crash: epochs, versions, dead letters; the state store; formats and migrations."""

from __future__ import annotations

from penstock.ledger.compact import due, merge
from penstock.ledger.contract import (
    DeadLetter,
    EpochPlan,
    EpochRecord,
    FlowFacts,
    Ledger,
    Resume,
    SegmentRef,
)
from penstock.ledger.databases import check_flow_name
from penstock.ledger.frames import DEAD_LETTER_SCHEMA, EPOCH_SCHEMA, dead_letter_frame, epoch_frame
from penstock.ledger.sql import SqlLedger, open_ledger
from penstock.ledger.state import LocalStateStore, MemoryStateStore, StateStore
from penstock.ledger.tablestate import Segment, TableChange, TableImage, TableKind

__all__ = [
    "DEAD_LETTER_SCHEMA",
    "EPOCH_SCHEMA",
    "DeadLetter",
    "EpochPlan",
    "EpochRecord",
    "FlowFacts",
    "Ledger",
    "LocalStateStore",
    "MemoryStateStore",
    "Resume",
    "Segment",
    "SegmentRef",
    "SqlLedger",
    "StateStore",
    "TableChange",
    "TableImage",
    "TableKind",
    "check_flow_name",
    "dead_letter_frame",
    "due",
    "epoch_frame",
    "merge",
    "open_ledger",
]
