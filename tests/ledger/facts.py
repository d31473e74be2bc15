"""Small plans, records and dead letters for the tests of the ledger, and a way to open it where a test wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.clock import ManualClock
from penstock.ledger import DeadLetter, EpochPlan, EpochRecord, Ledger, SegmentRef, open_ledger

FLOW = "orders"
Open = Callable[..., Ledger]


def plan(epoch: int, *, upto: int | None = None, final: bool = False) -> EpochPlan:
    """The plan of an epoch of ten rows."""
    end = epoch * 10 if upto is None else upto
    ranges = {"orders": {"start": {"0": epoch * 10 - 10}, "end": {"0": end}}}
    return EpochPlan(epoch, ranges, now_us=epoch * 1_000_000, seed=epoch * 7, final=final)


def segment(first: int, last: int | None = None) -> SegmentRef:
    """A reference to a state file that need not be there."""
    last = first if last is None else last
    return SegmentRef(first, last, f"{first}-{last}.state", 100 + last, 2**32 - 1 - last)


def record(epoch: int, generation: int = 1, *, state: SegmentRef | None = None, **given: Any) -> EpochRecord:
    """The record of an epoch with something in every field."""
    values: dict[str, Any] = {
        "watermark_us": epoch * 1_000_000,
        "watermarks_us": {"orders": {"0": epoch * 1_000_000, "1": None}},
        "rows_in": {"orders": 10},
        "rows_out": {"revenue": 3, "log": 10},
        "rows_late": 1,
        "checks": {"not_null(country)": {"passed": 9, "failed": 1}},
        "receipts": {"revenue": {"rows": 3, "file": "é\x00.parquet"}},
        "timings_ms": {"read": 1.5, "run": 2.25, "other": 0.5},
        "committed_us": 1_700_000_000_000_000 + epoch,
    }
    return EpochRecord(epoch, generation, "v1", plan(epoch), segment=state, **{**values, **given})


def letter(epoch: int, number: int) -> DeadLetter:
    """A dead letter, with the characters that databases choke on."""
    return DeadLetter(
        epoch=epoch,
        step="clean",
        error="ValueError",
        message=f"row {number}: é \x00 \ud800",
        signature="ValueError in clean",
        payload=f'{{"id": {number}, "name": "\x00\udfff"}}',
        offset={"source": "orders", "partition": "0", "offset": number},
    )


def commit_epochs(ledger: Ledger, first: int, last: int, *, generation: int = 1, flow: str = FLOW) -> None:
    """Commit the epochs first..last; each brings the plan of the next."""
    for epoch in range(first, last + 1):
        ledger.commit(flow, record(epoch, generation), next_plan=plan(epoch + 1))


def history(ledger: Ledger, last: int, *, dead: bool = False) -> None:
    """A flow of version v1 and generation 1, held by "old": so many epochs, each with a state file of its own."""
    ledger.claim(FLOW, version="v1", holder="old")
    ledger.plan(FLOW, 1, plan(1))
    for epoch in range(1, last + 1):
        fallen = [letter(epoch, epoch)] if dead else []
        ledger.commit(FLOW, record(epoch, state=segment(epoch)), next_plan=plan(epoch + 1), dead=fallen)


def opener(where: str | Path, folder: Path, closing: list[Ledger], *, env: str = "dev") -> Open:
    """A function that opens the ledger at `where` once more; what it opened is put on `closing`."""

    def open_it(*, env: str = env, lock_timeout_ms: int = 5_000) -> Ledger:
        ledger = open_ledger(where, env=env, clock=ManualClock(), folder=folder, lock_timeout_ms=lock_timeout_ms)
        closing.append(ledger)
        return ledger

    return open_it
