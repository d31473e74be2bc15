"""The contract of the ledger: the facts of a flow, and the one order in which they become durable.

`Ledger.claim` gives a generation and fences all older ones. Then, for each epoch: its *plan* is durable before it
runs, its *record* once, together with the plan of the next one, its dead letters and the reference of its state delta.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.ledger.operations import Operations

__all__ = [
    "DeadLetter",
    "EpochPlan",
    "EpochRecord",
    "FlowFacts",
    "Ledger",
    "LetterCounts",
    "Member",
    "Resume",
    "Rewrite",
    "Savepoint",
    "SegmentRef",
    "Standing",
    "Takeover",
]


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """What an epoch will read, decided once: running it again reads the same.

    `ranges`: source step -> {"start": offsets, "end": offsets}. `now_us`: the processing time of all its rows.
    `seed`: for chance inside the epoch. `final`: the input ends here; watermarks go to the end of time after it.
    `redrive`: dead letters that get another try in this epoch, in the order in which they fell: {"letter": id, "epoch"
    (of its fall), "step", "payload"}.
    """

    epoch: int
    ranges: Mapping[str, Mapping[str, Any]]
    now_us: int
    seed: int
    final: bool = False
    redrive: Sequence[Mapping[str, Any]] = ()


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
    by phase (read, run, write, state; commit: what the commit before took, for this one's is not over yet). `checks`:
    expectation -> {"passed", "failed"}. `segment` is None where no state changed. `bytes_in`/`bytes_out`: as Arrow in
    memory, by source step / by sink step. `steps`: step -> {"ms", "in", "out"}, time and rows as far as they are known.
    `metrics`: what the author's own metrics came to in this epoch (`penstock.flow.Recorder`).
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
    bytes_in: Mapping[str, int] = field(default_factory=dict)
    bytes_out: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LetterCounts:
    """Dead letters of a flow that are open: how many by class of error, and the epoch in which the oldest one fell."""

    open_by_error: Mapping[str, int] = field(default_factory=dict)
    oldest_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row (or a record that never became one) that a step could not process.

    `offset` is as exact as it could be found: {"source", "partition", "offset"} or {"source", "start", "end"}.
    `payload` is the row as JSON text, or the raw record. `signature` groups letters of one cause: it holds no values.
    `status`: `open`; `redriven` (a later epoch took it: `detail` says which); `dropped` (a person gave it up); `undone`
    (an undo took its epoch back).
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
    status: str = "open"
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Epochs that are being written anew: an undo between its fence and its end.

    The sinks' epochs >= `first` are being replaced by those of `version`, from the state of `savepoint` on. `upto` is
    the last epoch that was committed when the old version was fenced. Whoever claims the flow meanwhile must finish it.
    """

    id: str
    first: int
    upto: int
    version: str
    savepoint: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Savepoint:
    """The state of a flow after `epoch`, as a list of files that are kept while the savepoint is there.

    Making one copies nothing: it names files that are there. `version`: whose state it is. `pinned`: somebody needs it
    (a follower); thinning out leaves it alone. `segments` fold to the state.
    """

    id: str
    epoch: int
    version: str
    segments: Sequence[SegmentRef]
    made_us: int
    why: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Takeover:
    """What a process that followed a flow brings when it takes the flow over.

    `expected`: the generation that it followed; where another one leads by now, the takeover is refused. `epoch`: the
    last epoch whose state it holds. `segments`: its own branch of the state, as files that hold the state after
    `state_epoch` (at most the last committed one; the rest comes with the next commit); None where its state is that of
    the ledger (a standby of the same version). `rewrite`: what it will write anew; the ledger sets its `upto`, and the
    files come with `finish_rewrite`. `undos`, `branch`: as the flow stood (`Standing`) when it began to follow. Where
    another undo has ended since, the history that it followed is gone; where the line of state is another one, that of
    a standby is not the ledger's any more: the takeover is refused.
    """

    expected: int
    epoch: int
    state_epoch: int = 0
    segments: Sequence[SegmentRef] | None = None
    rewrite: Rewrite | None = None
    undos: int | None = None
    branch: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a flow stands now, as one cheap read: what a follower and a leader without work look at.

    `branch` counts the changes of the line of state; `rewrite` is set while an undo is under way, and `undos` counts
    those that ended: a follower of the old history stops where either changes.
    """

    generation: int
    version: str
    holder: str
    last_epoch: int
    planned: EpochPlan | None = None
    branch: int = 0
    undos: int = 0
    rewrite: Rewrite | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a flow stands: its last committed epoch, the plan that may have begun after it, and its state files.

    `state_epoch`: the files hold the state after this epoch. Where it is less than the last epoch, a takeover was
    interrupted: the epochs between are run again for their state alone. `undos`: how many have ended.
    """

    generation: int
    last: EpochRecord | None = None
    planned: EpochPlan | None = None
    segments: Sequence[SegmentRef] = ()
    state_epoch: int = 0
    rewrite: Rewrite | None = None
    undos: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """One process that runs a flow, leading or following. What others wish of it, and what it tells of itself.

    `wish` and `facts` are JSON values. `started`: when the process began, as the system counts it (a process id may be
    given again). `ended_us`: None while it is believed to be there.
    """

    id: str
    flow: str
    version: str
    pid: int
    host: str
    started: str
    wish: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    joined_us: int = 0
    facts_us: int = 0
    ended_us: int | None = None
    ended: str = ""


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
    def claim(self, flow: str, *, version: str, holder: str, after: int | None = None) -> Resume:
        """Become the newest generation of `flow` and learn where it stands; older ones are fenced from now on.

        `after`: the generation that led when somebody decided that this process should lead. Where another version
        leads as a newer one, that was decided too, and later: raises FlowBusy.
        """

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
    def open_dead_letters(self, flow: str) -> LetterCounts:
        """What is open among them, counted."""

    @abstractmethod
    def request_redrive(self, flow: str, letters: Sequence[tuple[int, str | None]]) -> int:
        """Ask for another try of open letters: (id, edited payload or None). Gives how many are waiting now.

        The leader puts them into the plan of a later epoch (`EpochPlan.redrive`), whose commit makes them `redriven` in
        the same transaction. A letter that waits already keeps its place and gets the new payload.
        """

    @abstractmethod
    def waiting_redrives(self, flow: str, *, limit: int = 10_000) -> Sequence[Mapping[str, Any]]:
        """What waits and is in no plan yet, as `EpochPlan.redrive` takes it, by letter."""

    @abstractmethod
    def drop_dead_letters(self, flow: str, letters: Sequence[int], detail: Mapping[str, Any]) -> int:
        """Give up open letters; `detail` says who and why. Gives how many."""

    @abstractmethod
    def flows(self) -> Sequence[FlowFacts]:
        """All flows that ever ran in this environment, by name."""

    # --- handing over -------------------------------------------------------------------------------------------------

    @abstractmethod
    def standing(self, flow: str) -> Standing | None:
        """Where the flow stands; None where nobody ever claimed it. One read of one row."""

    @abstractmethod
    def take_over(self, flow: str, *, version: str, holder: str, takeover: Takeover) -> Resume:
        """Become the newest generation with a state of one's own: one transaction fences, and swaps the state's files.

        The files that were live become a savepoint of the old version. With `takeover.rewrite` the live files stay
        until `finish_rewrite`. Raises FlowBusy where another generation than `expected` leads (production changed).
        """

    @abstractmethod
    def finish_rewrite(
        self,
        flow: str,
        generation: int,
        rewrite: Rewrite,
        records: Sequence[EpochRecord],
        segments: Sequence[SegmentRef],
        *,
        dead: Sequence[DeadLetter] = (),
    ) -> None:
        """Put `records` in the place of the epochs `rewrite.first`..`rewrite.upto`, in one transaction. Raises Fenced.

        The old records stay readable (`undone_epochs`), their dead letters get the status `undone`, savepoints after
        `first - 1` go. The plan of the next epoch stays. Done already (the same rewrite id) is accepted. Each record
        has the plan of the one in whose place it comes, `without_undone` letters.
        """

    @abstractmethod
    def undone_epochs(self, flow: str, *, rewrite: str | None = None) -> Sequence[tuple[Rewrite, EpochRecord]]:
        """The records that undos put aside, oldest undo first."""

    @abstractmethod
    def savepoint(self, flow: str, *, why: str, pinned: bool = False, of: str | None = None) -> Savepoint:
        """Name the state as it is after the last committed epoch. Raises LedgerError where nothing was committed.

        `of`: name the state of this savepoint once more, so that it stays for as long as whoever asks needs it. Raises
        LedgerError where that is gone.
        """

    @abstractmethod
    def savepoints(self, flow: str) -> Sequence[Savepoint]:
        """All savepoints, by epoch, older ones of an epoch first."""

    @abstractmethod
    def drop_savepoints(self, flow: str, ids: Sequence[str]) -> None:
        """Let go of savepoints; files that nothing names any more are pruned by the leader. Unknown ids are fine.

        The one that an undo under way began from stays: whoever has to finish the undo begins there.
        """

    @property
    @abstractmethod
    def operations(self) -> Operations:
        """What is wished of the environment's flows, and done with them."""

    # --- members: wishes go down, facts go up -------------------------------------------------------------------------

    @abstractmethod
    def join(self, member: Member) -> None:
        """Note a process of a flow. The same id again replaces what was noted."""

    @abstractmethod
    def wish(self, flow: str, member: str, wish: Mapping[str, Any]) -> None:
        """Say what a process should be and do: it looks between two epochs. Replaces the last wish."""

    @abstractmethod
    def wish_of(self, flow: str, member: str) -> Mapping[str, Any]:
        """What is wished of a process. One read of one row."""

    @abstractmethod
    def tell(self, flow: str, member: str, facts: Mapping[str, Any]) -> None:
        """Say what a process is and does. Replaces its last facts; nothing changes where it has ended."""

    @abstractmethod
    def leave(self, flow: str, member: str, ended: str) -> None:
        """Note that a process has ended, and how."""

    @abstractmethod
    def members(self, flow: str | None = None, *, ended: bool = False) -> Sequence[Member]:
        """The processes that are believed to be there; with `ended`, the last hundred that are not, too."""

    @abstractmethod
    def forget_flow(self, flow: str) -> None:
        """Drop every fact of a flow but its generation, so that it starts from the beginning (`run --reset`)."""

    @abstractmethod
    def roll_up(self, flow: str, before_epoch: int) -> int:
        """Move the records of older epochs to Parquet beside the ledger; gives how many. They stay readable there."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""
