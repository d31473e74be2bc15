"""Which row of the old version became which row of the new one, where no key says so.

An honest guess, and a greedy one. Rows are paired that agree in all columns of a *level*; levels with much agreement
come first:
1. all columns but one, for each column, beginning with the one that differs most;
2. all but the two that differ most, then all but three, and so on;
3. the columns that identify a row on their own, each alone.
A level counts only where it identifies rows: in a sample of all rows, equal ones too, its values name two rows each at
most, on average. So `{id: 1, ok: true}` and `{id: 2, ok: true}` are never one row that changed its `id`. Within a level
rows pair up in the order in which they came. What finds no partner is only in old, or only in new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from penstock.control.gate.equality import Hashes, buckets, column_hashes, differs, mixed, total

__all__ = ["Pairs", "changed_columns", "count_changes", "pair_rows"]

_ROUNDS_MAX = 8
_NAMED_MAX = 2.0
_AGREEMENT_ROWS = 50_000
_RANK_STEP = np.uint64(0x9E3779B97F4A7C15)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """`rows[i]` times the old row `old[i]` became the new row `new[i]` (positions in the frames that were paired)."""

    old: Counts
    new: Counts
    rows: Counts


def pair_rows(
    old: pl.DataFrame,
    new: pl.DataFrame,
    *,
    rows_old: Counts,
    rows_new: Counts,
    types: Mapping[str, pl.DataType],
    tolerance: float,
    sample: pl.DataFrame,
) -> Pairs:
    """Pair the rows of two frames that have no row in common; each stands for so many equal rows.

    `sample`: rows of either version, as they come. Gives every pair once; what is in none is only in one of them.
    """
    left_old, left_new = rows_old.copy(), rows_new.copy()
    found: list[Pairs] = []
    if old.is_empty() or new.is_empty() or not types:
        return _joined(found)
    hashes_old = column_hashes(old, types, tolerance)
    hashes_new = column_hashes(new, types, tolerance)
    kinds = sample.select(buckets(types, tolerance)).unique()
    for level in _levels(hashes_old, hashes_new, kinds):
        keys_old = total([hashes_old[name] for name in level], old.height)
        keys_new = total([hashes_new[name] for name in level], new.height)
        for _ in range(_ROUNDS_MAX):
            pairs = _matched(keys_old, keys_new, left_old, left_new)
            if not pairs.rows.size:
                break
            left_old[pairs.old] -= pairs.rows
            left_new[pairs.new] -= pairs.rows
            found.append(pairs)
        if not (left_old.any() and left_new.any()):
            break
    return _joined(found)


def _joined(found: Sequence[Pairs]) -> Pairs:
    none: Counts = np.empty(0, dtype=np.int64)
    return Pairs(
        np.concatenate([none, *(pairs.old for pairs in found)]),
        np.concatenate([none, *(pairs.new for pairs in found)]),
        np.concatenate([none, *(pairs.rows for pairs in found)]),
    )


def _levels(old: Mapping[str, Hashes], new: Mapping[str, Hashes], kinds: pl.DataFrame) -> Iterator[tuple[str, ...]]:
    """The sets of columns that identify a row, in the order in which they are tried."""
    agreement = {name: _agreement(old[name], new[name]) for name in old}
    by_agreement = sorted(old, key=lambda name: agreement[name])
    tried: set[frozenset[str]] = set()
    but_one = [tuple(name for name in old if name != out) for out in by_agreement]
    chain = [tuple(by_agreement[left_out:]) for left_out in range(2, len(by_agreement))]
    alone = [(name,) for name in reversed(by_agreement)]
    for level in (*but_one, *chain, *alone):
        if not level or frozenset(level) in tried:
            continue
        tried.add(frozenset(level))
        if kinds.height <= _NAMED_MAX * kinds.select(level).n_unique():
            yield level


def _agreement(old: Hashes, new: Hashes) -> float:
    """The share of values that have an equal one on the other side, each once. Of many, those with certain hashes."""
    few = np.uint64(max(1, min(old.size, new.size) // _AGREEMENT_ROWS))
    some_old, some_new = old[old % few == 0], new[new % few == 0]
    if min(some_old.size, some_new.size) >= _AGREEMENT_ROWS // 4:
        old, new = some_old, some_new
    counted = (
        pl.concat([pl.DataFrame({"value": old, "old": 1, "new": 0}), pl.DataFrame({"value": new, "old": 0, "new": 1})])
        .group_by("value")
        .agg(pl.col("old", "new").sum())
    )
    return float(counted.select(pl.min_horizontal("old", "new").sum()).item()) / max(1, min(old.size, new.size))


def _matched(keys_old: Hashes, keys_new: Hashes, left_old: Counts, left_new: Counts) -> Pairs:
    """The first row with a key on one side with the first on the other, the second with the second, and so on."""
    at_old, at_new = np.flatnonzero(left_old), np.flatnonzero(left_new)
    at_old = at_old[np.isin(keys_old[at_old], keys_new[at_new])]
    at_new = at_new[np.isin(keys_new[at_new], keys_old[at_old])]
    _, in_old, in_new = np.intersect1d(
        _ranked(keys_old[at_old]), _ranked(keys_new[at_new]), assume_unique=True, return_indices=True
    )
    old, new = at_old[in_old], at_new[in_new]
    order = np.argsort(old, kind="stable")
    old, new = old[order], new[order]
    return Pairs(old, new, np.minimum(left_old[old], left_new[new]))


def _ranked(keys: Hashes) -> Hashes:
    """Keys that are unique: the key and how many equal ones are before it, in 64 bits."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if keys.size else np.empty(0, dtype=bool)
    place = np.arange(keys.size)
    rank = place - np.maximum.accumulate(np.where(first, place, 0)) if keys.size else place
    out = np.empty_like(keys)
    out[order] = mixed(ordered + rank.astype(np.uint64) * _RANK_STEP)
    return out


def changed_columns(
    old: pl.DataFrame, new: pl.DataFrame, types: Mapping[str, pl.DataType], tolerance: float
) -> pl.DataFrame:
    """For rows side by side: one Boolean column for each column, whether its values differ."""
    both = pl.concat([old.select(*types).rename(_old), new.select(*types).rename(_new)], how="horizontal")
    return both.select(
        differs(pl.col(_old(name)), pl.col(_new(name)), dtype, tolerance).alias(name) for name, dtype in types.items()
    )


def count_changes(flags: pl.DataFrame, rows: pl.Series) -> dict[tuple[str, ...], int]:
    """Which columns differ together, and in how many rows; rows in which nothing differs are left out."""
    names = flags.columns
    if not names:
        return {}
    counted = flags.with_columns(rows.alias("(rows)")).group_by(names).agg(pl.col("(rows)").sum())
    found = {
        tuple(name for name, flag in zip(names, entry, strict=False) if flag): int(entry[-1])
        for entry in counted.iter_rows()
    }
    found.pop((), None)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _old(name: str) -> str:
    return f"old {name}"


def _new(name: str) -> str:
    return f"new {name}"
