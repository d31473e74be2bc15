"""Compares what two versions give one sink, epoch by epoch as it comes, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from penstock.connect import Change
from penstock.control.gate.appended import AppendedRows
from penstock.control.gate.bounds import Bounds
from penstock.control.gate.keyed_rows import KeyedRows
from penstock.control.gate.layout import layout_of, merged
from penstock.control.gate.row_diff import RowDiff
from penstock.control.policies import TOLERANCE_LEAST

__all__ = ["Differ"]


class Differ:
    """`add` both versions' changes of every epoch of a window, in rising order; `result` at any time, more than once.

    Equal rows are dropped as they come, so the memory follows from what differs: at most about `rows_max` rows of each
    side with their values, then 64 bits for each of `hashes_max` rows, then the comparison ends. What that costs in
    exactness is said in `RowDiff.limits`. Rows of append sinks are compared exactly while they fit in `rows_max`.

    `in_old`, `in_new`: whether that version has the sink at all; None: if it gives it anything. `options` are fields of
    `bounds`: `settle_rows`, so many rows are collected before they are compared, or as many as are unmatched;
    `samples_max`, of each kind; `tolerance`, how far apart floats may be and still be equal,
    `|a - b| <= tolerance * max(1, |a|, |b|)`; 0: exactly.
    """

    def __init__(
        self,
        sink: str,
        key: Sequence[str] = (),
        bounds: Bounds | None = None,
        *,
        in_old: bool | None = None,
        in_new: bool | None = None,
        **options: Any,
    ) -> None:
        self._sink, self._key = sink, tuple(key)
        self._bounds = replace(bounds or Bounds(), **options)
        tolerance = self._bounds.tolerance
        assert tolerance == 0 or tolerance >= TOLERANCE_LEAST, f"a tolerance is at least {TOLERANCE_LEAST}"
        self._schemas: dict[str, pl.Schema | None] = {"old": None, "new": None}
        self._there = {"old": in_old, "new": in_new}
        self._epochs: tuple[int, int] | None = None
        self._result: RowDiff | None = None
        self._rows = KeyedRows(self._key, self._bounds) if self._key else AppendedRows(self._bounds)

    @property
    def stopped(self) -> bool:
        """Whether there was too much that differs: further epochs are not looked at."""
        return bool(self._rows.stopped)

    def add(self, epoch: int, old: Change | None, new: Change | None) -> None:
        """What each version gave the sink in this epoch; None where it has no such sink, or nothing for it."""
        self._result = None
        for side, change in (("old", old), ("new", new)):
            if change is not None and not self.stopped:
                self._learn(side, change.rows.schema)
        if self.stopped:
            return
        first, last = self._epochs or (epoch, epoch)
        assert epoch >= last, "epochs come in rising order"
        self._epochs = first, epoch
        if isinstance(self._rows, KeyedRows):
            self._rows.add(epoch, old, new)
        else:
            self._rows.add(epoch, None if old is None else old.rows, None if new is None else new.rows)

    def _learn(self, side: str, schema: pl.Schema) -> None:
        """Take note of a side's columns; where they are news, compare in what both have."""
        known = merged(self._schemas[side], schema)
        if known == self._schemas[side]:
            return
        self._schemas[side] = known
        layout = layout_of(self._schemas["old"], self._schemas["new"])
        missing = [name for name in self._key if name not in layout.types]
        if missing:
            self._rows.stopped = f"{', '.join(missing)} of its key is not in both versions: rows can't be compared"
            return
        self._rows.relayout(layout)

    def stop(self, why: str) -> None:
        """Compare no further: `why` is a sentence for the result."""
        self._result, self._rows.stopped = None, why

    def result(self) -> RowDiff:
        """What was found so far."""
        if self._result is None:
            self._result = self._found()
        return self._result

    def _found(self) -> RowDiff:
        old, new = (self._schemas[side] for side in ("old", "new"))
        there = {side: (schema is not None) for side, schema in self._schemas.items()}
        there |= {side: known for side, known in self._there.items() if known is not None}
        limits = list(self._rows.limits.values())
        if self._rows.stopped:
            until = "" if self._epochs is None else f" (after epoch {self._epochs[1]})"
            limits.append(f"{self._rows.stopped}{until}")
        return RowDiff(
            sink=self._sink,
            key=self._key,
            columns=layout_of(old, new).diff,
            epochs=self._epochs,
            in_old=there["old"],
            in_new=there["new"],
            complete=not self.stopped,
            tolerance=self._bounds.tolerance,
            limits=tuple(limits),
            **self._rows.counts(self._epochs or (0, 0)),
        )
