"""What a driver needs of the machine: processes, spills, and answers that only the author's code can give.

All else it takes from the ledger. A test gives it a world of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.connect import Change
from penstock.ledger import EpochRecord, Member

__all__ = ["Comparison", "Evidence", "Launch", "Outputs", "World"]


@dataclass(frozen=True, slots=True)
class Launch:
    """A process that is to follow: which version, from which savepoint, and with which first wish.

    `owner`, `part`: the deployment that it is for, and what it is there. `record_from`: the epochs from here on are
    remembered for an undo.
    """

    flow: str
    version: str
    owner: str
    part: str
    savepoint: str
    wish: Mapping[str, Any]
    record_from: int | None = None


class Outputs(Protocol):
    """What a member computed for the sinks, as far as it is kept (`penstock.engine.SpillReader`)."""

    def epochs(self) -> Sequence[int]:
        """The complete epochs, in order."""
        ...

    def read(self, epoch: int) -> Mapping[str, Change]:
        """What an epoch had for each sink. Raises KeyError, OSError."""
        ...


class Comparison(Protocol):
    """Compares what two versions wrote, epoch by epoch."""

    def feed(self, epoch: int, old: Mapping[str, Change], new: Mapping[str, Change]) -> None:
        """Take in one epoch of both."""
        ...

    def report(self) -> Mapping[str, Any]:
        """The difference so far, as JSON values."""
        ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a judgement rests on. `facts`: those of the deployment. `diff`: a report of a `Comparison`.

    `old`, `new`: both members. `approve`: who says yes, as `Approve.by`. `before`: records of the old version, at the
    gate those of the epochs that the new one has done too; `since`: records since the cut, at `cut_us`.
    """

    flow: str
    old_version: str
    new_version: str
    now_us: int
    facts: Mapping[str, Any]
    diff: Mapping[str, Any] | None = None
    old: Member | None = None
    new: Member | None = None
    approve: str = "policy"
    before: Sequence[EpochRecord] = field(default=())
    since: Sequence[EpochRecord] = field(default=())
    cut_us: int | None = None


class World(Protocol):
    """The machine, as a driver sees it. Every call returns at once."""

    def start(self, launch: Launch) -> None:
        """Start a process; it is in the ledger on return. Raises PenstockError where it can't be started."""
        ...

    def kill(self, member: Member) -> None:
        """End a process that did not stop when it was asked to. Nothing happens where it is gone."""
        ...

    def chore(self, key: str, job: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What a throwaway process answers; None while it works. Begun where nobody began it (`key` says which).

        An answer has `ok`; where that is False, `error` as `PenstockError.as_dict`.
        """
        ...

    def drop_chore(self, key: str) -> None:
        """Nobody wants the answer any more."""
        ...

    def verdict(self, flow: str, old: str, new: str) -> Mapping[str, Any]:
        """Whether the state of one version can become another's: `compatible`, `reasons`, and what else is known."""
        ...

    def outputs(self, member: Member) -> Outputs | None:
        """What a member computed; None where it keeps nothing."""
        ...

    def comparison(self, flow: str, old: str, new: str) -> Comparison:
        """A new comparison of two versions' outputs."""
        ...

    def judge(self, evidence: Evidence) -> Mapping[str, Any]:
        """Whether a cut may be made by the policy: `passed`, `reasons`, `needs_person`, and what else is known."""
        ...

    def judge_watch(self, evidence: Evidence) -> Mapping[str, Any]:
        """Whether the new version does as well as the old one did: `passed`, `reasons`."""
        ...
