"""FACTS that survive a crash: epochs, versions, dead letters; the state store; formats and migrations."""

from __future__ import annotations

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

__all__ = [
    "DEAD_LETTER_SCHEMA",
    "EPOCH_SCHEMA",
    "DeadLetter",
    "EpochPlan",
    "EpochRecord",
    "FlowFacts",
    "Ledger",
    "Resume",
    "SegmentRef",
    "SqlLedger",
    "check_flow_name",
    "dead_letter_frame",
    "epoch_frame",
    "open_ledger",
]
