"""The last thing that two versions did to each key of an upsert sink."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from penstock.connect import Change
from penstock.control.gate.bounds import Bounds
from penstock.control.gate.equality import Hashes, row_hashes
from penstock.control.gate.layout import Layout
from penstock.control.gate.pairing import Pairs, changed_columns
from penstock.control.gate.row_diff import DELETED, UNKNOWN
from penstock.control.gate.samples import EPOCH, GONE, Findings, only_samples

__all__ = ["KeyedRows"]

_CONTROL = (EPOCH, GONE)
_SIDES = ("old", "new")
_KEY = "(key hash)"
_BITS = "(differing)"
_BITS_MAX = 63

Mask = npt.NDArray[np.bool_]


class KeyedRows:
    """For each key that a version touched, its last row, or that it was deleted.

    With more than `rows_max` keys a side, the keys on which both agree lose their values, then those touched longest
    ago: 64 bits of the key and of each side's row stay (`bare`), and which columns differed then. Where one side
    touches such a key again, the hashes tell whether the rows are equal, not in which columns they differ. Beyond
    `hashes_max` of those the comparison ends (`stopped`).
    """

    def __init__(self, key: tuple[str, ...], bounds: Bounds) -> None:
        self.layout = Layout()
        self.stopped = ""
        self.limits: dict[str, str] = {}
        self._key = key
        self._bounds, self._tolerance = bounds, bounds.tolerance
        control = {EPOCH: pl.Int64(), GONE: pl.Boolean()}
        self._last = {side: pl.DataFrame(schema=control) for side in _SIDES}
        self._waiting: dict[str, list[pl.DataFrame]] = {side: [] for side in _SIDES}
        self._waiting_rows = 0
        self._bare = pl.DataFrame(schema=dict.fromkeys((_KEY, *_SIDES, _BITS), pl.UInt64()))

    def relayout(self, layout: Layout) -> None:
        """Compare in other columns from now on."""
        if layout.types != self.layout.types:
            if self.layout.types:
                self._settle()
                if not self._bare.is_empty():
                    self.stopped = "the columns changed after rows had been given up: the rest was not compared"
            self._last = {side: layout.fit(frame, *_CONTROL) for side, frame in self._last.items()}
        self.layout = layout

    def add(self, epoch: int, old: Change | None, new: Change | None) -> None:
        """What one epoch did."""
        for side, change in zip(_SIDES, (old, new), strict=True):
            if change is None or change.is_empty:
                continue
            for frame, gone in ((change.deleted, True), (change.rows, False)):
                if frame is None or frame.is_empty():
                    continue
                marked = frame.with_columns(pl.lit(epoch, pl.Int64).alias(EPOCH), pl.lit(gone).alias(GONE))
                self._waiting[side].append(self.layout.fit(marked, *_CONTROL))
                self._waiting_rows += frame.height
        if self._waiting_rows > max(self._bounds.settle_rows, *(frame.height for frame in self._last.values())):
            self._settle()

    def _settle(self) -> None:
        """Keep the last of each key."""
        for side, waiting in self._waiting.items():
            if waiting:
                both = pl.concat([self._last[side], *waiting])
                self._last[side] = both.unique(self._key, keep="last", maintain_order=True)
        self._waiting, self._waiting_rows = {side: [] for side in _SIDES}, 0
        if max(frame.height for frame in self._last.values()) > self._bounds.rows_max:
            self._relieve()

    def _relieve(self) -> None:
        """Give up the values of keys on which both agree, and where that is not enough, of those touched long ago."""
        pairs = self._both()
        bits = self._bits(pairs)
        self._give_up(pairs, bits, np.asarray(bits == 0))
        heights = {side: frame.height for side, frame in self._last.items()}
        if max(heights.values()) > self._bounds.rows_max:
            self.limits["bare"] = (
                f"more than {self._bounds.rows_max:,} keys differ: of those touched longest ago it is known that they "
                "do, and not in which columns where a version touched them again"
            )
            pairs = self._both()
            # A side is in the order in which its keys were touched last.
            excess = {side: height - self._bounds.rows_max // 2 for side, height in heights.items()}
            self._give_up(pairs, self._bits(pairs), (pairs.old < excess["old"]) | (pairs.new < excess["new"]), excess)
        if self._bare.height > self._bounds.hashes_max:
            self.stopped = f"more than {self._bounds.hashes_max:,} keys were touched: the rest was not compared"

    def _give_up(self, pairs: Pairs, bits: Hashes, chosen: Mask, excess: Mapping[str, int] | None = None) -> None:
        """Keep only hashes of the chosen pairs, and what differed in them; and of the first `excess` rows of a side."""
        old, new = self._last["old"][pairs.old[chosen]], self._last["new"][pairs.new[chosen]]
        both = pl.DataFrame(
            {
                _KEY: self._key_hashes(old),
                "old": self._value_hashes(old),
                "new": self._value_hashes(new),
                _BITS: bits[chosen],
            },
            schema=self._bare.schema,
        )
        self._bare = pl.concat([self._bare.join(both, on=_KEY, how="anti"), both])
        for side, at in zip(_SIDES, (pairs.old, pairs.new), strict=True):
            frame = self._last[side]
            alone = np.ones(frame.height, dtype=bool)
            alone[at] = False
            alone[0 if excess is None else max(0, excess[side]) :] = False
            given_up = frame.filter(pl.Series(alone, dtype=pl.Boolean))
            self._bare = _laid_over(self._bare, self._hashed(given_up, side), side)
            kept = ~alone
            kept[at[chosen]] = False
            self._last[side] = frame.filter(pl.Series(kept, dtype=pl.Boolean))

    def _hashed(self, frame: pl.DataFrame, side: str) -> pl.DataFrame:
        """Hashes of keys and of rows; a delete is a row too."""
        return pl.DataFrame({_KEY: self._key_hashes(frame), side: self._value_hashes(frame)})

    def _key_hashes(self, frame: pl.DataFrame) -> Hashes:
        return row_hashes(frame, {name: self.layout.types[name] for name in self._key}, 0.0)

    def _value_hashes(self, frame: pl.DataFrame) -> Hashes:
        return row_hashes(frame, {**self._values, GONE: pl.Boolean()}, self._tolerance)

    @property
    def _values(self) -> dict[str, pl.DataType]:
        return {name: dtype for name, dtype in self.layout.types.items() if name not in self._key}

    def _both(self) -> Pairs:
        """Where each key is that both sides hold, in the order of the old side."""
        old, new = (
            frame.select(self._key).with_row_index(name, 0).cast({name: pl.Int64()})
            for name, frame in zip(("(old at)", "(new at)"), self._last.values(), strict=True)
        )
        met = old.join(new, on=list(self._key), how="inner", nulls_equal=True).sort("(old at)")
        return Pairs(met["(old at)"].to_numpy(), met["(new at)"].to_numpy(), np.ones(met.height, dtype=np.int64))

    def _bits(self, pairs: Pairs) -> Hashes:
        """In which columns each pair differs: bit 0 for a delete, then one a column; the last one for all further."""
        old, new = self._last["old"][pairs.old], self._last["new"][pairs.new]
        gone_old, gone_new = old[GONE].to_numpy(), new[GONE].to_numpy()
        flags = changed_columns(old, new, self._values, self._tolerance)
        found = np.zeros(old.height, dtype=np.uint64)
        for place, name in enumerate(flags.columns, start=1):
            found |= flags[name].to_numpy().astype(np.uint64) << np.uint64(min(place, _BITS_MAX))
        found[gone_old | gone_new] = 0
        found |= (gone_old ^ gone_new).astype(np.uint64)
        return found

    def _named(self, bits: int) -> tuple[str, ...]:
        """The columns behind bits."""
        names = (DELETED, *self._values)
        found = tuple(name for place, name in enumerate(names[:_BITS_MAX]) if bits >> place & 1)
        return (*found, UNKNOWN) if bits >> _BITS_MAX & 1 else found

    def counts(self, edges: tuple[int, int]) -> Mapping[str, Any]:
        """The fields of a `RowDiff`, as of now. `edges`: first and last epoch of the window."""
        self._settle()
        found = Findings(self._bounds.samples_max)
        out: dict[str, Any] = {}
        samples: dict[str, Any] = {}
        if not self.layout.types:
            return out
        pairs = self._both()
        found.add(
            self._last["old"], self._last["new"], pairs, self.layout.types, key=self._key, tolerance=self._tolerance
        )
        bare, alone = self._apart(pairs)
        present = {side: pl.col(side).is_not_null() for side in _SIDES}
        met = bare.filter(present["old"] & present["new"])
        # Where a side has changed a row since its values were given up, the hashes tell.
        found.add_bare((UNKNOWN,), met.filter(pl.col(_BITS).is_null() & (pl.col("old") != pl.col("new"))).height)
        for bits, rows in met.filter(pl.col(_BITS) > 0).group_by(_BITS).len().sort(_BITS).iter_rows():
            found.add_bare(self._named(bits), rows)
        rows_both = met.height + pairs.rows.size
        gone_hash = self._gone_hash()
        for side, frame in alone.items():
            out[f"only_{side}"] = frame.height + bare.filter(present[side]).height - met.height
            out[f"edge_{side}"] = frame.filter(pl.col(EPOCH).is_in(edges)).height
            out[f"rows_{side}"] = rows_both + out[f"only_{side}"]
            paired = self._last[side][pairs.old if side == "old" else pairs.new]
            given_up = bare.filter(pl.col(side) == gone_hash)
            out[f"deleted_{side}"] = sum(part.height for part in (frame.filter(GONE), paired.filter(GONE), given_up))
            samples[f"only_{side}"] = only_samples(frame, self.layout.types, self._bounds.samples_max, key=self._key)
        out |= {"changed": found.changed, "changes": dict(found.changes), "equal": rows_both - found.changed}
        return out | {"samples": {"changed": found.samples, **samples}}

    def _apart(self, pairs: Pairs) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
        """What is in no pair: keys of which a hash is all that is left, of either side; and the rows of all others."""
        bare, alone = self._bare, {}
        for side, at in zip(_SIDES, (pairs.old, pairs.new), strict=True):
            frame = self._last[side]
            kept = np.ones(frame.height, dtype=bool)
            kept[at] = False
            alone[side] = frame.filter(pl.Series(kept, dtype=pl.Boolean))
        if bare.is_empty():
            return bare, alone
        # Keys whose values both sides hold again are pairs. Those that one side holds again are compared by their hash.
        again = pl.DataFrame({_KEY: self._key_hashes(self._last["old"][pairs.old])})
        known = bare = bare.join(again, on=_KEY, how="anti")
        for side, frame in alone.items():
            hashed = self._hashed(frame, side).with_row_index("(at)")
            there = known.join(hashed, on=_KEY, how="semi")
            newer = hashed.join(there, on=_KEY, how="semi", maintain_order="left")
            bare = _laid_over(bare, newer.select(_KEY, side), side)
            kept = np.ones(frame.height, dtype=bool)
            kept[newer["(at)"].to_numpy()] = False
            alone[side] = frame.filter(pl.Series(kept, dtype=pl.Boolean))
        return bare, alone

    def _gone_hash(self) -> int:
        """The hash of a delete."""
        gone = self.layout.fit(pl.DataFrame({EPOCH: [0], GONE: [True]}), *_CONTROL)
        return int(self._value_hashes(gone)[0])


def _laid_over(bare: pl.DataFrame, hashed: pl.DataFrame, side: str) -> pl.DataFrame:
    """The hashes with newer ones of one side in place of what was there."""
    if hashed.is_empty():
        return bare
    # The hashes are many and the newer ones few: the few are what is looked up in.
    older = bare.join(hashed, on=_KEY, how="semi").drop(side, _BITS)
    newer = hashed.join(older, on=_KEY, how="left").with_columns(pl.lit(None, pl.UInt64).alias(_BITS))
    untouched = bare if older.is_empty() else bare.join(older, on=_KEY, how="anti")
    return pl.concat([untouched, newer.select(bare.columns)])
