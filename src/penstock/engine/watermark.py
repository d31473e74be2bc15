"""Watermarks of the reads: how far event time has come, by partition, with lateness and idle partitions.

A watermark w promises that all rows with a time < w have come. It is the newest time seen less the lateness, over the
slowest partition that is not idle (the Dataflow model, Akidau et al., 2015); it never goes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from penstock.connect import PartitionRead
from penstock.engine.batch import BEGINNING_US, END_US
from penstock.flow import PROCESSING_TIME, Definition, ops

__all__ = ["WatermarkTracker"]


class WatermarkTracker:
    """What is known of the event time of every read; it is part of each epoch's record, so a restart knows it again."""

    def __init__(self, definition: Definition, facts: Mapping[str, Any] | None = None) -> None:
        self._reads: dict[str, ops.Read] = {
            step.name: step.operation for step in definition.reads if isinstance(step.operation, ops.Read)
        }
        self._seen: dict[str, dict[str, list[int]]] = {name: {} for name in self._reads}
        self._marks: dict[str, int] = {
            name: BEGINNING_US for name, read in self._reads.items() if read.event_time is not None
        }
        self._born: dict[str, int] = {}
        self._settled_us = 0
        for name, known in (facts or {}).items():
            if name in self._reads:
                self._seen[name] = {partition: list(pair) for partition, pair in known["seen"].items()}
                if known.get("born") is not None:
                    self._born[name] = known["born"]
                if name in self._marks and known["mark"] is not None:
                    self._marks[name] = known["mark"]

    def marks(self) -> dict[str, int | None]:
        """The watermark of each read; None: it has no event time."""
        return {name: self._marks.get(name) for name in self._reads}

    def least_us(self) -> int | None:
        """The watermark of the whole flow, or None where there is none yet."""
        known = [mark for name, mark in self._marks.items() if not self._reads[name].table]
        least = min(known, default=BEGINNING_US)
        return None if least == BEGINNING_US else least

    def observe(self, read: str, partitions: Sequence[PartitionRead], now_us: int) -> None:
        """Take note of the rows that an epoch brought."""
        operation = self._reads[read]
        column = operation.event_time
        if column is None:
            return
        if column == PROCESSING_TIME:
            self._marks[read] = max(self._marks[read], now_us)
            return
        seen = self._seen[read]
        for part in partitions:
            newest = part.frame.select(pl.col(column).max().dt.epoch("us")).item() if part.frame.height else None
            if newest is not None:
                before = seen.get(part.partition, [BEGINNING_US, now_us])
                seen[part.partition] = [max(before[0], newest), now_us]
        self._advance(read, operation, now_us)

    def finish(self, reads: Sequence[str]) -> None:
        """These reads are at their end: nothing will come, so everything can close."""
        for read in reads:
            if read in self._marks:
                self._marks[read] = END_US

    def settle(self, now_us: int) -> None:
        """Let time pass for those that hear nothing.

        The watermark of a read in processing time is the clock's. Reads that were silent for longer than their
        `idle_after` follow the others: they hold nobody back. They do not follow one that is at its end to the end of
        time: what they bring later would be late for ever.
        """
        self._settled_us = now_us
        for name, mark in self._marks.items():
            if self._reads[name].event_time == PROCESSING_TIME:
                self._marks[name] = max(mark, now_us)
        for name in self._marks:
            self._born.setdefault(name, now_us)
        heard = self._heard()
        idle = {
            name
            for name, heard_us in heard.items()
            if (idle_us := self._reads[name].idle_us) is not None and now_us - heard_us >= idle_us
        }
        active = [
            mark
            for name, mark in self._marks.items()
            if name not in idle and mark < END_US and not self._reads[name].table
        ]
        for name in idle if active else ():
            self._marks[name] = max(self._marks[name], min(active))

    def idle_us(self) -> int | None:
        """When the next read that holds others back becomes idle, which wants an epoch; None: none will."""
        newest = max((mark for mark in self._marks.values() if mark < END_US), default=BEGINNING_US)
        times = [
            heard_us + idle_us
            for name, heard_us in self._heard().items()
            if (idle_us := self._reads[name].idle_us) is not None and self._marks[name] < newest
        ]
        return min((time for time in times if time > self._settled_us), default=None)

    def _heard(self) -> dict[str, int]:
        """When each read that has been there for an epoch last brought a row, or came."""
        return {
            name: max((pair[1] for pair in self._seen[name].values()), default=born_us)
            for name, born_us in self._born.items()
            if name in self._marks
        }

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values, for the epoch's record."""
        return {
            name: {"mark": self._marks.get(name), "seen": seen, "born": self._born.get(name)}
            for name, seen in self._seen.items()
            if name in self._marks
        }

    def _advance(self, read: str, operation: ops.Read, now_us: int) -> None:
        idle_us = operation.idle_us
        active = [
            newest for newest, heard_us in self._seen[read].values() if idle_us is None or now_us - heard_us < idle_us
        ]
        if active:
            self._marks[read] = max(self._marks[read], min(active) - operation.lateness_us)
