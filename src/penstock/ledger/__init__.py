"""FACTS that survive a crash: epochs, versions, dead letters; the state store; formats and migrations."""

from penstock.ledger.contract import (
    DeadLetter,
    EpochPlan,
    EpochRecord,
    FlowFacts,
    Ledger,
    Resume,
    SegmentRef,
)

__all__ = ["DeadLetter", "EpochPlan", "EpochRecord", "FlowFacts", "Ledger", "Resume", "SegmentRef"]
