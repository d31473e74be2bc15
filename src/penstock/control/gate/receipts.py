"""What a handover came to: measured from the records of the epochs, not promised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from statistics import median
from typing import Any

from penstock.control.gate.comparison import diffs_of_report, epochs_compared
from penstock.control.gate.row_diff import RowDiff
from penstock.ledger import EpochRecord

__all__ = ["Accounting", "Pause", "Receipt", "accounting", "pause_at", "pause_ms", "receipt_of_facts", "row_counts"]

_AROUND = range(-1, 3)
"""The epochs around a cut whose commits may be late because of it, from the first one of the new version."""


@dataclass(frozen=True, slots=True)
class Pause:
    """`pause_ms`: the largest gap between commits around a cut (`gap_ms`), less the usual one (`usual_ms`)."""

    pause_ms: float
    gap_ms: float
    usual_ms: float


def pause_at(records: Sequence[EpochRecord], cut_epoch: int) -> Pause | None:
    """How long the sink saw nothing new because of a cut; None where the records do not reach around it.

    `cut_epoch`: the first epoch of the new leader. `records`: those around it, in order; the more, the surer is what is
    usual (the median gap of the epochs that are not around the cut). In a flow that mostly waits for input, a wait at
    the moment of the cut counts as pause: nobody can tell the two apart.
    """
    gaps_us = {later.epoch: later.committed_us - one.committed_us for one, later in pairwise(records)}
    around = [gaps_us[cut_epoch + place] for place in _AROUND if cut_epoch + place in gaps_us]
    if cut_epoch not in gaps_us:
        return None
    calm = [gap_us for epoch, gap_us in gaps_us.items() if epoch - cut_epoch not in _AROUND]
    usual_us = median(calm) if calm else 0.0
    gap_us = max(around)
    return Pause(round(max(0.0, gap_us - usual_us) / 1000, 3), round(gap_us / 1000, 3), round(usual_us / 1000, 3))


def pause_ms(records: Sequence[EpochRecord], cut_epoch: int) -> float | None:
    """`Pause.pause_ms` of `pause_at`."""
    found = pause_at(records, cut_epoch)
    return None if found is None else found.pause_ms


@dataclass(frozen=True, slots=True)
class Accounting:
    """Whether the input was taken once, in a row of epochs. None: some rows, and nobody knows how many.

    `faults`: what is wrong, as sentences; empty where each epoch is there once and each range begins where the one
    before it ended.
    """

    epochs: int = 0
    rows_lost: int | None = 0
    rows_duplicated: int | None = 0
    faults: tuple[str, ...] = ()


def accounting(records: Sequence[EpochRecord]) -> Accounting:
    """Hold records, in the order of their epochs, to what the ledger promises: epochs without gap, each committed once
    and by no older generation than the one before; ranges that meet.
    """
    lost, duplicated = False, False
    faults = []
    for sentence, loses, repeats in _faults(records):
        faults.append(sentence)
        lost, duplicated = lost or loses, duplicated or repeats
    return Accounting(len(records), None if lost else 0, None if duplicated else 0, tuple(faults))


def _faults(records: Sequence[EpochRecord]) -> Iterator[tuple[str, bool, bool]]:
    """What is wrong, and whether rows may be lost, and twice, by it."""
    for one, later in pairwise(records):
        if later.epoch <= one.epoch:
            yield f"epoch {later.epoch:,} comes again after epoch {one.epoch:,}", False, True
            continue
        if later.epoch > one.epoch + 1:
            yield f"epochs {one.epoch + 1:,}..{later.epoch - 1:,} are missing", True, False
            continue
        if later.generation < one.generation:
            told = f"epoch {later.epoch:,} is of generation {later.generation}, the one before of {one.generation}"
            yield told, False, False
        for source, taken in later.plan.ranges.items():
            before = one.plan.ranges.get(source)
            if before is not None and before.get("end") != taken.get("start"):
                yield from _seam(source, later.epoch, before.get("end"), taken.get("start"))


def _seam(source: str, epoch: int, end: Any, start: Any) -> Iterator[tuple[str, bool, bool]]:
    """Where a range does not begin at the end of the one before it: rows between, or rows twice, or both."""
    where = f"{source}: epoch {epoch:,} begins at {start}, the one before ended at {end}"
    ahead, behind = False, False
    if isinstance(end, Mapping) and isinstance(start, Mapping):
        for partition in {*end, *start}:
            one, other = end.get(partition), start.get(partition)
            if isinstance(one, int) and isinstance(other, int):
                ahead, behind = ahead or other > one, behind or other < one
            elif one != other:
                ahead = behind = True
    else:
        ahead = behind = True
    yield where, ahead, behind


@dataclass(frozen=True, slots=True)
class Receipt:
    """One handover, once it is over. Times are microseconds since 1970; None: it did not come to that, or not known.

    `kind`: deploy, rollback, undo, replay. `status`: how it ended; `reasons`: why it did not end well. `leads`: the
    version that leads now. `shadowed`, `watched`: first and last epoch; `cut_epoch`: the first of the new leader.
    `rows_lost`, `rows_duplicated`: from `accounting`; None with `faults`: some. `differences`: by sink, the counts of
    the shadow run, or of the watch where there was none. `checks_failed`: rows by expectation, with the new version.
    `approved_by`: who said yes; empty: the policy. `back_pause_ms`: the pause of the way back, where there was one.
    """

    kind: str
    flow: str
    env: str = "dev"
    id: str = ""
    status: str = "done"
    old_version: str = ""
    new_version: str = ""
    leads: str = ""
    generation: int | None = None
    pause_ms: float | None = None
    gap_ms: float | None = None
    usual_gap_ms: float | None = None
    back_pause_ms: float | None = None
    shadowed: tuple[int, int] | None = None
    cut_epoch: int | None = None
    watched: tuple[int, int] | None = None
    rows_lost: int | None = None
    rows_duplicated: int | None = None
    faults: tuple[str, ...] = ()
    differences: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    state_rows_migrated: int = 0
    checks_failed: Mapping[str, int] = field(default_factory=dict)
    who: str = ""
    why: str = ""
    approved_by: str = ""
    forced: bool = False
    reasons: tuple[str, ...] = ()
    began_us: int | None = None
    cut_us: int | None = None
    ended_us: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        found = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Receipt:
        """Back from `as_json`; what it does not know is passed over."""
        known = {field.name for field in fields(Receipt)}
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in known
        }
        return Receipt(**given)


def row_counts(diff: RowDiff) -> dict[str, int]:
    """The counts of a difference that a receipt keeps."""
    return {
        "rows_old": diff.rows_old,
        "rows_new": diff.rows_new,
        "equal": diff.equal,
        "changed": diff.changed,
        "only_old": diff.only_old,
        "only_new": diff.only_new,
    }


def receipt_of_facts(values: Mapping[str, Any], *, env: str) -> Receipt:
    """The receipt of a deployment as its driver kept it in the ledger (`penstock.ledger.Deployment.receipt`)."""
    cut, back = values.get("cut") or {}, values.get("back") or {}
    gate, watch, shadow = (values.get(name) or {} for name in ("gate", "watch", "shadow"))
    approval = values.get("approval") or {}
    compared, watched = (diffs_of_report(found.get("diff")) for found in (gate, watch))
    why = str(values.get("why") or "")
    bad = values.get("status") not in (None, "done", "running")
    reasons = [why] if bad and why else list(gate.get("reasons") or ()) if gate.get("forced") else []
    return Receipt(
        kind=str(values.get("kind") or "deploy"),
        flow=str(values["flow"]),
        env=env,
        id=str(values.get("deployment") or ""),
        status=str(values.get("status") or "done"),
        old_version=str(values.get("old_version") or ""),
        new_version=str(values.get("new_version") or ""),
        leads=str(values.get("leads") or ""),
        generation=values.get("generation"),
        pause_ms=cut.get("pause_ms"),
        gap_ms=cut.get("gap_ms"),
        usual_gap_ms=cut.get("usual_gap_ms"),
        back_pause_ms=back.get("pause_ms"),
        shadowed=epochs_compared(compared) if shadow else None,
        cut_epoch=cut.get("from_epoch"),
        watched=epochs_compared(watched),
        rows_lost=cut.get("rows_lost"),
        rows_duplicated=cut.get("rows_duplicated"),
        faults=tuple(cut.get("faults") or ()),
        differences={sink: row_counts(diff) for sink, diff in (compared or watched).items()},
        state_rows_migrated=int(values.get("state_rows_migrated") or 0),
        checks_failed=dict((gate.get("new") or {}).get("checks_failed") or {}),
        who=str(values.get("asked_by") or ""),
        why=str(values.get("asked_why") or ""),
        approved_by=str(approval.get("who") or "") if approval.get("yes") else "",
        forced=bool(gate.get("forced")),
        reasons=tuple(str(reason) for reason in reasons),
        began_us=values.get("began_us"),
        cut_us=cut.get("asked_us"),
        ended_us=_ended_us(values),
    )


def _ended_us(values: Mapping[str, Any]) -> int | None:
    began_us, seconds = values.get("began_us"), values.get("seconds")
    return None if began_us is None or seconds is None else int(began_us + seconds * 1e6)
