"""From what is and what is asked to a plan: pure, so that it can be printed, compared and tested.

What is: `Situation`, read once from the ledger. What is asked: `Deploy`, `Rollback`, `Undo` or `Replay`. How: `Manner`,
made of the environment's policy and a person's options.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from penstock.control.rollouts.stages import (
    Approve,
    CatchUp,
    Check,
    Compare,
    Corrections,
    Cut,
    Follow,
    Gate,
    Hold,
    Into,
    Keep,
    Receipt,
    Retire,
    Savepoint,
    Shadow,
    Stage,
    Start,
    Verdict,
    Watch,
)
from penstock.errors import ConfigError
from penstock.ledger import Savepoint as RestorePoint
from penstock.ledger import Standing

__all__ = [
    "Ask",
    "Deploy",
    "Hidden",
    "Manner",
    "Replay",
    "Rollback",
    "Situation",
    "Undo",
    "build_plan",
    "starting_point",
]


@dataclass(frozen=True, slots=True)
class Hidden:
    """A warm follower of another version than the one that leads: `member` has the outputs from `first_epoch` on."""

    member: str
    version: str
    first_epoch: int


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a flow is: `standing` is None where it never ran, `running` says whether a process leads it now."""

    flow: str
    standing: Standing | None = None
    running: bool = False
    savepoints: Sequence[RestorePoint] = field(default=())
    hidden: Hidden | None = None


@dataclass(frozen=True, slots=True)
class Manner:
    """How a handover is done. `approve`: `person` or `policy`. `shadow_*`: both None for no shadow run."""

    shadow_epochs: int | None = 20
    shadow_s: float | None = 30.0
    watch_s: float = 60.0
    approve: str = "person"
    force: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Deploy:
    """Let `version` lead."""

    version: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """Let `version`, which led before, lead again; what was written meanwhile stays."""

    version: str


@dataclass(frozen=True, slots=True)
class Undo:
    """Take back what was written after `epoch`, and write it anew by `version`.

    `corrected`: sinks that can't take back and get corrections; `left`: those that can't be corrected either.
    """

    epoch: int
    version: str
    corrected: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """Run the epochs `first`..`last` again by `version`, beside what leads. `then`: the version that ran them.

    `out`: a folder for Parquet files. `environment` and `flow`: whose tables get the rows, by the name of which flow.
    """

    first: int
    last: int
    version: str
    then: str | None = None
    out: str | None = None
    environment: str | None = None
    flow: str = ""


Ask: TypeAlias = Deploy | Rollback | Undo | Replay


def build_plan(situation: Situation, ask: Ask, manner: Manner | None = None) -> tuple[Stage, ...]:
    """The stages, in order; empty where there is nothing to do. Raises ConfigError where it can't be done at all."""
    manner = manner or Manner()
    if isinstance(ask, Deploy):
        return _deploy(situation, ask, manner)
    if isinstance(ask, Rollback):
        return _rollback(situation, ask)
    if isinstance(ask, Undo):
        return _undo(situation, ask, manner)
    return _replay(situation, ask)


def starting_point(savepoints: Sequence[RestorePoint], epoch: int, version: str) -> RestorePoint | None:
    """The savepoint to start from for the state after `epoch`: the latest of the version itself, else the latest."""
    early = [one for one in savepoints if one.epoch <= epoch]
    own = [one for one in early if one.version == version]
    return max(own or early, key=lambda one: (one.epoch, one.made_us), default=None)


def _deploy(situation: Situation, ask: Deploy, manner: Manner) -> tuple[Stage, ...]:
    standing = situation.standing
    approve = Approve(manner.approve)
    if standing is None:
        return (Check(ask.version), approve, Start(ask.version), Receipt())
    if standing.version == ask.version:
        return ()
    return (
        *_beside(situation, standing, ask.version, manner),
        approve,
        Cut(ask.version, standing.version, standing.generation),
        *((Watch(manner.watch_s),) if situation.running and manner.watch_s > 0 else ()),
        Retire(),
        Receipt(),
    )


