"""What keeps a flow from growing without bound, beside the epoch loop: merging state files, rolling up old epochs."""

from __future__ import annotations

from concurrent.futures import Future

from penstock.engine.background import Background, one_thread
from penstock.ledger import Ledger, SegmentRef, StateStore, due, merge

__all__ = ["Compactor"]


class Compactor:
    """Merges state files in a thread of its own; the loop makes the result a fact between two epochs."""

    def __init__(self, store: StateStore, background: Background = one_thread) -> None:
        self._store = store
        self._pool = background("penstock-compact")
        self._job: tuple[list[SegmentRef], Future[SegmentRef]] | None = None
        self._rolling: Future[int] | None = None
        self.segments: list[SegmentRef] = []

    def step(self) -> tuple[list[SegmentRef], SegmentRef] | None:
        """Begin a merge that is due; give (old, new) of one that is done."""
        if self._job is None:
            group = due(self.segments)
            if group:
                self._job = (group, self._pool.submit(merge, self._store, group, whole=group[0] == self.segments[0]))
            return None
        group, job = self._job
        if not job.done():
            return None
        self._job = None
        new = job.result()
        place = self.segments.index(group[0])
        self.segments[place : place + len(group)] = [new]
        return group, new

    def roll_up(self, ledger: Ledger, flow: str, before_epoch: int) -> None:
        """Move the records of older epochs to Parquet, in a while; an error comes out with the next call."""
        if self._rolling is not None:
            if not self._rolling.done():
                return
            self._rolling.result()
        self._rolling = self._pool.submit(ledger.roll_up, flow, before_epoch)

    def close(self) -> None:
        """Let a merge end; its file is pruned by the next process."""
        self._pool.shutdown(wait=True, cancel_futures=True)
