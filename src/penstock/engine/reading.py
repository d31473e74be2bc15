"""Reading the ranges of a plan, the next one ahead of its turn where the flow is behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import polars as pl

from penstock.analysis import Analysis
from penstock.connect import PartitionRead, Source
from penstock.engine.background import Background, one_thread
from penstock.engine.batch import Epoch
from penstock.engine.rows import Origin, Rows
from penstock.flow import PROCESSING_TIME, Step, ops
from penstock.ledger import EpochPlan

__all__ = ["Reader", "Reads", "rows_of", "with_processing_time"]

Reads = Mapping[str, Sequence[PartitionRead]]
"""By read step: what its partitions gave."""


class Reader:
    """Reads plans in a thread of its own, so that parsing one epoch overlaps with running the one before."""

    def __init__(self, sources: Mapping[str, Source], background: Background = one_thread) -> None:
        self._sources = sources
        self._pool = background("penstock-read")
        self._ahead: tuple[EpochPlan, Future[Reads]] | None = None

    def ahead(self, plan: EpochPlan) -> None:
        """Begin to read the next plan. Reading has no effect, so it may come before the plan is durable."""
        self._ahead = (plan, self._pool.submit(self._read, plan))

    def read(self, plan: EpochPlan) -> Reads:
        """The rows of a plan. Raises what the sources raise."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == plan:
            return ahead[1].result()
        return self._read(plan)

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, plan: EpochPlan) -> Reads:
        return {
            step: source.read(plan.ranges[step]["start"], plan.ranges[step]["end"])
            for step, source in self._sources.items()
            if step in plan.ranges and plan.ranges[step]["start"] != plan.ranges[step]["end"]
        }


def rows_of(reads: Reads, plan: EpochPlan, analysis: Analysis, epoch: Epoch) -> dict[str, Rows]:
    """The frames of an epoch by read step; records that never became rows go to the dead letters."""
    rows: dict[str, Rows] = {}
    for step in analysis.definition.reads:
        schema = analysis.steps[step.name].schema
        parts = reads.get(step.name, ())
        frames = [part.frame for part in parts if part.frame.height]
        for part in parts:
            for reject in part.rejects:
                place = {"source": step.name, "partition": reject.partition, "offset": reject.offset}
                epoch.dead_row(step.name, reject.error, reject.raw, place)
        frame = pl.concat(frames, rechunk=False) if frames else schema.to_frame()
        if frames:
            frame = with_processing_time(step, frame, epoch)
        origin = None
        if frames:
            heights = tuple((part.partition, part.frame.height) for part in parts)
            origin = Origin(step.name, heights, plan.ranges[step.name])
        rows[step.name] = Rows(frame.select(schema.names()), origin)
    return rows


def with_processing_time(step: Step, frame: pl.DataFrame, epoch: Epoch) -> pl.DataFrame:
    """The rows with the time of the epoch, where that is the event time of the read step."""
    if not isinstance(step.operation, ops.Read) or step.operation.event_time != PROCESSING_TIME:
        return frame
    now = pl.lit(epoch.now_us, pl.Int64).cast(pl.Datetime("us")).alias(PROCESSING_TIME)
    return frame.with_columns(now)
