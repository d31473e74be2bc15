"""The stages of a handover as small values. A plan is a list of them: made without side effects, compared by tests,
kept in the ledger as JSON, printed by `penstock plan`, carried out by the driver.

A value says what is to be done, never how far it is: that is in the facts of the deployment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeAlias

from penstock.errors import LedgerError
from penstock.flow import duration_text

__all__ = [
    "STAGES",
    "Approve",
    "CatchUp",
    "Check",
    "Compare",
    "Corrections",
    "Cut",
    "Follow",
    "Gate",
    "Hold",
    "Into",
    "Keep",
    "Receipt",
    "Retire",
    "Savepoint",
    "Shadow",
    "Stage",
    "Start",
    "Verdict",
    "Watch",
    "plan_from_json",
    "plan_to_json",
    "short",
]

SHORT = 12


def short(version: str) -> str:
    """A version id as people see it."""
    return version[:SHORT] or "(none)"


@dataclass(frozen=True, slots=True)
class Check:
    """The new version imports, builds, fits its columns and is bound: in a process that is thrown away.

    `input_from`: also look whether the sources still give the ranges of the epochs from this one on.
    """

    name: ClassVar[str] = "check"
    version: str
    input_from: int | None = None

    def text(self) -> str:
        """What it does, in a line."""
        also = "" if self.input_from is None else f"; is the input from epoch {self.input_from:,} on still there"
        return f"import, build and bind {short(self.version)} in a process of its own{also}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the state of the old version can become that of the new one. Refused here, nothing has stopped."""

    name: ClassVar[str] = "verdict"
    old: str
    new: str

    def text(self) -> str:
        """What it does, in a line."""
        return f"can the state of {short(self.old)} become that of {short(self.new)}"


@dataclass(frozen=True, slots=True)
class Hold:
    """Sources forget nothing from here on, and the leader keeps a copy of what it writes."""

    name: ClassVar[str] = "hold"

    def text(self) -> str:
        """What it does, in a line."""
        return "let sources forget nothing; the leader keeps a copy of what it writes"


@dataclass(frozen=True, slots=True)
class Savepoint:
    """The state to start from, kept as long as it is needed: as it is now, or an old restore point (`id`, `epoch`)."""

    name: ClassVar[str] = "savepoint"
    id: str | None = None
    epoch: int | None = None

    def text(self) -> str:
        """What it does, in a line."""
        if self.epoch == 0:
            return "start from nothing: no restore point is that old, the whole input is read again"
        return "name the state as it is now" if self.id is None else f"keep the restore point of epoch {self.epoch:,}"


@dataclass(frozen=True, slots=True)
class Follow:
    """A process of `version` starts from the savepoint, moves a copy of the state, and runs the same epochs hidden.

    `until`: it stops after this epoch (a replay). `beside`: a second version does the same, to compare with.
    """

    name: ClassVar[str] = "follow"
    version: str
    until: int | None = None
    beside: str | None = None

    def text(self) -> str:
        """What it does, in a line."""
        upto = "" if self.until is None else f" up to epoch {self.until:,}"
        return f"start {short(self.version)} on a copy of the state; it runs the same epochs{upto} and writes nowhere"


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Wait until it is as far as the leader. Given up where it comes no nearer for `stalled_s`."""

    name: ClassVar[str] = "catch-up"
    stalled_s: float = 300.0

    def text(self) -> str:
        """What it does, in a line."""
        return "let it run all epochs that were committed since"


@dataclass(frozen=True, slots=True)
class Shadow:
    """Compare what both wrote, until so many `epochs` or `seconds` are over, whichever comes first (None: no limit)."""

    name: ClassVar[str] = "shadow"
    epochs: int | None = None
    seconds: float | None = None

    def text(self) -> str:
        """What it does, in a line."""
        epochs = "" if self.epochs is None else f"{self.epochs:,} epochs"
        seconds = "" if self.seconds is None else duration_text(round(self.seconds * 1e6))
        return f"compare the rows of both versions for {' or '.join(part for part in (epochs, seconds) if part)}"


@dataclass(frozen=True, slots=True)
class Gate:
    """Judge rows, checks, errors and speed. `force`: go on where the verdict is bad; `why` is then in the receipt."""

    name: ClassVar[str] = "gate"
    force: bool = False
    why: str = ""

    def text(self) -> str:
        """What it does, in a line."""
        return f"judge rows, checks, errors and speed{' (forced through: ' + self.why + ')' if self.force else ''}"


@dataclass(frozen=True, slots=True)
class Approve:
    """Somebody says yes, within `within_s`. `by`: always a `person`; a person only where the gate found `differences`
    that the policy does not allow; or the `policy` alone, which then says no.
    """

    name: ClassVar[str] = "approve"
    by: str = "person"
    within_s: float = 86_400.0

    def text(self) -> str:
        """What it does, in a line."""
        asked = {"policy": "the policy says yes or no", "differences": "a person is asked where the policy says no"}
        return asked.get(self.by, "a person looks at the gate and says yes")


@dataclass(frozen=True, slots=True)
class Cut:
    """Between two epochs the follower becomes the leader.

    `expected_version`, `expected_generation`: what led when the plan was made; where that changed, the plan is refused.
    `rewrite_first`: the epochs from this one on are written anew (an undo).
    """

    name: ClassVar[str] = "cut"
    version: str
    expected_version: str
    expected_generation: int
    rewrite_first: int | None = None

    def text(self) -> str:
        """What it does, in a line."""
        if self.rewrite_first is None:
            return f"{short(self.version)} leads from the next epoch on; {short(self.expected_version)} is fenced"
        return (
            f"{short(self.version)} leads; all that was written from epoch {self.rewrite_first:,} on is taken back and "
            "written anew"
        )


@dataclass(frozen=True, slots=True)
class Corrections:
    """Sinks that take nothing back got corrections, marked as such; `left`: those that can't even do that."""

    name: ClassVar[str] = "corrections"
    sinks: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def text(self) -> str:
        """What it does, in a line."""
        sent = f"corrections go to {', '.join(self.sinks)}" if self.sinks else ""
        left = f"{', '.join(self.left)} can't be corrected" if self.left else ""
        return "; ".join(part for part in (sent, left) if part) or "none are needed"


