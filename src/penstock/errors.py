"""The one error tree: what happened, where, what state is left, whether it heals, and the next command."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = [
    "CheckFailed",
    "ConfigError",
    "ConnectorError",
    "CorruptState",
    "CorruptVersion",
    "DefinitionError",
    "Fenced",
    "FlowBusy",
    "LedgerError",
    "MigrationFailed",
    "PenstockError",
    "QueryError",
    "SchemaError",
    "StepFailed",
    "did_you_mean",
]


class PenstockError(Exception):
    """Base of every error that Penstock raises on purpose.

    Shapes: `code` is stable and documented (`docs/errors.md`); `where` names flow, step, epoch or file;
    `state_left` says what is on disk now; `heals` tells whether trying again can succeed without a change;
    `hint` is the next command or edit.
    """

    code = "penstock"
    heals = False

    def __init__(
        self,
        message: str,
        *,
        flow: str | None = None,
        step: str | None = None,
        epoch: int | None = None,
        state_left: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.flow = flow
        self.step = step
        self.epoch = epoch
        self.state_left = state_left
        self.hint = hint

    @property
    def where(self) -> str:
        """The flow, step and epoch in one phrase, or an empty string."""
        parts = (("flow", self.flow), ("step", self.step), ("epoch", self.epoch))
        return ", ".join(f"{name} {value}" for name, value in parts if value is not None)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.state_left:
            lines.append(f"  state: {self.state_left}")
        if self.hint:
            lines.append(f"  next:  {self.hint}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """The error as plain JSON values, for `--json` and the API."""
        return {
            "code": self.code,
            "message": self.message,
            "flow": self.flow,
            "step": self.step,
            "epoch": self.epoch,
            "state_left": self.state_left,
            "heals": self.heals,
            "hint": self.hint,
        }


class DefinitionError(PenstockError):
    """The flow as written can't be built: a cycle, two writers of one table, unnamed state."""

    code = "definition"


class SchemaError(DefinitionError):
    """A step names a column that is not there, or uses it with a type that does not fit."""

    code = "schema"


class ConfigError(PenstockError):
    """`penstock.toml`, an option or a binding is wrong."""

    code = "config"


class CorruptVersion(PenstockError):
    """The files of a version are not those that it was made of."""

    code = "corrupt-version"


class MigrationFailed(PenstockError):
    """The state of one version can't become that of another: it does not fit, or the author's function failed."""

    code = "migration"


class QueryError(PenstockError):
    """A query or a filter is wrong, wants to change something, or takes too long.

    `start`, `end`: which characters of the filter are wrong, where that is known.
    """

    code = "query"
    start: int | None = None
    end: int | None = None

    def as_dict(self) -> dict[str, object]:
        """As of every error, and with `start` and `end` where they are known."""
        place = {} if self.start is None else {"start": self.start, "end": self.end}
        return {**super().as_dict(), **place}


class ConnectorError(PenstockError):
    """A source or a sink can't do what was asked; usually the system behind it is away."""

    code = "connector"
    heals = True


class LedgerError(PenstockError):
    """The ledger can't be read or written (disk full, locked, lost)."""

    code = "ledger"
    heals = True


class Fenced(LedgerError):
    """A newer generation runs this flow; this process must stop and must not write."""

    code = "fenced"
    heals = False


class FlowBusy(LedgerError):
    """Another live process runs this flow in this environment."""

    code = "busy"
    heals = True


class CorruptState(LedgerError):
    """A state file does not have the length or checksum that the ledger recorded for it."""

    code = "corrupt-state"
    heals = False


class StepFailed(PenstockError):
    """A step failed in a way that no single row explains."""

    code = "step"


class CheckFailed(PenstockError):
    """An expectation with `on_fail="stop"` was not met; the epoch was not committed."""

    code = "check"


def did_you_mean(word: str, choices: Sequence[str]) -> str:
    """Give ` Did you mean 'x'?` for the closest of `choices`, or an empty string."""
    close = get_close_matches(word, choices, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
