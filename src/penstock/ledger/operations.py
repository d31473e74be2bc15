"""The contract of what is wished of flows and done with them: desired states, versions, deployments, leases, events.

Epochs say what a flow *did*; these say what people and the server want of it and what became of that. All of it is in
the control tables, so a server that died is replaced by one that reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from penstock.ledger.documents import Documents

__all__ = ["Deployment", "DeploymentStatus", "Desired", "Event", "Lease", "Operations", "VersionFacts", "Want"]


class Want(StrEnum):
    """What a flow should be."""

    RUNNING = "running"
    PAUSED = "paused"
    """Its process stays and holds its state, and plans no epoch."""
    DRAINED = "drained"
    """Read what is there, then stop."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be of one flow: which version, in which state, and by whose word.

    `options`: JSON values, such as `schedule` (cron), `standby` (bool), `params`. `changed_us`: when it was said.
    """

    flow: str
    want: Want
    version: str
    options: Mapping[str, Any] = field(default_factory=dict)
    who: str = ""
    why: str = ""
    changed_us: int = 0


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One immutable version of a flow: its id is the hash of what is in it. `manifest`: JSON values, see control."""

    flow: str
    version: str
    manifest: Mapping[str, Any]
    first_us: int = 0


class DeploymentStatus(StrEnum):
    """Where a deployment is. All but `RUNNING` are ends."""

    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    """The gate, or a person, said no; the old version never stopped."""
    FAILED = "failed"
    """It could not be done; the old version leads."""
    ROLLED_BACK = "rolled-back"
    """The cut was made, and taken back."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One handover that somebody asked for, from its plan to its receipt.

    `kind`: deploy, rollback, undo, replay. `plan`: the stages as JSON values, with all their options. `stage`: the
    name of the stage that is under way or was last. `facts`: what the stages found out, JSON values. `receipt`: what
    it came to, once it is over.
    """

    id: str
    flow: str
    kind: str
    old_version: str
    new_version: str
    plan: Sequence[Mapping[str, Any]]
    stage: str = ""
    status: DeploymentStatus = DeploymentStatus.RUNNING
    facts: Mapping[str, Any] = field(default_factory=dict)
    receipt: Mapping[str, Any] = field(default_factory=dict)
    who: str = ""
    why: str = ""
    made_us: int = 0
    ended_us: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, kept for people: who did what to which flow. Never edited."""

    kind: str
    flow: str
    body: Mapping[str, Any]
    who: str = ""
    at_us: int = 0
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to be the one that does something, until `until_us` unless renewed. `fence` grows with each holder."""

    name: str
    holder: str
    fence: int
    until_us: int


class Operations(ABC):
    """Wishes and their outcomes for all flows of one environment. Every method raises LedgerError."""

    @abstractmethod
    def desired(self, flow: str) -> Desired | None:
        """What should be of a flow; None where nobody said."""

    @abstractmethod
    def all_desired(self) -> Sequence[Desired]:
        """What should be, of every flow that somebody said something of; by name."""

    @abstractmethod
    def desire(self, desired: Desired, *, over: int | None = None) -> bool:
        """Say what should be of a flow from now on; an event `desired` notes it.

        `over`: the `changed_us` of the wish that it was made from, 0 where there was none. Where another one was said
        since, nothing is written and this gives False: read again. None: whatever was said.
        """

    @abstractmethod
    def add_version(self, facts: VersionFacts) -> None:
        """Note a version; the same again changes nothing."""

    @abstractmethod
    def version(self, flow: str, version: str) -> VersionFacts | None:
        """A version by its id, or by a beginning of it that only one has."""

    @abstractmethod
    def versions(self, flow: str) -> Sequence[VersionFacts]:
        """All versions of a flow, oldest first."""

    @abstractmethod
    def begin_deployment(self, deployment: Deployment) -> None:
        """Note a deployment that begins. Raises FlowBusy, naming who and which, where one of this flow is running."""

    @abstractmethod
    def advance_deployment(
        self,
        deployment: str,
        *,
        stage: str | None = None,
        facts: Mapping[str, Any] | None = None,
        status: DeploymentStatus | None = None,
        receipt: Mapping[str, Any] | None = None,
    ) -> None:
        """Note how far a deployment is. `facts` are laid over those that are there. A status that ends it, ends it."""

    @abstractmethod
    def deployment(self, deployment: str) -> Deployment | None:
        """One deployment by its id."""

    @abstractmethod
    def deployments(self, flow: str | None = None, *, running: bool = False, limit: int = 100) -> Sequence[Deployment]:
        """Deployments, newest first."""

    @abstractmethod
    def note(self, event: Event) -> None:
        """Keep an event."""

    @abstractmethod
    def events(self, flow: str | None = None, *, kind: str | None = None, limit: int = 100) -> Sequence[Event]:
        """Events, newest first."""

    @abstractmethod
    def lease(self, name: str, holder: str, *, ttl_s: float) -> Lease | None:
        """Take or renew a lease; None where somebody else holds it. Times are the database's own, so clocks may differ.

        (SQLite: the clock of this machine.)
        """

    @abstractmethod
    def release(self, name: str, holder: str) -> None:
        """Give a lease back."""

    @property
    @abstractmethod
    def documents(self) -> Documents:
        """Small things with a name that people and the server keep."""
