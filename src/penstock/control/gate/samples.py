"""A few of the rows that differ, as JSON values that a person can read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from typing import Any

import polars as pl

from penstock.control.gate.pairing import Pairs, changed_columns, count_changes
from penstock.control.gate.row_diff import DELETED

__all__ = ["EPOCH", "GONE", "ROWS", "Findings", "only_samples", "shown"]

ROWS = "(rows)"
"""How many equal rows a line stands for; below zero in frames that hold both sides: those are of the new version."""
EPOCH = "(epoch)"
"""In which epoch a row came."""
GONE = "(gone)"
"""Whether a line is a delete of its key."""

_TEXT_MAX = 200
_ITEMS_MAX = 20
_COMBINATIONS_MAX = 200


class Findings:
    """The changed rows found so far: how many, in which columns together, and a sample of each kind of change."""

    def __init__(self, samples_max: int) -> None:
        self.changed = 0
        self.changes: Counter[tuple[str, ...]] = Counter()
        self.samples: list[dict[str, Any]] = []
        self._samples_max = samples_max

    def copy(self) -> Findings:
        """One to go on with, while this one stays as it is."""
        other = Findings(self._samples_max)
        other.changed, other.changes, other.samples = self.changed, Counter(self.changes), list(self.samples)
        return other

    def add(
        self,
        old: pl.DataFrame,
        new: pl.DataFrame,
        pairs: Pairs,
        types: Mapping[str, pl.DataType],
        *,
        key: tuple[str, ...] = (),
        tolerance: float = 0.0,
    ) -> None:
        """Take note of rows that became others. Pairs that are equal after all (by tolerance) are no change."""
        before, after = old[pairs.old], new[pairs.new]
        values = {name: dtype for name, dtype in types.items() if name not in key}
        flags = changed_columns(before, after, values, tolerance)
        if GONE in before.columns:
            one, other = before[GONE], after[GONE]
            neither = ~(one | other)
            flags = pl.DataFrame([*(flags[name] & neither for name in values), (one ^ other).alias(DELETED)])
        rows = pl.Series(pairs.rows, dtype=pl.Int64)
        found = count_changes(flags, rows)
        self.changed += sum(found.values())
        self.changes.update(found)
        self._trim()
        self._sample(before, after, flags, types, key)

    def add_bare(self, names: tuple[str, ...], rows: int) -> None:
        """Take note of rows that differ whose values nobody has any more."""
        self.changed += rows
        if rows:
            self.changes[names] += rows
            self._trim()

    def _trim(self) -> None:
        """Keep the combinations of columns few: the rarest become one, of all their columns."""
        if len(self.changes) <= _COMBINATIONS_MAX:
            return
        ordered = self.changes.most_common()
        rare = ordered[_COMBINATIONS_MAX - 1 :]
        self.changes = Counter(dict(ordered[: _COMBINATIONS_MAX - 1]))
        names = tuple(dict.fromkeys(name for combination, _ in rare for name in combination))
        self.changes[names] += sum(rows for _, rows in rare)

    def _sample(
        self,
        before: pl.DataFrame,
        after: pl.DataFrame,
        flags: pl.DataFrame,
        types: Mapping[str, pl.DataType],
        key: tuple[str, ...],
    ) -> None:
        room = self._samples_max - len(self.samples)
        if room <= 0 or not flags.columns:
            return
        place = "(place)"
        differing = flags.with_row_index(place).filter(pl.any_horizontal(flags.columns))
        # One of each kind of change first, then more of what there is.
        first = differing.unique(flags.columns, keep="first", maintain_order=True)
        chosen = pl.concat([first, differing]).unique(place, maintain_order=True).head(room)
        for entry in chosen.iter_rows(named=True):
            at = entry[place]
            self.samples.append(
                {
                    "key": {name: shown(before[name][at]) for name in key},
                    "columns": [name for name in flags.columns if entry[name]],
                    "old": _row(before, at, types),
                    "new": _row(after, at, types),
                    "epoch_old": before[EPOCH][at],
                    "epoch_new": after[EPOCH][at],
                }
            )


def only_samples(
    frame: pl.DataFrame, types: Mapping[str, pl.DataType], samples_max: int, *, key: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """The first rows of what only one version has: the row (None: a delete), its key, its epoch, how often."""
    return [
        {
            "key": {name: shown(frame[name][at]) for name in key},
            "row": _row(frame, at, types),
            "epoch": frame[EPOCH][at],
            "rows": abs(frame[ROWS][at]) if ROWS in frame.columns else 1,
        }
        for at in range(min(samples_max, frame.height))
    ]


def _row(frame: pl.DataFrame, at: int, types: Mapping[str, pl.DataType]) -> dict[str, Any] | None:
    if GONE in frame.columns and frame[GONE][at]:
        return None
    return {name: shown(frame[name][at]) for name in types}


def shown(value: Any) -> Any:
    """A value as JSON: times as ISO text, long ones cut, what JSON has no word for as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, bytes):
        return _cut("0x" + value[:_TEXT_MAX].hex())
    if isinstance(value, pl.Series):
        return shown(value.to_list())
    if isinstance(value, Mapping):
        return dict(_few((str(name), shown(part)) for name, part in value.items()))
    if isinstance(value, list | tuple):
        return list(_few(shown(part) for part in value)) + (["..."] if len(value) > _ITEMS_MAX else [])
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 3] + "..."


def _few(parts: Iterator[Any]) -> Iterator[Any]:
    return (part for _, part in zip(range(_ITEMS_MAX), parts, strict=False))
