"""How far back an undo goes, and what it would take back: read from the records of epochs, nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from penstock.clock import to_datetime
from penstock.control.rollouts.stages import short
from penstock.errors import ConfigError, DefinitionError
from penstock.flow import duration_us
from penstock.ledger import EpochRecord, Ledger

__all__ = ["SinkLoss", "TakenBack", "Target", "resolve_target", "taken_back", "version_runs"]

_PAGE = 1_000
_DIGITS_MAX = 18
"""Of an epoch: what is longer is none, and too long for some to be a number at all."""


@dataclass(frozen=True, slots=True)
class Target:
    """An undo goes back to the state after `epoch`; `version` ran that epoch (empty for 0). `why`: how it was found."""

    epoch: int
    version: str
    why: str


@dataclass(frozen=True, slots=True)
class SinkLoss:
    """What one sink was given in the epochs that are to be taken back."""

    epochs: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What the epochs `first`..`last` came to. `versions`: who ran them -> how many; `sinks`: by write step."""

    first: int
    last: int
    rows_in: int = 0
    rows_dead: int = 0
    versions: Mapping[str, int] = field(default_factory=dict)
    sinks: Mapping[str, SinkLoss] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """How many epochs."""
        return max(0, self.last - self.first + 1)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        sinks = {step: {"epochs": loss.epochs, "rows": loss.rows} for step, loss in self.sinks.items()}
        return {
            "first": self.first,
            "last": self.last,
            "epochs": self.epochs,
            "rows_in": self.rows_in,
            "rows_dead": self.rows_dead,
            "versions": dict(self.versions),
            "sinks": sinks,
        }


def resolve_target(ledger: Ledger, flow: str, to: str, *, now_us: int) -> Target:
    """What `--to` means: an epoch (`142`), a time (`2026-08-01T10:00`, UTC, or `10m` ago), or a version.

    A version means the last epoch that it ran before another version followed. Raises ConfigError.
    """
    last = _newest(ledger, flow)
    if last is None:
        raise ConfigError("nothing can be undone: the flow has no epochs here", flow=flow)
    text = to.strip()
    if text.isdecimal() and len(text) <= _DIGITS_MAX and int(text) <= last.epoch:
        return _at(ledger, flow, int(text), f"epoch {int(text):,}, as asked")
    named = any(one.version.startswith(text) for one in ledger.operations.versions(flow)) if text else False
    time_us = None if named else _time_us(text, now_us)  # `900d` may be both
    if time_us is not None:
        return _at_time(ledger, flow, last, time_us)
    return _of_version(ledger, flow, text, last)


def _at(ledger: Ledger, flow: str, epoch: int, why: str) -> Target:
    if epoch == 0:
        return Target(0, "", f"{why}: before the first")
    record = _record(ledger, flow, epoch)
    return Target(epoch, record.version, f"{why}; {short(record.version)} ran it at {_shown(record.committed_us)}")


def _at_time(ledger: Ledger, flow: str, last: EpochRecord, time_us: int) -> Target:
    """The last epoch committed at or before a time, by halving: commits of later epochs are later."""
    low, high = 0, last.epoch
    while low < high:
        middle = (low + high + 1) // 2
        if _record(ledger, flow, middle).committed_us <= time_us:
            low = middle
        else:
            high = middle - 1
    return _at(ledger, flow, low, f"epoch {low:,} is the last that was committed by {_shown(time_us)}")


def _of_version(ledger: Ledger, flow: str, asked: str, last: EpochRecord) -> Target:
    runs: list[tuple[str, int, int]] = []
    for run in version_runs(ledger, flow):
        runs.append(run)
        version, _, end = run
        if version.startswith(asked) and len(runs) > 1:
            follower = runs[-2][0]
            why = f"epoch {end:,} is the last that {short(version)} ran before {short(follower)} followed"
            return Target(end, version, why)
    known = list(dict.fromkeys(short(version) for version, _, _ in runs))
    if last.version.startswith(asked):
        raise ConfigError(
            f"{short(last.version)} leads, and no other version ever followed it: there is nothing to undo to it",
            flow=flow,
            hint="name an epoch or a time",
        )
    raise ConfigError(
        f"{asked!r} is no epoch up to {last.epoch:,}, no time, and no version that ran this flow",
        flow=flow,
        hint=f"versions that did, newest first: {', '.join(known)}; times as 2026-08-01T10:00 (UTC) or 10m (ago)",
    )


def version_runs(ledger: Ledger, flow: str) -> Iterator[tuple[str, int, int]]:
    """(version, first epoch, last epoch) of each stretch of epochs by one version, newest first."""
    version, first, last = "", 0, 0
    for record in _newest_first(ledger, flow):
        if record.version == version and last:
            first = record.epoch
            continue
        if last:
            yield version, first, last
        version, first, last = record.version, record.epoch, record.epoch
    if last:
        yield version, first, last


def _newest_first(ledger: Ledger, flow: str) -> Iterator[EpochRecord]:
    newest = _newest(ledger, flow)
    upto = 0 if newest is None else newest.epoch
    while upto > 0:
        page = ledger.epochs(flow, first=max(1, upto - _PAGE + 1), last=upto)
        yield from reversed(page)
        upto = max(0, upto - _PAGE)


def taken_back(ledger: Ledger, flow: str, first: int, last: int) -> TakenBack:
    """Add up what the epochs first..last came to."""
    rows_in = rows_dead = 0
    versions: dict[str, int] = {}
    sinks: dict[str, SinkLoss] = {}
    for begin in range(first, last + 1, _PAGE):
        for record in ledger.epochs(flow, first=begin, last=min(last, begin + _PAGE - 1)):
            rows_in += sum(record.rows_in.values())
            rows_dead += record.rows_dead
            versions[record.version] = versions.get(record.version, 0) + 1
            for step, rows in record.rows_out.items():
                loss = sinks.get(step, SinkLoss())
                sinks[step] = SinkLoss(loss.epochs + (1 if rows else 0), loss.rows + rows)
    return TakenBack(first, last, rows_in, rows_dead, versions, sinks)


def _newest(ledger: Ledger, flow: str) -> EpochRecord | None:
    found: Sequence[EpochRecord] = ledger.epochs(flow, limit=1, newest=True)
    return found[-1] if found else None


def _record(ledger: Ledger, flow: str, epoch: int) -> EpochRecord:
    found = ledger.epochs(flow, first=epoch, last=epoch)
    if not found:
        raise ConfigError(f"the record of epoch {epoch} is gone", flow=flow, hint=f"penstock ledger {flow}")
    return found[0]


def _time_us(text: str, now_us: int) -> int | None:
    """A moment: ISO 8601 (UTC where it names no zone), or how long ago. None where the text is neither."""
    if text.isdecimal():
        return None
    try:
        return now_us - abs(duration_us(text.removesuffix(" ago"), what="the time"))
    except DefinitionError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def _shown(time_us: int) -> str:
    return f"{to_datetime(time_us):%Y-%m-%d %H:%M:%S} UTC"
