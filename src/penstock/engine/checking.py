"""Expectations at work: which rows keep a check, as a Polars expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from penstock.engine.batch import Epoch, row_json
from penstock.engine.isolate import isolate
from penstock.errors import CheckFailed
from penstock.flow import Check, Step, ops

__all__ = ["checked", "keeps"]

VERDICT = "__verdict"


def keeps(check: Check) -> pl.Expr:
    """True for each row that keeps the check; never null. `unique` looks at all rows of the batch."""
    if check.kind == "not_null":
        return pl.all_horizontal(pl.col(name).is_not_null() for name in check.columns)
    if check.kind == "unique":
        return pl.struct(check.columns).is_first_distinct()
    column = pl.col(check.columns[0]) if check.columns else pl.lit(None)
    if check.kind == "between":
        kept = column.is_between(*check.arguments)
    elif check.kind == "one_of":
        kept = column.is_in(list(check.arguments[0]))
    elif check.kind == "matches":
        kept = column.str.contains(check.arguments[0])
    else:
        kept = check.arguments[0]
    return kept.fill_null(value=True)


def checked(
    step: Step,
    frame: pl.DataFrame,
    epoch: Epoch,
    offsets: Callable[[Sequence[int]], Sequence[Mapping[str, Any]]],
) -> pl.DataFrame:
    """Hold rows to the step's expectations, note the counts, and give the rows that go on.

    A row on which a check can't be computed does not keep it. `offsets`: where rows were read, by their positions.
    Raises CheckFailed where one is not met and `on_fail` is "stop": the epoch is not committed.
    """
    operation = step.operation
    assert isinstance(operation, ops.Expect)
    if frame.is_empty():
        for check in operation.checks:
            epoch.check(f"{step.name}: {check.name}", passed=0, failed=0)
        return frame
    good = pl.Series([True]).new_from_index(0, frame.height)
    fallen: dict[int, str] = {}
    for check in operation.checks:
        kept = _verdicts(check, frame, step.name)
        failed = frame.height - int(kept.sum())
        samples = [row_json(row) for row in frame.filter(~kept).head(3).iter_rows(named=True)] if failed else []
        epoch.check(f"{step.name}: {check.name}", passed=frame.height - failed, failed=failed, samples=samples)
        if not failed:
            continue
        if operation.on_fail == "stop":
            raise CheckFailed(
                f"{failed} of {frame.height} rows do not keep {check.name}, e.g. {samples[0][:300]}",
                step=step.name,
                epoch=epoch.epoch,
                state_left="the epoch is not committed; nothing of it is in the sinks",
                hint='mend the data or the flow and run again, or let the check count only: on_fail="warn"',
            )
        if operation.on_fail == "dead_letter":
            fallen |= dict.fromkeys((good & ~kept).arg_true().to_list(), f"does not keep {check.name}")
            good &= kept
    places = sorted(fallen)
    for place, offset in zip(places, offsets(places), strict=True):
        epoch.dead_row(step.name, fallen[place], row_json(frame.row(place, named=True)), offset)
    return frame.filter(good) if operation.on_fail == "dead_letter" else frame


def _verdicts(check: Check, frame: pl.DataFrame, step: str) -> pl.Series:
    """For each row whether it keeps the check."""
    verdict = keeps(check).alias(VERDICT)

    def judged(part: pl.DataFrame) -> pl.DataFrame:
        # with_columns, not select: a check on the whole batch is one value, which holds for all of its rows.
        return part.with_columns(verdict).select(VERDICT)

    try:
        return judged(frame)[VERDICT]
    except pl.exceptions.PolarsError:
        known, refused = isolate(judged, frame, pl.DataFrame(schema={VERDICT: pl.Boolean}), step)
        kept = np.zeros(frame.height, dtype=bool)
        kept[np.delete(np.arange(frame.height), [position for position, _ in refused])] = known[VERDICT].to_numpy()
        return pl.Series(VERDICT, kept)
