"""Expectations at work: which rows keep a check, as a Polars expression."""

from __future__ import annotations

import polars as pl

from penstock.engine.batch import Epoch, row_json
from penstock.errors import CheckFailed
from penstock.flow import Check, Step, ops

__all__ = ["checked", "keeps"]


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


def checked(step: Step, frame: pl.DataFrame, epoch: Epoch) -> pl.DataFrame:
    """Hold rows to the step's expectations, note the counts, and give the rows that go on.

    Raises CheckFailed where one is not met and `on_fail` is "stop": the epoch is not committed.
    """
    operation = step.operation
    assert isinstance(operation, ops.Expect)
    if frame.is_empty():
        for check in operation.checks:
            epoch.check(f"{step.name}: {check.name}", passed=0, failed=0)
        return frame
    verdicts = frame.select(keeps(check).alias(str(place)) for place, check in enumerate(operation.checks))
    good = pl.Series([True]).new_from_index(0, frame.height)
    for place, check in enumerate(operation.checks):
        kept = verdicts[str(place)]
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
            for row in frame.filter(good & ~kept).iter_rows(named=True):
                epoch.dead_row(step.name, f"does not keep {check.name}", row_json(row))
            good &= kept
    return frame.filter(good) if operation.on_fail == "dead_letter" else frame
