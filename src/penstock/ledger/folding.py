"""Folding: many changes of a table into one change, or onto a whole state into the table as it is.

Both give what applying the changes one by one gives. Cost: one hash pass over the changed rows, and (for an image) one
over the whole state, whatever the number of changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from penstock.errors import LedgerError
from penstock.ledger.failures import permanent
from penstock.ledger.tablestate import Segment, TableChange, TableImage

__all__ = ["fold", "merge_changes"]


def fold(segments: Iterable[Segment]) -> dict[str, TableImage]:
    """The tables after all segments, in the order in which they are given. Raises LedgerError where they don't fit."""
    bases: dict[str, TableChange] = {}
    changes: dict[str, list[TableChange]] = {}
    for segment in segments:
        if segment.whole:
            bases = {change.name: change for change in segment.tables}
            changes = {name: [] for name in bases}
        else:
            for change in segment.tables:
                changes.setdefault(change.name, []).append(change)
    return {name: _image(bases.get(name), changed) for name, changed in changes.items()}


def merge_changes(segments: Sequence[Segment]) -> list[TableChange]:
    """One change a table that does what the segments do one after the other.

    Deletes stay, because an older segment may hold the key. Expired rows of a log go (the horizon stays and would end
    them anyway); expired rows of a keyed table stay, because they hide older ones.
    """
    changes: dict[str, list[TableChange]] = {}
    for segment in segments:
        for change in segment.tables:
            changes.setdefault(change.name, []).append(change)
    return [_merged(changed) for changed in changes.values()]


def _merged(changes: list[TableChange]) -> TableChange:
    newest, facts = _facts(changes)
    if newest.kind == "log":
        return TableChange(newest.name, "log", appends=_alive(_appended(newest.name, changes), **facts), **facts)
    latest = _latest(newest, changes)
    if latest is None:
        return TableChange(newest.name, "keyed", newest.key, **facts)
    rows, gone = latest
    return TableChange(newest.name, "keyed", newest.key, upserts=rows, deletes=gone, **facts)


def _image(base: TableChange | None, changes: list[TableChange]) -> TableImage:
    every = [base, *changes] if base is not None else changes
    newest, facts = _facts(every)
    if newest.kind == "log":
        rows = _appended(newest.name, every)
    else:
        rows = _placed(newest, None if base is None else base.upserts, changes)
    found = _alive(rows, **facts)
    return TableImage(newest.name, newest.kind, newest.key, pl.DataFrame() if found is None else found, **facts)


def _facts(changes: list[TableChange]) -> tuple[TableChange, dict[str, Any]]:
    """The newest change, and expiry, horizon and scalars after all of them."""
    newest = changes[-1]
    for change in changes:
        if (change.kind, change.key) != (newest.kind, newest.key):
            raise _misfit(
                newest.name,
                f"it is a {change.kind} table by {list(change.key)} first, and a {newest.kind} table by "
                f"{list(newest.key)} later",
            )
    horizons = [change.horizon for change in changes if change.horizon is not None]
    scalars: dict[str, Any] = {}
    for change in changes:
        scalars.update(change.scalars)
    expiry = next((change.expiry for change in reversed(changes) if change.expiry is not None), None)
    return newest, {"expiry": expiry, "horizon": max(horizons, default=None), "scalars": scalars}


def _alive(rows: pl.DataFrame | None, *, expiry: str | None, horizon: int | None, **_: object) -> pl.DataFrame | None:
    if rows is None or expiry is None or horizon is None or expiry not in rows.columns:
        return rows
    return rows.filter((pl.col(expiry) > horizon) | pl.col(expiry).is_null())


def _appended(name: str, changes: list[TableChange]) -> pl.DataFrame | None:
    frames = [change.appends for change in changes if change.appends is not None]
    return _stacked(name, frames, "vertical") if frames else None


def _placed(newest: TableChange, base: pl.DataFrame | None, changes: list[TableChange]) -> pl.DataFrame | None:
    """The rows of `base` that no change touched, and the last row of each key that one did."""
    latest = _latest(newest, changes)
    if latest is None:
        return base
    rows, gone = latest
    if base is None:
        return rows
    key = list(newest.key)
    try:
        touched = pl.concat([frame.select(key) for frame in (rows, gone) if frame is not None])
        if len(key) == 1 and (touched.dtypes[0] == pl.String or touched.dtypes[0].is_integer()):
            column = base[key[0]]  # a third of the time of the join, which gathers, and no second copy of the keys
            kept = base.filter(~column.is_in(touched[key[0]].implode(), nulls_equal=True))
        else:
            kept = base.join(touched, on=key, how="anti", nulls_equal=True)
    except pl.exceptions.PolarsError as problem:
        raise _misfit(newest.name, str(problem)) from problem
    return kept if rows is None else _stacked(newest.name, [kept, rows], "vertical")


def _latest(newest: TableChange, changes: list[TableChange]) -> tuple[pl.DataFrame | None, pl.DataFrame | None] | None:
    """The last word about each key: rows that are there, and keys that are gone. None where nothing was said."""
    key = list(newest.key)
    upserted = [change.upserts for change in changes if change.upserts is not None]
    live = "live"
    while live in key or any(live in frame.columns for frame in upserted):
        live += "_"
    said = [
        frame.with_columns(pl.lit(role == "upserts").alias(live))
        for change in changes
        for role, frame in change.parts.items()
    ]
    if not said:
        return None
    ops = _stacked(newest.name, said, "diagonal").unique(subset=key, keep="last")
    rows = None
    if upserted:
        rows = ops.filter(pl.col(live)).select(upserted[-1].columns)
    return rows, ops.filter(~pl.col(live)).select(key)


def _stacked(name: str, frames: list[pl.DataFrame], how: Any) -> pl.DataFrame:
    if how == "vertical":
        order = frames[-1].columns
        frames = [frame if set(frame.columns) != set(order) else frame.select(order) for frame in frames]
    try:
        return pl.concat(frames, how=how)
    except pl.exceptions.PolarsError as problem:
        raise _misfit(name, str(problem)) from problem


def _misfit(name: str, problem: str) -> LedgerError:
    return permanent(
        LedgerError(
            f"the segments of state table {name!r} don't fit together: {problem}",
            state_left="no file was changed",
            hint="the state was written by another version of the flow; migrate it or start with --reset",
        )
    )
