"""What can be KNOWN without running: schemas, lineage, diff of two versions, compatibility verdict."""

from penstock.analysis.declared import to_schema
from penstock.analysis.facts import WINDOW_END, WINDOW_START, Analysis, StepFacts
from penstock.analysis.faults import columns_text, type_text
from penstock.analysis.schemas import analyse

__all__ = [
    "WINDOW_END",
    "WINDOW_START",
    "Analysis",
    "StepFacts",
    "analyse",
    "columns_text",
    "to_schema",
    "type_text",
]
