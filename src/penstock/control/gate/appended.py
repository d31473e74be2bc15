"""Rows of an append sink from two versions, cancelled against each other as they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from penstock.control.gate.bounds import Bounds
from penstock.control.gate.equality import buckets, row_hashes
from penstock.control.gate.layout import Layout
from penstock.control.gate.pairing import pair_rows
from penstock.control.gate.samples import EPOCH, ROWS, Findings, only_samples

__all__ = ["AppendedRows"]

_PLACE = "(place)"
_HASH = "(hash)"
_CONTROL = (ROWS, EPOCH, _PLACE)
_STREAM_ROWS = 200_000
_SAMPLE_ROWS = 20_000


class AppendedRows:
    """A multiset difference that is never larger than `rows_max` rows with their values.

    `pool` has one line for each row that has no equal one yet, `ROWS` times: above zero from the old version, below
    from the new one. Where it grows too large its rows are paired early; what is left then loses its values, and 64
    bits of each are kept (`bare`): enough to cancel it later, not to show or pair it. Beyond `hashes_max` of those
    the comparison ends (`stopped`).
    """

    def __init__(self, bounds: Bounds) -> None:
        self.layout = Layout()
        self.rows_old = self.rows_new = 0
        self.stopped = ""
        self.limits: dict[str, str] = {}
        self._bounds, self._tolerance = bounds, bounds.tolerance
        self._found = Findings(bounds.samples_max)
        self._pool = pl.DataFrame(schema=dict.fromkeys(_CONTROL, pl.Int64()))
        self._bare = pl.DataFrame(schema={_HASH: pl.UInt64(), ROWS: pl.Int64()})
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = self._place = 0
        self._sample = pl.DataFrame()

    def relayout(self, layout: Layout) -> None:
        """Compare in other columns from now on; what is unmatched is carried over."""
        if layout.types == self.layout.types:
            self.layout = layout
            return
        if self.layout.types:
            self._settle()
            if not self._bare.is_empty():
                self.stopped = "the columns changed after rows had been given up: the rest was not compared"
        self._pool, self._sample = layout.fit(self._pool, *_CONTROL), layout.fit(self._sample)
        self.layout = layout

    def add(self, epoch: int, old: pl.DataFrame | None, new: pl.DataFrame | None) -> None:
        """The rows of one epoch."""
        self.rows_old += 0 if old is None else old.height
        self.rows_new += 0 if new is None else new.height
        self._remember(old if old is not None else new)
        if old is not None and new is not None and old.schema == new.schema and old.equals(new):
            return
        for frame, sign in ((old, 1), (new, -1)):
            if frame is not None and not frame.is_empty():
                self._wait(frame, epoch, sign)
        if self._waiting_rows > max(self._bounds.settle_rows, self._pool.height):
            self._settle()

    def _wait(self, frame: pl.DataFrame, epoch: int, sign: int) -> None:
        placed = frame.with_columns(
            pl.lit(sign, pl.Int64).alias(ROWS),
            pl.lit(epoch, pl.Int64).alias(EPOCH),
            pl.int_range(self._place, self._place + frame.height, dtype=pl.Int64).alias(_PLACE),
        )
        self._waiting.append(self.layout.fit(placed, *_CONTROL))
        self._waiting_rows += frame.height
        self._place += frame.height

    def _remember(self, frame: pl.DataFrame | None) -> None:
        """Keep a sample of all rows: it tells which columns identify one."""
        room = _SAMPLE_ROWS - self._sample.height
        if frame is not None and room > 0:
            self._sample = pl.concat([self._sample, self.layout.fit(frame.head(room))])

    def _settle(self) -> None:
        """Cancel what came since the last time."""
        if not self._waiting:
            return
        lines = self._net(pl.concat([self._pool, *self._waiting]))
        if self._tolerance:
            lines = self._net(lines, shift=0.5)
        self._waiting, self._waiting_rows = [], 0
        if not self._bare.is_empty():
            lines = self._cancel_bare(lines)
        self._pool = lines.sort(_PLACE)
        if self._pool.height > self._bounds.rows_max:
            self._relieve()

    def _net(self, lines: pl.DataFrame, *, shift: float = 0.0) -> pl.DataFrame:
        """One line for each different row, with how often the old version has it more than the new one, if at all."""
        types = self.layout.types
        names = {name: f"bucket of {name}" for name, dtype in types.items() if self._tolerance and dtype.is_float()}
        keys = [
            expression.alias(names.get(name, name))
            for name, expression in zip(types, buckets(types, self._tolerance, shift=shift), strict=True)
        ]
        # Rows without a column in common can only be counted.
        keys = keys or [(pl.col(ROWS) > 0).alias("(side)")]
        grouped = lines.lazy().group_by(keys)
        merged = grouped.agg(pl.col(list(names)).first(), pl.col(ROWS).sum(), pl.col(EPOCH).max(), pl.col(_PLACE).min())
        left = merged.filter(pl.col(ROWS) != 0).select(*types, *_CONTROL)
        return left.collect(engine="streaming" if lines.height > _STREAM_ROWS else "in-memory")

    def _cancel_bare(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Cancel lines against rows of which only the hash is left."""
        hashed = lines.with_columns(pl.Series(_HASH, self._hashes(lines), dtype=pl.UInt64))
        # The hashes are many and the lines are few: the few are what is looked up in.
        known = self._bare.join(hashed, on=_HASH, how="semi")
        if known.is_empty():
            return lines
        met = hashed.join(known.rename({ROWS: "(bare)"}), on=_HASH, how="left")
        opposite = pl.col(ROWS).sign() * pl.col("(bare)").sign() < 0
        apart, met = met.filter(~opposite.fill_null(value=False)), met.filter(opposite)
        total = pl.col(ROWS) + pl.col("(bare)")
        # What is left has the sign of the larger of the two, and stays on that one's side.
        lines_left = met.filter(total.sign() == pl.col(ROWS).sign()).with_columns(total.alias(ROWS))
        bare_left = met.filter(total.sign() == pl.col("(bare)").sign()).select(_HASH, total.alias(ROWS))
        self._bare = pl.concat([self._bare.join(met, on=_HASH, how="anti"), bare_left])
        return pl.concat([apart, lines_left]).select(*self.layout.types, *_CONTROL)

    def _hashes(self, lines: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        return row_hashes(lines, self.layout.types, self._tolerance)

    def _relieve(self) -> None:
        """Make the pool small: pair early, then keep only hashes of the oldest."""
        changed = self._found.changed
        self._pool = self._paired(self._found)
        if self._found.changed > changed:
            self.limits["early"] = (
                f"more than {self._bounds.rows_max:,} rows were unmatched at once: rows were paired before the window "
                "was over, so one that comes epochs later may be told as changed"
            )
        excess = self._pool.height - self._bounds.rows_max // 2
        if self._pool.height <= self._bounds.rows_max:
            return
        given_up, self._pool = self._pool.head(excess), self._pool.tail(-excess)
        self.limits["bare"] = (
            f"more than {self._bounds.rows_max:,} rows have no partner: the oldest of them were counted, not paired"
        )
        hashed = given_up.select(pl.Series(_HASH, self._hashes(given_up), dtype=pl.UInt64), ROWS)
        known = self._bare.join(hashed, on=_HASH, how="semi")
        if not known.is_empty():
            self._bare = self._bare.join(known, on=_HASH, how="anti")
        counted = pl.concat([known, hashed]).group_by(_HASH).agg(pl.col(ROWS).sum())
        self._bare = pl.concat([self._bare, counted.filter(pl.col(ROWS) != 0)])
        if self._bare.height > self._bounds.hashes_max:
            self.stopped = f"more than {self._bounds.hashes_max:,} rows have no partner: the rest was not compared"

    def _paired(self, found: Findings) -> pl.DataFrame:
        """Pair what is in the pool, as it is; gives what is left of it."""
        old, new = self._pool.filter(pl.col(ROWS) > 0), self._pool.filter(pl.col(ROWS) < 0)
        rows_old, rows_new = old[ROWS].to_numpy().copy(), -new[ROWS].to_numpy()
        pairs = pair_rows(
            old,
            new,
            rows_old=rows_old,
            rows_new=rows_new,
            types=self.layout.types,
            tolerance=self._tolerance,
            sample=self._sample,
        )
        found.add(old, new, pairs, self.layout.types, tolerance=self._tolerance)
        np.subtract.at(rows_old, pairs.old, pairs.rows)
        np.subtract.at(rows_new, pairs.new, pairs.rows)
        left = pl.concat([old.with_columns(pl.Series(ROWS, rows_old)), new.with_columns(pl.Series(ROWS, -rows_new))])
        return left.filter(pl.col(ROWS) != 0).sort(_PLACE)

    def counts(self, edges: tuple[int, int]) -> Mapping[str, Any]:
        """The fields of a `RowDiff`, as of now. `edges`: first and last epoch of the window."""
        self._settle()
        found = self._found.copy()
        left = self._paired(found) if not self._pool.is_empty() else self._pool
        sides = {"old": left, "new": left}
        if not left.is_empty():
            sides = {"old": left.filter(pl.col(ROWS) > 0), "new": left.filter(pl.col(ROWS) < 0)}
        out: dict[str, Any] = {"changed": found.changed, "changes": dict(found.changes)}
        samples: dict[str, Any] = {"changed": found.samples}
        for side, sign in (("old", 1), ("new", -1)):
            frame, given_up = sides[side], self._bare.filter(pl.col(ROWS) * sign > 0)
            at_edge = frame.filter(pl.col(EPOCH).is_in(edges)) if not frame.is_empty() else frame
            out[f"only_{side}"] = _sum(frame) + _sum(given_up)
            out[f"edge_{side}"] = _sum(at_edge)
            samples[f"only_{side}"] = only_samples(frame, self.layout.types, self._bounds.samples_max)
        out |= {"rows_old": self.rows_old, "rows_new": self.rows_new, "samples": samples}
        out["equal"] = self.rows_old - out["changed"] - out["only_old"]
        assert out["equal"] == self.rows_new - out["changed"] - out["only_new"]
        return out


def _sum(lines: pl.DataFrame) -> int:
    return 0 if lines.is_empty() else abs(int(lines[ROWS].sum()))
