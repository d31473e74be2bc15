"""How the process of a flow ends: its exit code says why."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.errors import (
    CheckFailed,
    ConfigError,
    ConnectorError,
    DefinitionError,
    Fenced,
    LedgerError,
    PenstockError,
    StepFailed,
)

__all__ = ["EXIT_CODES", "exit_code_of"]

EXIT_CODES: Mapping[int, str] = {
    0: "stopped as asked, or the input has ended",
    3: "fenced, and told not to follow",
    10: "the flow as written, or the project, is wrong",
    11: "a step or a check failed",
    12: "the ledger, a source or a sink failed",
    70: "a bug in Penstock",
}
_KINDS: tuple[tuple[type[PenstockError], int], ...] = (
    (Fenced, 3),
    (ConfigError, 10),
    (DefinitionError, 10),
    (StepFailed, 11),
    (CheckFailed, 11),
    (ConnectorError, 12),
    (LedgerError, 12),
)


def exit_code_of(error: PenstockError) -> int:
    """How a process ends that can't go on for this error: one of `EXIT_CODES`."""
    return next((code for kind, code in _KINDS if isinstance(error, kind)), 12)
