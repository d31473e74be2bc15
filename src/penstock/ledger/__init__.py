"""FACTS that survive a crash: epochs, versions, dead letters; the state store; formats and migrations."""

from __future__ import annotations

from penstock.ledger.compact import due, merge
from penstock.ledger.contract import (
    DeadLetter,
    EpochPlan,
    EpochRecord,
    FlowFacts,
    Ledger,
    LetterCounts,
    Member,
    Resume,
    Rewrite,
    Savepoint,
    SegmentRef,
    Standing,
    Takeover,
)
from penstock.ledger.databases import check_flow_name
from penstock.ledger.documents import Document, Documents
from penstock.ledger.folding import merge_changes
from penstock.ledger.frames import DEAD_LETTER_SCHEMA, EPOCH_SCHEMA, LAST_TIME_US, dead_letter_frame, epoch_frame
from penstock.ledger.operations import (
    Deployment,
    DeploymentStatus,
    Desired,
    Event,
    Lease,
    Operations,
    VersionFacts,
    Want,
)
from penstock.ledger.redrives import without_undone
from penstock.ledger.savepoints import BEGINNING, restore_point, thinned
from penstock.ledger.sql import SqlLedger, open_ledger
from penstock.ledger.state import LocalStateStore, MemoryStateStore, StateStore
from penstock.ledger.tablestate import Segment, TableChange, TableImage, TableKind

__all__ = [
    "BEGINNING",
    "DEAD_LETTER_SCHEMA",
    "EPOCH_SCHEMA",
    "LAST_TIME_US",
    "DeadLetter",
    "Deployment",
    "DeploymentStatus",
    "Desired",
    "Document",
    "Documents",
    "EpochPlan",
    "EpochRecord",
    "Event",
    "FlowFacts",
    "Lease",
    "Ledger",
    "LetterCounts",
    "LocalStateStore",
    "Member",
    "MemoryStateStore",
    "Operations",
    "Resume",
    "Rewrite",
    "Savepoint",
    "Segment",
    "SegmentRef",
    "SqlLedger",
    "Standing",
    "StateStore",
    "TableChange",
    "TableImage",
    "TableKind",
    "Takeover",
    "VersionFacts",
    "Want",
    "check_flow_name",
    "dead_letter_frame",
    "due",
    "epoch_frame",
    "merge",
    "merge_changes",
    "open_ledger",
    "restore_point",
    "thinned",
    "without_undone",
]
