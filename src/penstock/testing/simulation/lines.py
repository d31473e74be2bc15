"""Lines of state: what the state of a flow is by right, worked out again from the plans in the ledger.

A line is one version from one beginning: an empty state, or another line's state after an epoch, made this version's.
Every process works on a line, and so does the ledger. What an epoch wrote must be what the line of the process that
committed it gives for the epoch's plan, and the state in the ledger that of its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.clock import Clock
from penstock.engine import Computation, Computed, Patience, StopSignal, adopt
from penstock.ledger import EpochPlan, EpochRecord, MemoryStateStore, SegmentRef, TableImage
from penstock.testing.simulation.versions import Version, Versions

__all__ = ["Line", "Lines"]


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One version from one beginning. `start`: the epoch of `parent` after which it begins; 0: before the first."""

    number: int
    version: Version
    parent: Line | None = None
    start: int = 0

    def __str__(self) -> str:
        begin = "the beginning" if self.parent is None else f"epoch {self.start} of line {self.parent.number}"
        return f"line {self.number} ({self.version} from {begin})"


@dataclass(slots=True, eq=False)
class _Work:
    """A line as it is worked out, epoch by epoch."""

    computation: Computation
    segments: list[SegmentRef] = field(default_factory=list)
    done: dict[int, Computed] = field(default_factory=dict)


class Lines:
    """Works lines out. `records`: those of the ledger, all that there are."""

    def __init__(self, versions: Versions, clock: Clock, records: list[EpochRecord]) -> None:
        self._versions = versions
        self._clock = clock
        self._records = {record.epoch: record for record in records}
        self._store = MemoryStateStore()
        self._work: dict[int, _Work] = {}

    def computed(self, line: Line, epoch: int) -> Computed:
        """What an epoch comes to by right. Raises what epochs raise."""
        work = self._work.get(line.number) or self._begun(line)
        while work.computation.epoch < epoch:
            record = self._records[work.computation.epoch + 1]
            computed = work.computation.run(record.plan)
            work.done[record.epoch] = computed
            if computed.state:
                work.segments.append(self._store.write(record.epoch, record.epoch, computed.state))
        return work.done[epoch]

    def state(self, line: Line, epoch: int) -> Mapping[str, TableImage]:
        """The state after an epoch by right."""
        if epoch > line.start:
            self.computed(line, epoch)
        work = self._work.get(line.number) or self._begun(line)
        return self._store.load([ref for ref in work.segments if ref.last <= epoch])

    def due(self, line: Line, epoch: int) -> int | None:
        """When the line wants an epoch after `epoch` without any rows."""
        self.computed(line, epoch)
        return self._work[line.number].computation.due_us()

    def close(self) -> None:
        """Let go of everything."""
        for work in self._work.values():
            work.computation.close()
            work.computation.assembly.close()

    def _begun(self, line: Line) -> _Work:
        version, flow = line.version, line.version.definition.name
        patience = Patience(flow, self._clock, StopSignal(), 0, lambda _: None)
        computation = Computation(
            self._versions.assembled(version),
            version.name,
            clock=self._clock,
            patience=patience,
            probe=lambda _point, _epoch: None,
        )
        computation.names_of = self._versions.renames
        for one in self._versions.all:
            computation.learn(one.name)
        work = _Work(computation)
        images: Mapping[str, TableImage] = {}
        if line.parent is not None and line.start:
            images = adopt(self.state(line.parent, line.start), computation.assembly.program).images
            record = self._records[line.start]
            tables = [image.as_change() for image in images.values()]
            if tables:
                work.segments.append(self._store.write(0, line.start, tables, whole=True))
            computation.restore(images, record)
        self._work[line.number] = work
        return work


def named_ranges(plan: EpochPlan, version: Version) -> Mapping[str, Mapping[str, object]]:
    """The ranges of a plan by dataset."""
    return {version.inputs[step]: entry for step, entry in plan.ranges.items() if step in version.inputs}
