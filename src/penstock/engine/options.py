"""What a run is told, what it tells on the way, and what it was in the end."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penstock.connect import Backlog

__all__ = ["Progress", "RunOptions", "RunResult", "StopSignal"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Limits of one run.

    `until_drained`: stop when nothing is left to read (bounded inputs: when they end, with all windows closed).
    `epoch_rows`, `epoch_bytes`, `epoch_ms`: what one epoch may take and about how long it may last. `max_epochs`: stop
    after so many. `patience_s`: how long a system that is away (a sink, a source) is waited for before the run gives
    up. `compact`: merge state files in the background. `keep_epochs`: how many epochs stay in the tables; older
    ones are rolled up to Parquet, where they can still be read. `savepoint_s`: how often the state is named as a
    savepoint, from which an undo may start (None: only handovers do); `keep_s`: how long these are kept. `hold_s`: for
    how long after its commit the input of an epoch is not forgotten by its source.
    """

    until_drained: bool = False
    epoch_rows: int = 500_000
    epoch_bytes: int = 64 * 1024 * 1024
    epoch_ms: int = 1_000
    max_epochs: int | None = None
    patience_s: float = 60.0
    compact: bool = True
    keep_epochs: int = 100_000
    savepoint_s: float | None = None
    keep_s: float = 86_400.0
    hold_s: float = 0.0
    params: Mapping[str, str] = field(default_factory=dict)


class StopSignal:
    """Asks a run to finish its epoch and stop. May be requested from a signal handler or another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def request(self) -> None:
        """Ask."""
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: totals of this run, and the present. `phase`: loading, running, idle, draining or retrying.

    `counted_epoch`: the last epoch that the totals are of; 0 for none. `catch_up_s`: when nothing will wait any more,
    as the backlog shrank lately; None: not known, or it does not shrink. `backlogs`: what waits at each read.
    """

    flow: str
    epoch: int
    phase: str
    counted_epoch: int = 0
    rows_in: int = 0
    rows_out: int = 0
    rows_late: int = 0
    rows_dead: int = 0
    rows_per_s: float = 0.0
    epoch_ms: float = 0.0
    watermark_us: int | None = None
    backlogs: Mapping[str, Backlog] = field(default_factory=dict)
    catch_up_s: float | None = None
    checks_failed: Mapping[str, int] = field(default_factory=dict)
    message: str = ""

    @property
    def backlog_rows(self) -> int | None:
        """Rows that wait at all reads, as far as their sources know; None where none does."""
        return _sum([one.rows for one in self.backlogs.values()])

    @property
    def backlog_bytes(self) -> int | None:
        """Bytes, in the same way."""
        return _sum([one.size_bytes for one in self.backlogs.values()])


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did. `finished`: the input has an end and it is reached. `stopped`: somebody asked to stop."""

    flow: str
    generation: int
    version: str
    epochs: int
    last_epoch: int | None
    rows_in: int
    rows_out: int
    rows_late: int
    rows_dead: int
    seconds: float
    finished: bool
    stopped: bool
    checks_failed: Mapping[str, int] = field(default_factory=dict)


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
