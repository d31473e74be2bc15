"""The contract of the ledger: the facts of a flow, and the one order in which they become durable.

`Ledger.claim` gives a generation and fences all older ones. Then, for each epoch: its *plan* is durable before it
runs, its *record* once, together with the plan of the next one, its dead letters and the reference of its state delta.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DeadLetter", "EpochPlan", "EpochRecord", "FlowFacts", "Ledger", "Resume", "SegmentRef"]


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """What an epoch will read, decided once: running it again reads the same.

    `ranges`: source step -> {"start": offsets, "end": offsets}. `now_us`: the processing time of all its rows.
    `seed`: for chance inside the epoch. `final`: the input ends here; watermarks go to the end of time after it.
    """

    epoch: int
    ranges: Mapping[str, Mapping[str, Any]]
    now_us: int
    seed: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """One immutable file of state that covers the epochs first..last (inclusive).

    A segment with `first == 0` is a whole state, the others are changes to be folded on it in order. `crc32` is of the
    whole file.
    """

    first: int
    last: int
    file: str
    size_bytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What became of an epoch. Written once, never edited.

    `watermarks_us`: source step -> {partition: highest event time seen}, and whatever else the planner must know
    again after a restart. `rows_in`/`rows_out`: by source step / by sink step. `receipts`: by sink step. `timings_ms`:
    by phase (read, run, write, state, commit). `checks`: expectation -> {"passed", "failed"}. `segment` is None where
    no state changed.
    """

    epoch: int
    generation: int
    version: str
    plan: EpochPlan
    watermark_us: int | None = None
    watermarks_us: Mapping[str, Any] = field(default_factory=dict)
    rows_in: Mapping[str, int] = field(default_factory=dict)
    rows_out: Mapping[str, int] = field(default_factory=dict)
    rows_late: int = 0
    rows_dead: int = 0
    checks: Mapping[str, Any] = field(default_factory=dict)
    receipts: Mapping[str, Any] = field(default_factory=dict)
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    segment: SegmentRef | None = None
    committed_us: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row (or a record that never became one) that a step could not process.

    `offset` is as exact as it could be found: {"source", "partition", "offset"} or {"source", "start", "end"}.
    `payload` is the row as JSON text, or the raw record. `signature` groups letters of one cause: it holds no values.
    """

    epoch: int
    step: str
    error: str
    message: str
    signature: str
    payload: str
    offset: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a flow stands: its last committed epoch, the plan that may have begun after it, and its state files."""

    generation: int
    last: EpochRecord | None = None
    planned: EpochPlan | None = None
    segments: Sequence[SegmentRef] = ()


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """One flow of an environment as the ledger knows it."""

    flow: str
    generation: int
    holder: str
    version: str
    last_epoch: int | None
    committed_us: int | None


class Ledger(ABC):
    """The facts of all flows of one environment."""

    @abstractmethod
    def claim(self, flow: str, *, version: str, holder: str) -> Resume:
        """Become the newest generation of `flow` and learn where it stands; older ones are fenced from now on."""

    @abstractmethod
    def plan(self, flow: str, generation: int, plan: EpochPlan) -> None:
        """Make the plan of the next epoch durable. Raises Fenced, LedgerError."""

    @abstractmethod
    def commit(
        self,
        flow: str,
        record: EpochRecord,
        *,
        next_plan: EpochPlan | None = None,
        dead: Sequence[DeadLetter] = (),
    ) -> None:
        """Make an epoch a fact, in one transaction with all that belongs to it. Raises Fenced, LedgerError.

        The epoch must be the one after the last committed (asserted); its plan must be the planned one.
        """

    @abstractmethod
    def replace_segments(self, flow: str, generation: int, old: Sequence[SegmentRef], new: SegmentRef | None) -> None:
        """Put one merged segment in the place of several (compaction). Raises Fenced."""

    @abstractmethod
    def segments(self, flow: str) -> Sequence[SegmentRef]:
        """The state files of a flow, in the order of their epochs, without gaps or overlaps among live ones."""

    @abstractmethod
    def epochs(
        self, flow: str, *, first: int = 0, last: int | None = None, limit: int | None = None, newest: bool = False
    ) -> Sequence[EpochRecord]:
        """Records in the order of their epochs; with `newest`, the last `limit` of them."""

    @abstractmethod
    def dead_letters(self, flow: str, *, first: int = 0, limit: int = 1000) -> Sequence[DeadLetter]:
        """Dead letters in the order in which they fell."""

    @abstractmethod
    def count_dead_letters(self, flow: str) -> int:
        """How many there are."""

    @abstractmethod
    def flows(self) -> Sequence[FlowFacts]:
        """All flows that ever ran in this environment, by name."""

    @abstractmethod
    def forget_flow(self, flow: str) -> None:
        """Drop every fact of a flow but its generation, so that it starts from the beginning (`run --reset`)."""

    @abstractmethod
    def roll_up(self, flow: str, before_epoch: int) -> int:
        """Move the records of older epochs to Parquet beside the ledger; gives how many. They stay readable there."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""
