"""Running totals of a flow over all of its epochs, from the ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock

from penstock.ledger import EpochRecord, Ledger
from penstock.observe.metrics.vocabulary import EPOCH_BUCKETS_S

__all__ = ["FlowTotals", "TotalsByFlow"]

_PAGE = 1_000


@dataclass(slots=True)
class FlowTotals:
    """What the epochs of a flow come to. `checks`: by (expectation, passed or failed). `buckets`: epochs by the place
    of their duration in `EPOCH_BUCKETS_S`, one more for all that took longer. `last`: the newest record.
    """

    rows_in: Counter[str] = field(default_factory=Counter)
    rows_out: Counter[str] = field(default_factory=Counter)
    rows_late: int = 0
    rows_dead: int = 0
    checks: Counter[tuple[str, str]] = field(default_factory=Counter)
    phases_s: dict[str, float] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(EPOCH_BUCKETS_S) + 1))
    epochs: int = 0
    epochs_undone: int = 0
    last: EpochRecord | None = None
    last_output_us: int | None = None

    def add(self, record: EpochRecord, *, undone: bool = False) -> None:
        """Count one epoch; one that was undone is work that was done, and says nothing of now."""
        self.rows_in.update(record.rows_in)
        self.rows_out.update(record.rows_out)
        self.rows_late += record.rows_late
        self.rows_dead += record.rows_dead
        for check, results in record.checks.items():
            for result in ("passed", "failed"):
                self.checks[check, result] += int(results.get(result) or 0)
        took_s = 0.0
        for phase, took_ms in record.timings_ms.items():
            self.phases_s[phase] = self.phases_s.get(phase, 0.0) + took_ms / 1e3
            took_s += took_ms / 1e3
        place = next((at for at, most_s in enumerate(EPOCH_BUCKETS_S) if took_s <= most_s), len(EPOCH_BUCKETS_S))
        self.buckets[place] += 1
        self.epochs += 1
        if undone:
            self.epochs_undone += 1
            return
        self.last = record
        if any(record.rows_out.values()):
            self.last_output_us = record.committed_us


class TotalsByFlow:
    """Totals that are kept between two looks, so that each look reads only the epochs that came since.

    After an undo, or where the newest epoch that was counted is not the ledger's any more (`run --reset`), the flow is
    counted anew from its first epoch.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._kept: dict[str, tuple[int, FlowTotals]] = {}
        # Requests come in threads; two that add the same epoch would count it twice.
        self._lock = Lock()

    def of(self, flow: str) -> FlowTotals:
        """The totals of a flow as of now; not to be changed by the caller. Raises LedgerError."""
        with self._lock:
            while True:
                undos = self._undos(flow)
                kept_undos, totals = self._kept.pop(flow, (-1, FlowTotals()))
                if kept_undos != undos or not self._goes_on(flow, totals):
                    totals = FlowTotals()
                    for _, record in self._ledger.undone_epochs(flow):
                        totals.add(record, undone=True)
                self._read_on(flow, totals)
                # An undo that ended between the reads moved epochs from one of them to the other.
                if self._undos(flow) == undos:
                    self._kept[flow] = (undos, totals)
                    return totals

    def _undos(self, flow: str) -> int:
        standing = self._ledger.standing(flow)
        return 0 if standing is None else standing.undos

    def _goes_on(self, flow: str, totals: FlowTotals) -> bool:
        last = totals.last
        if last is None:
            return False
        found = self._ledger.epochs(flow, first=last.epoch, last=last.epoch)
        return [(one.generation, one.committed_us) for one in found] == [(last.generation, last.committed_us)]

    def _read_on(self, flow: str, totals: FlowTotals) -> None:
        while True:
            first = 0 if totals.last is None else totals.last.epoch + 1
            page = self._ledger.epochs(flow, first=first, limit=_PAGE)
            for record in page:
                totals.add(record)
            if len(page) < _PAGE:
                return
