"""What can be KNOWN without running: schemas, lineage, diff of two versions, compatibility verdict."""

from penstock.analysis.declared import to_schema

__all__ = ["to_schema"]