def _beside(situation: Situation, standing: Standing, version: str, manner: Manner) -> tuple[Stage, ...]:
    """All before the cut: nothing of it stops the old version. Where nothing runs, there is nothing to compare."""
    compared = situation.running and (manner.shadow_epochs != 0 and manner.shadow_s != 0)
    limited = manner.shadow_epochs is not None or manner.shadow_s is not None
    return (
        Check(version),
        Verdict(standing.version, version),
        *((Hold(),) if situation.running else ()),
        Savepoint(),
        Follow(version),
        CatchUp(),
        *((Shadow(manner.shadow_epochs, manner.shadow_s),) if compared and limited else ()),
        Gate(force=manner.force, why=manner.why),
    )


def _rollback(situation: Situation, ask: Rollback) -> tuple[Stage, ...]:
    standing = _standing(situation, "rolled back")
    if standing.version == ask.version:
        return ()
    cut = Cut(ask.version, standing.version, standing.generation)
    if situation.hidden is not None and situation.hidden.version == ask.version:
        return (cut, Retire(), Receipt())
    return (
        Check(ask.version),
        Verdict(standing.version, ask.version),
        *((Hold(),) if situation.running else ()),
        Savepoint(),
        Follow(ask.version),
        CatchUp(),
        cut,
        Retire(),
        Receipt(),
    )


def _undo(situation: Situation, ask: Undo, manner: Manner) -> tuple[Stage, ...]:
    standing = _standing(situation, "undone")
    if ask.epoch >= standing.last_epoch:
        return ()
    cut = Cut(ask.version, standing.version, standing.generation, rewrite_first=ask.epoch + 1)
    end = (cut, Corrections(ask.corrected, ask.left), Retire(), Receipt())
    start = starting_point(situation.savepoints, ask.epoch, ask.version)
    begin = 0 if start is None else start.epoch
    hidden = situation.hidden
    if hidden is not None and hidden.version == ask.version and hidden.first_epoch <= ask.epoch + 1:
        return end
    return (
        Check(ask.version, input_from=begin + 1),
        *((Verdict(start.version, ask.version),) if start is not None and start.version != ask.version else ()),
        *((Hold(),) if situation.running else ()),
        Savepoint(None if start is None else start.id, begin),
        Follow(ask.version),
        CatchUp(),
        Compare(ask.epoch + 1, standing.last_epoch),
        Approve(manner.approve),
        *end,
    )


def _replay(situation: Situation, ask: Replay) -> tuple[Stage, ...]:
    standing = _standing(situation, "replayed")
    if not 1 <= ask.first <= ask.last <= standing.last_epoch:
        raise ConfigError(
            f"the epochs {ask.first}..{ask.last} can't be replayed: the flow has 1..{standing.last_epoch}",
            flow=situation.flow,
            hint=f"penstock ledger {situation.flow}",
        )
    start = starting_point(situation.savepoints, ask.first - 1, ask.version)
    begin = 0 if start is None else start.epoch
    beside = ask.then if ask.then != ask.version else None
    return (
        Check(ask.version, input_from=begin + 1),
        *((Verdict(start.version, ask.version),) if start is not None and start.version != ask.version else ()),
        Savepoint(None if start is None else start.id, begin),
        Follow(ask.version, until=ask.last, beside=beside),
        CatchUp(),
        Compare(ask.first, ask.last),
        *((Keep(ask.first, ask.last, ask.out),) if ask.out else ()),
        *((Into(ask.first, ask.last, ask.environment, ask.flow),) if ask.environment else ()),
        Retire(),
        Receipt(),
    )


def _standing(situation: Situation, done: str) -> Standing:
    if situation.standing is None or situation.standing.last_epoch < 1:
        raise ConfigError(
            f"nothing can be {done}: the flow never ran here",
            flow=situation.flow,
            hint=f"penstock deploy {situation.flow}",
        )
    return situation.standing
