"""Stream-stream joins by time distance: both sides remember the rows that can still find a partner.

The rows of a side wait in runs sorted by the hash of their keys, small runs merged into larger ones; a batch is looked
up by binary search, so its cost is O(batch * log(state)) plus its matches. Equal hashes are compared by their keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from penstock.analysis import StateFact, StateLayout
from penstock.engine.batch import END_US, Batch, Epoch, Watermarks
from penstock.engine.expiry import NEVER_US
from penstock.engine.keyed import hash_rows
from penstock.engine.operators.contract import TIME, Operator, Place, StateTable, with_time
from penstock.engine.operators.layouts import duration_fact, layout_of
from penstock.engine.timelog import EXPIRES, TimeLog
from penstock.errors import DefinitionError
from penstock.flow import ops
from penstock.ledger import TableChange, TableImage

__all__ = ["IntervalJoined", "Runs"]

HASH = "__hash"
ID = "__id"


class Runs:
    """The rows of one side, by key. Stored as a log with expiry; the same contract as `TimeLog` towards the state."""

    def __init__(self, name: str, schema: pl.Schema, keys: Sequence[str]) -> None:
        self.name = name
        self._keys = list(keys)
        self._schema = pl.Schema({**schema, TIME: pl.Int64(), EXPIRES: pl.Int64()})
        self._runs: list[pl.DataFrame] = []
        self._appended: list[pl.DataFrame] = []
        self._horizon: int | None = None
        self._moved = False

    def __len__(self) -> int:
        return sum(run.height for run in self._runs)

    @property
    def schema(self) -> pl.Schema:
        """The columns of the rows, with their times."""
        return self._schema

    def append(self, rows: pl.DataFrame) -> None:
        """Remember rows (with `__time` and `__expires`). Rows with a null key never match and are not kept."""
        rows = rows.select(self._schema.names()).drop_nulls(self._keys)
        if rows.height:
            self._appended.append(rows)
            self._add(rows)

    def matches(self, probe: pl.DataFrame, on: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows of `probe` and the remembered rows of equal keys, pair by pair."""
        probe = probe.drop_nulls(on)
        hashes = self._hash(probe.select(pl.col(name).alias(key) for name, key in zip(on, self._keys, strict=True)))
        left: list[pl.DataFrame] = [probe.clear()]
        right: list[pl.DataFrame] = [self._schema.to_frame()]
        for run in self._runs:
            stored = run[HASH].to_numpy()
            low, high = np.searchsorted(stored, hashes, "left"), np.searchsorted(stored, hashes, "right")
            counts = high - low
            total = int(counts.sum())
            if not total:
                continue
            which = np.repeat(np.arange(len(hashes)), counts)
            # The k-th match of a probe is the k-th row of its stretch of the run.
            starts = np.repeat(low - np.cumsum(counts) + counts, counts)
            mine = probe[which]
            theirs = run[np.arange(total) + starts].select(self._schema.names())
            same = pl.Series(np.ones(total, dtype=bool))
            for name, key in zip(on, self._keys, strict=True):
                same &= mine[name] == theirs[key]
            left.append(mine.filter(same))
            right.append(theirs.filter(same))
        return pl.concat(left), pl.concat(right)

    def drop(self, horizon: int) -> None:
        """Forget rows with `__expires <= horizon`; the large runs are cleaned when they are merged."""
        if self._horizon is not None and horizon <= self._horizon:
            return
        self._horizon = horizon
        self._moved = True
        total = len(self)
        if total and self._stale(horizon) * 2 >= total:
            self._runs = [self._clean(run) for run in self._runs]
            self._runs = [run for run in self._runs if run.height]

    def take_change(self) -> TableChange | None:
        """What was appended since the last call, and the horizon."""
        if not self._appended:
            return None
        appends = pl.concat(self._appended)
        self._appended, self._moved = [], False
        return TableChange(name=self.name, kind="log", key=(), appends=appends, expiry=EXPIRES, horizon=self._horizon)

    def whole(self) -> TableChange:
        """The change that makes these runs out of nothing."""
        kept = [self._clean(run).select(self._schema.names()) for run in self._runs]
        rows = pl.concat([self._schema.to_frame(), *kept])
        return TableChange(self.name, "log", appends=rows, expiry=EXPIRES, horizon=self._horizon)

    def load(self, image: TableImage) -> None:
        """Fill the (empty) runs from the state store."""
        self._horizon = image.horizon
        rows = image.rows.select(self._schema.names()).cast(dict(self._schema.items()))
        if rows.height:
            self._add(rows)

    def _hash(self, keys: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        return hash_rows(keys.select(pl.col(key).cast(self._schema[key]) for key in self._keys))

    def _add(self, rows: pl.DataFrame) -> None:
        run = rows.with_columns(pl.Series(HASH, self._hash(rows))).sort(HASH, maintain_order=True)
        self._runs.append(run)
        while len(self._runs) > 1 and self._runs[-2].height <= 2 * self._runs[-1].height:
            newer, older = self._runs.pop(), self._runs.pop()
            merged = self._clean(pl.concat([older, newer])).sort(HASH, maintain_order=True)
            if merged.height:
                self._runs.append(merged)

    def _clean(self, run: pl.DataFrame) -> pl.DataFrame:
        return run if self._horizon is None else run.filter(pl.col(EXPIRES) > self._horizon)

    def _stale(self, horizon: int) -> int:
        """About how much is past its time, from a sample of each run."""
        stale = 0
        for run in self._runs:
            step = max(1, run.height // 64)
            sample = run[EXPIRES].gather_every(step)
            stale += int((sample <= horizon).sum()) * step
        return stale


class IntervalJoined(Operator):
    """`left.join(right, on=..., within=(lower, upper))`: pairs with `lower <= right time - left time <= upper`."""

    def __init__(self, place: Place, operation: ops.IntervalJoin) -> None:
        if operation.how not in ("inner", "left"):
            raise DefinitionError(
                f"a join of two streams by time distance can't be {operation.how!r}",
                step=place.name,
                hint='use how="inner" or "left", or join in a window: join(..., window=ps.tumbling("1m"))',
            )
        if operation.how == "left" and operation.upper_us is None:
            raise DefinitionError(
                "a left join without an end never knows that a row has no partner",
                step=place.name,
                hint='give the bounds: within=("-1h", "1h")',
            )
        self._operation = operation
        self._sides = [
            Runs(f"{place.name}:{side}", schema, keys)
            for side, schema, keys in zip(
                ("left", "right"),
                # A left join also has to know again which of its rows found a partner.
                (pl.Schema({**place.schema, ID: pl.Int64()}), place.inputs[1].schema),
                ([name for name, _ in operation.on], [name for _, name in operation.on]),
                strict=True,
            )
        ]
        tables: list[Any] = [*self._sides]
        self._waiting = self._matched = None
        if operation.how == "left":
            self._waiting = TimeLog(f"{place.name}:waiting", pl.Schema({**place.schema, ID: pl.Int64()}))
            self._matched = TimeLog(f"{place.name}:matched", pl.Schema({ID: pl.Int64()}))
            tables += [self._waiting, self._matched]
        self._timed = operation.lower_us is not None or operation.upper_us is not None
        state: list[StateTable] = tables
        super().__init__(place, state)

    def run(self, inputs: Sequence[Batch], marks: Watermarks, epoch: Epoch) -> Batch:
        """The pairs of which at least one row came in this epoch; for a left join, the rows that stayed alone."""
        left, right = (self._arrived(side, batch.rows, marks, epoch) for side, batch in enumerate(inputs))
        left = left.with_columns((pl.int_range(pl.len(), dtype=pl.Int64) + (epoch.epoch << 32)).alias(ID))
        on_left, on_right = ([pair[side] for pair in self._operation.on] for side in (0, 1))
        pairs = [self._sides[1].matches(left, on_left)]
        self._sides[0].append(left)
        mine, theirs = self._sides[0].matches(right, on_right)
        pairs.append((theirs, mine))
        self._sides[1].append(right)
        results = [self._paired(*pair) for pair in pairs]
        if self._waiting is not None:
            self._waiting.append(left)
        if marks.after_us is not None and self._timed:
            results.append(self._alone(marks.after_us))
            for side in self._sides:
                side.drop(marks.after_us)
        return Batch(pl.concat(results))

    def layout(self) -> list[StateLayout]:
        """The rows of both sides that can find a partner; of a left join also those that found none yet."""
        step, operation = self.place.step, self._operation
        found = []
        for side, (part, table) in enumerate(zip(("left", "right"), self._sides, strict=True)):
            keys = [pair[side] for pair in operation.on]
            reach = self._reach_us(side)
            facts = [
                StateFact("join key", keys, "meaning", ", ".join(keys)),
                # Rows that never go have no time.
                duration_fact("within", reach, "time" if self._timed else "structure"),
            ]
            if self._timed:
                facts.append(StateFact("event time", self.place.inputs[side].event_time, "meaning"))
            if side == 0:
                facts.append(StateFact("how", operation.how, "meaning" if operation.how == "inner" else "nothing"))
            after_us = None if reach is None else max(reach, 0) + 1
            found.append(layout_of(step, table, part=part, facts=facts, expires_base=TIME, expires_after_us=after_us))
        for part, log in (("waiting", self._waiting), ("matched", self._matched)):
            if log is not None:
                after_us = max(operation.upper_us or 0, 0) + 1
                facts = [duration_fact("within", operation.upper_us)]
                found.append(layout_of(step, log, part=part, facts=facts, expires_after_us=after_us))
        return found

    def _reach_us(self, side: int) -> int | None:
        """How much later than a row of this side its partner may be; None: at any time."""
        return self._operation.upper_us if side == 0 else _negative(self._operation.lower_us)

    @property
    def holds_us(self) -> int:
        """A pair, and a left row that stayed alone, has the time of its left row, which may have waited for long."""
        upper_us = self._operation.upper_us
        return 2 * END_US if upper_us is None else max(upper_us, 0)

    def closes_us(self) -> int | None:
        """When the next left row turns out to stay alone."""
        return None if self._waiting is None else self._waiting.earliest()

    def _arrived(self, side: int, rows: pl.DataFrame, marks: Watermarks, epoch: Epoch) -> pl.DataFrame:
        """The rows of one side with their time and how long they can still find a partner; late ones are noted."""
        column = self.place.inputs[side].event_time
        if not self._timed or column is None:
            return rows.with_columns(pl.lit(0, pl.Int64).alias(TIME), pl.lit(NEVER_US, pl.Int64).alias(EXPIRES))
        timed = with_time(rows, column, self.place.name, epoch)
        reach = self._reach_us(side)
        # A partner at exactly time + reach counts, so the row is needed until the watermark has passed that.
        expires = pl.col(TIME) + max(reach, 0) + 1 if reach is not None else pl.lit(NEVER_US, pl.Int64)
        timed = timed.with_columns(expires.alias(EXPIRES))
        if marks.before_us is None:
            return timed
        late = timed[TIME] < marks.before_us
        epoch.late_rows(
            self.place.name if side == 0 else f"{self.place.name}:right", timed.filter(late).select(rows.columns)
        )
        return timed.filter(~late)

    def _paired(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        operation, schema = self._operation, self.place.result.schema
        if self._timed:
            distance = right[TIME] - left[TIME]
            keep = pl.Series(np.ones(left.height, dtype=bool))
            if operation.lower_us is not None:
                keep &= distance >= operation.lower_us
            if operation.upper_us is not None:
                keep &= distance <= operation.upper_us
            left, right = left.filter(keep), right.filter(keep)
        if self._matched is not None and left.height:
            self._matched.append(left.select(ID, EXPIRES))
        others = self._renamed(right)
        return pl.concat([left.select(self.place.schema.names()), others], how="horizontal").select(schema.names())

    def _renamed(self, right: pl.DataFrame) -> pl.DataFrame:
        """The right columns that the result has, under the names that it has for them."""
        keys = {name for _, name in self._operation.on}
        names = [name for name in self.place.inputs[1].schema.names() if name not in keys]
        taken = set(self.place.schema.names())
        return right.select(
            pl.col(name).alias(f"{name}{self._operation.suffix}" if name in taken else name) for name in names
        )

    def _alone(self, watermark_us: int) -> pl.DataFrame:
        """Left rows that can't find a partner any more, with nulls on the right."""
        schema = self.place.result.schema
        if self._waiting is None or self._matched is None:
            return schema.to_frame()
        gone = self._waiting.before(watermark_us + 1)
        alone = gone.join(self._matched.before(watermark_us + 1), on=ID, how="anti", maintain_order="left")
        self._waiting.drop(watermark_us)
        self._matched.drop(watermark_us)
        missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in self.place.schema]
        return alone.with_columns(missing).select(schema.names())


def _negative(value: int | None) -> int | None:
    return None if value is None else -value