@dataclass(frozen=True, slots=True)
class Watch:
    """The old version runs on hidden; the new one is watched, and cut back by itself where it does worse."""

    name: ClassVar[str] = "watch"
    seconds: float = 60.0

    def text(self) -> str:
        """What it does, in a line."""
        span = duration_text(round(self.seconds * 1e6))
        return f"keep the old version warm for {span}; roll back by itself where the new one does worse"


@dataclass(frozen=True, slots=True)
class Retire:
    """Stop whom nobody needs any more; let sources forget again; let go of the savepoint."""

    name: ClassVar[str] = "retire"

    def text(self) -> str:
        """What it does, in a line."""
        return "stop the processes that are not needed any more, release what was held"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What it came to, for ever in the ledger."""

    name: ClassVar[str] = "receipt"

    def text(self) -> str:
        """What it does, in a line."""
        return "pause, epochs, rows, differences, who, when, why"


@dataclass(frozen=True, slots=True)
class Start:
    """Nothing is to be handed over (the flow never ran): say that `version` is wanted, and see it lead."""

    name: ClassVar[str] = "start"
    version: str

    def text(self) -> str:
        """What it does, in a line."""
        return f"start {short(self.version)}: the flow never ran here"


@dataclass(frozen=True, slots=True)
class Compare:
    """A replay: what the version would have written in these epochs beside what was written then."""

    name: ClassVar[str] = "compare"
    first: int
    last: int

    def text(self) -> str:
        """What it does, in a line."""
        return f"compare epochs {self.first:,}..{self.last:,} with what was written then"


@dataclass(frozen=True, slots=True)
class Keep:
    """A replay: the rows as Parquet files in a folder."""

    name: ClassVar[str] = "keep"
    first: int
    last: int
    folder: str

    def text(self) -> str:
        """What it does, in a line."""
        return f"write the rows as Parquet to {self.folder}"


@dataclass(frozen=True, slots=True)
class Into:
    """A replay: the rows to the tables of another environment, as epochs of a flow of its own, each once."""

    name: ClassVar[str] = "into"
    first: int
    last: int
    environment: str
    flow: str

    def text(self) -> str:
        """What it does, in a line."""
        return f"write them to the tables of {self.environment}, as flow {self.flow}"


Stage: TypeAlias = (
    Check
    | Verdict
    | Hold
    | Savepoint
    | Follow
    | CatchUp
    | Shadow
    | Gate
    | Approve
    | Cut
    | Corrections
    | Watch
    | Retire
    | Receipt
    | Start
    | Compare
    | Keep
    | Into
)

STAGES: Mapping[str, type[Stage]] = {
    kind.name: kind
    for kind in (
        *(Check, Verdict, Hold, Savepoint, Follow, CatchUp, Shadow, Gate, Approve, Cut, Corrections),
        *(Watch, Retire, Receipt, Start, Compare, Keep, Into),
    )
}
"""Every kind of stage by its name."""


def plan_to_json(plan: Sequence[Stage]) -> list[dict[str, Any]]:
    """A plan as JSON values, as the ledger keeps it."""
    return [{"stage": stage.name, **_plain(asdict(stage))} for stage in plan]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def plan_from_json(values: Sequence[Mapping[str, Any]]) -> tuple[Stage, ...]:
    """The plan that `plan_to_json` wrote. Fields of a newer version are passed over. Raises LedgerError."""
    return tuple(_stage(value) for value in values)


def _stage(value: Mapping[str, Any]) -> Stage:
    kind = STAGES.get(str(value.get("stage")))
    if kind is None:
        error = LedgerError(
            f"the plan has a stage {value.get('stage')!r}, which this version of Penstock does not know",
            hint=f"known: {', '.join(STAGES)}; a newer Penstock made the plan",
        )
        error.heals = False
        raise error
    known = {field.name for field in fields(kind)}
    given: dict[str, Any] = {
        name: tuple(one) if isinstance(one, list) else one for name, one in value.items() if name in known
    }
    return kind(**given)
