"""Counting on: totals of flows that are kept between two looks, and over the death of who looks."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from penstock.ledger import EpochRecord, Ledger
from penstock.observe.metrics.totals import FlowTotals, Seen

__all__ = ["TotalsByFlow", "TotalsKeep"]

_PAGE = 5_000
_SAVE_EPOCHS = 1_000


class TotalsKeep(Protocol):
    """Where totals outlive a process. They are only ever a short cut, held against the ledger when they are read."""

    def load_totals(self, flow: str) -> str | None:
        """What was kept of a flow; None where nothing was, or it can't be read."""
        ...

    def save_totals(self, flow: str, text: str) -> None:
        """Keep this of a flow."""
        ...


@dataclass(slots=True)
class _Kept:
    """Totals, how many undos had ended, and how many epochs were counted when they were last saved. `is_old`: they are
    of another process, and were not held against the ledger yet.
    """

    totals: FlowTotals
    undos: int
    saved_epochs: int = 0
    is_old: bool = False


class TotalsByFlow:
    """Totals that are kept between two looks, so that each look reads only the epochs that came since.

    After an undo the epochs that it put aside stay counted, and those in their place are added. Where the newest epoch
    that was counted is not the ledger's any more (`run --reset`), the flow is counted anew from its first.
    """

    def __init__(self, ledger: Ledger, keep: TotalsKeep | None = None) -> None:
        self._ledger = ledger
        self._keep = keep
        self._kept: dict[str, _Kept] = {}
        # Requests come in threads; two that add the same epoch would count it twice.
        self._lock = Lock()

    def of(self, flow: str) -> FlowTotals:
        """The totals of a flow as of now; not to be changed by the caller. Raises LedgerError."""
        with self._lock:
            while True:
                undos = self._undos(flow)
                kept = self._kept.pop(flow, None) or self._loaded(flow)
                if kept is None or not self._goes_on(flow, kept, undos):
                    kept = _Kept(FlowTotals(), -1)
                if kept.undos != undos:
                    self._take_undone(flow, kept.totals)
                kept.undos = undos
                self._read_on(flow, kept)
                # An undo that ended between the reads moved epochs from one of them to the other.
                if self._undos(flow) == undos:
                    self._kept[flow] = kept
                    self._save(flow, kept)
                    return kept.totals

    def _loaded(self, flow: str) -> _Kept | None:
        text = None if self._keep is None else self._keep.load_totals(flow)
        with suppress(ValueError, KeyError, TypeError):
            if text is not None:
                values = json.loads(text)
                totals = FlowTotals.from_json(values["totals"])
                return _Kept(totals, int(values["undos"]), totals.epochs, is_old=True)
        return None

    def _save(self, flow: str, kept: _Kept) -> None:
        if self._keep is not None and abs(kept.totals.epochs - kept.saved_epochs) >= _SAVE_EPOCHS:
            kept.saved_epochs = kept.totals.epochs
            self._keep.save_totals(flow, json.dumps({"undos": kept.undos, "totals": kept.totals.as_json()}))

    def _undos(self, flow: str) -> int:
        standing = self._ledger.standing(flow)
        return 0 if standing is None else standing.undos

    def _goes_on(self, flow: str, kept: _Kept, undos: int) -> bool:
        """Whether what was counted is of the history that the ledger tells."""
        totals = kept.totals
        if totals.origin is None or totals.last is None or undos < kept.undos:
            return False
        is_old, kept.is_old = kept.is_old, False
        if undos == kept.undos and not self._is_there(flow, totals.last):
            return False
        return not (is_old or undos != kept.undos) or self._is_there(flow, totals.origin)

    def _is_there(self, flow: str, seen: Seen) -> bool:
        found = self._ledger.epochs(flow, first=seen.epoch, last=seen.epoch)
        return [Seen.of(one) for one in found] == [seen]

    def _take_undone(self, flow: str, totals: FlowTotals) -> None:
        """Count the epochs that undos put aside, as far as they were not; go on before the first of them."""
        by_undo: dict[str, list[EpochRecord]] = {}
        for rewrite, record in self._ledger.undone_epochs(flow):
            by_undo.setdefault(rewrite.id, []).append(record)
        for undo, records in by_undo.items():
            if undo in totals.undone:
                continue
            totals.undone.append(undo)
            counted = 0 if totals.last is None else totals.last.epoch
            for record in records:
                if record.epoch > counted:
                    totals.add(record, undone=True)
                else:
                    totals.epochs_undone += 1
            first = min(record.epoch for record in records)
            if totals.last is not None and first <= totals.last.epoch:
                totals.last = Seen(first - 1, 0, 0)

    def _read_on(self, flow: str, kept: _Kept) -> None:
        """Page after page, kept on the way: who counts millions for the first time may be interrupted."""
        totals = kept.totals
        while True:
            first = 1 if totals.last is None else totals.last.epoch + 1
            page = self._ledger.epochs(flow, first=first, last=first + _PAGE - 1)
            for record in page:
                totals.add(record)
            if len(page) < _PAGE:
                return
            self._save(flow, kept)
