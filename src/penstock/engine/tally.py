"""What a run did so far, and where it is: the numbers that are shown."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from penstock.clock import Clock
from penstock.connect import Backlog
from penstock.engine.options import Progress
from penstock.ledger import EpochRecord

__all__ = ["Tally"]

_SHOW_EVERY_S = 0.05
_SLOPE_S = 30.0
_SLOPE_LEAST_S = 1.0


class Tally:
    """Totals since this process began, told to `on_progress` not too often."""

    def __init__(
        self, flow: str, tables: Collection[str], clock: Clock, on_progress: Callable[[Progress], None]
    ) -> None:
        self.counted_epoch = 0
        self.totals: Counter[str] = Counter()
        self.checks_failed: Counter[str] = Counter()
        self.progress = Progress(flow, 0, "loading")
        self._tables = tables
        self._clock = clock
        self._on_progress = on_progress
        self._began_s = clock.stopwatch_s()
        self.shown_s = 0.0
        self._backlogs: deque[tuple[float, int]] = deque()

    @property
    def seconds(self) -> float:
        """How long the run lasts by now."""
        return self._clock.stopwatch_s() - self._began_s

    def count(self, record: EpochRecord) -> None:
        """Add an epoch. Rows of lookup tables are not rows of the stream."""
        self.counted_epoch = record.epoch
        self.totals.update(
            rows_in=sum(rows for name, rows in record.rows_in.items() if name not in self._tables),
            rows_out=sum(record.rows_out.values()),
            rows_late=record.rows_late,
            rows_dead=record.rows_dead,
        )
        for name, counts in record.checks.items():
            if counts["failed"]:
                self.checks_failed[name] += counts["failed"]

    def is_due(self, phase: str) -> bool:
        """Whether this is worth showing now."""
        return phase != self.progress.phase or self._clock.stopwatch_s() - self.shown_s >= _SHOW_EVERY_S

    def show(
        self,
        phase: str,
        *,
        epoch: int,
        watermark_us: int | None,
        backlogs: Mapping[str, Backlog] | None = None,
        epoch_ms: float | None = None,
    ) -> None:
        """Tell where the run is. `backlogs`: what waits at each read."""
        self.shown_s = self._clock.stopwatch_s()
        self.progress = replace(
            self.progress,
            epoch=epoch,
            phase=phase,
            counted_epoch=self.counted_epoch,
            rows_in=self.totals["rows_in"],
            rows_out=self.totals["rows_out"],
            rows_late=self.totals["rows_late"],
            rows_dead=self.totals["rows_dead"],
            rows_per_s=self.totals["rows_in"] / max(self.seconds, 1e-9),
            epoch_ms=self.progress.epoch_ms if epoch_ms is None else epoch_ms,
            watermark_us=watermark_us,
            backlogs=dict(backlogs or {}),
            checks_failed=dict(self.checks_failed),
            message="",
        )
        rows, size_bytes = self.progress.backlog_rows, self.progress.backlog_bytes
        waiting = size_bytes if rows is None else rows
        self.progress = replace(self.progress, catch_up_s=None if waiting is None else self._catch_up_s(waiting))
        self._on_progress(self.progress)

    def _catch_up_s(self, waiting: int) -> float | None:
        """What waits, by how fast it became less in the last half minute: what came meanwhile is in that."""
        seen, now_s = self._backlogs, self.shown_s
        if not seen or now_s - seen[-1][0] >= _SLOPE_LEAST_S:
            seen.append((now_s, waiting))
        while now_s - seen[0][0] > _SLOPE_S:
            seen.popleft()
        if not waiting:
            return 0.0
        since_s, before = now_s - seen[0][0], seen[0][1]
        if since_s < _SLOPE_LEAST_S or waiting >= before:
            return None
        return round(waiting * since_s / (before - waiting), 1)

    def retrying(self, message: str) -> None:
        """Tell that a system is away and waited for."""
        self.progress = replace(self.progress, phase="retrying", message=message)
        self._on_progress(self.progress)
