"""How exactly rows are compared, and in how much memory."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers of a comparison; `penstock.control.gate.differ.Differ` says what they do."""

    tolerance: float = 0.0
    samples_max: int = 5
    rows_max: int = 100_000
    hashes_max: int = 4_000_000
    settle_rows: int = 50_000
