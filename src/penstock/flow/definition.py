"""The definition of a flow: a frozen list of named steps in an order in which inputs come first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.flow.migrations import Migration, Rename
from penstock.flow.ops import Operation, Read, Write

__all__ = ["Definition", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its stable name, what it does, the steps whose rows it takes, and where the author wrote it."""

    name: str
    operation: Operation
    inputs: tuple[str, ...] = ()
    location: str = ""
    named_by_author: bool = True
    """False where the name follows only from the step's place: good enough for a filter, not for state."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A whole flow as a value. `freshness_us`: how old the newest result may be; None: no objective.

    `renames`, `migrations`: what the author says of the state of versions before this one.
    """

    name: str
    steps: tuple[Step, ...]
    owner: str = ""
    description: str = ""
    freshness_us: int | None = None
    align_us: int | None = None
    epoch_rows: int | None = None
    epoch_ms: int | None = None
    file: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    renames: tuple[Rename, ...] = ()
    migrations: tuple[Migration, ...] = ()

    def step(self, name: str) -> Step:
        """The step of this name. Raises KeyError."""
        return {step.name: step for step in self.steps}[name]

    @property
    def reads(self) -> tuple[Step, ...]:
        """The steps that read."""
        return tuple(step for step in self.steps if isinstance(step.operation, Read))

    @property
    def writes(self) -> tuple[Step, ...]:
        """The steps that write."""
        return tuple(step for step in self.steps if isinstance(step.operation, Write))

    def consumers(self, name: str) -> tuple[Step, ...]:
        """The steps that take the rows of step `name`."""
        return tuple(step for step in self.steps if name in step.inputs)
