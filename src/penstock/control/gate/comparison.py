"""The rows of all sinks of a flow, compared epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.connect import Change
from penstock.control.gate.bounds import Bounds
from penstock.control.gate.differ import Differ
from penstock.control.gate.row_diff import RowDiff

__all__ = ["SinkComparison", "diffs_of_report", "epochs_compared"]


class SinkComparison:
    """A `Differ` for each sink of either version.

    `old_keys`, `new_keys`: sink step -> its key (empty: append) of each version. A sink whose key changed can't be
    compared, and its difference says so. What a version gives a sink that is not named counts too.
    """

    def __init__(
        self,
        old_keys: Mapping[str, Sequence[str]],
        new_keys: Mapping[str, Sequence[str]],
        *,
        bounds: Bounds | None = None,
    ) -> None:
        self._differs: dict[str, Differ] = {}
        self._bounds = bounds or Bounds()
        for sink in dict.fromkeys((*old_keys, *new_keys)):
            old, new = old_keys.get(sink), new_keys.get(sink)
            key = tuple(old if old is not None else new if new is not None else ())
            differ = Differ(sink, key, self._bounds, in_old=old is not None, in_new=new is not None)
            if old is not None and new is not None and tuple(old) != tuple(new):
                named = [", ".join(key) or "none" for key in (old, new)]
                differ.stop(f"its key was {named[0]} and is {named[1]}: rows can't be compared")
            self._differs[sink] = differ

    def feed(self, epoch: int, old: Mapping[str, Change], new: Mapping[str, Change]) -> None:
        """What both versions gave their sinks in an epoch; epochs in rising order."""
        for sink in (*old, *new):
            self._differs.setdefault(sink, Differ(sink, (), self._bounds))
        for sink, differ in self._differs.items():
            differ.add(epoch, old.get(sink), new.get(sink))

    def diffs(self) -> dict[str, RowDiff]:
        """The differences so far, by sink."""
        return {sink: differ.result() for sink, differ in self._differs.items()}

    def report(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {sink: diff.as_json() for sink, diff in self.diffs().items()}


def diffs_of_report(report: Mapping[str, Any] | None) -> dict[str, RowDiff]:
    """Back from `SinkComparison.report`; nothing where there is none."""
    return {sink: RowDiff.from_json(found) for sink, found in (report or {}).items()}


def epochs_compared(rows: Mapping[str, RowDiff]) -> tuple[int, int] | None:
    """The first and the last epoch that any sink was compared in; None where there was none."""
    spans = [diff.epochs for diff in rows.values() if diff.epochs is not None]
    return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None
