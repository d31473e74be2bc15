"""The named points in the life of an epoch at which a process may die; each has a row in ARCHITECTURE.md and a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["HANDOVER_POINTS", "POINTS", "Probe", "nothing"]

POINTS = (
    "claimed",
    "loaded",
    "planned",
    "read",
    "ran",
    "before-write",
    "after-write",
    "state-written",
    "before-commit",
    "committed",
    "forgotten",
    "compacted",
)
"""In the order in which they are passed. `before-write` and `after-write` are passed for each sink."""

HANDOVER_POINTS = (
    "flushed",
    "taken-over",
    "rewritten",
    "rewrite-finished",
    "sinks-open",
)
"""In a takeover, in their order; `rewritten` (for each sink) and `rewrite-finished` only where it is an undo."""

Probe: TypeAlias = Callable[[str, int], None]
"""Called with a point and the number of the epoch; for tests and chaos, which freeze or kill the process there."""


def nothing(point: str, epoch: int) -> None:
    """The probe of an ordinary run."""
