"""Counts of rows that did not meet expectations, as records of the ledger hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["failed_checks"]


def failed_checks(checks: Mapping[str, Any]) -> dict[str, int]:
    """Rows that failed each expectation, without those that all rows met."""
    counted = {name: int(result.get("failed", 0)) for name, result in checks.items() if isinstance(result, Mapping)}
    return {name: failed for name, failed in counted.items() if failed}
