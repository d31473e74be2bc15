"""Rows that wait for a time: what windows and joins remember. Appending is O(batch), taking what is due O(what is due).

The rows are kept in a few frames sorted by `__expires`; small frames are merged into larger ones as they pile up (the
logarithmic method of Bentley and Saxe, 1980), which also merges partial aggregates of the same key.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from penstock.ledger import TableChange, TableImage

__all__ = ["EXPIRES", "TimeLog"]

EXPIRES = "__expires"
"""The time (microseconds) from which on a row is no longer needed: it goes when the watermark reaches it."""


class TimeLog:
    """A log of rows by expiry, with what was appended in this epoch."""

    def __init__(
        self, name: str, schema: pl.Schema, merge: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    ) -> None:
        self.name = name
        self.schema = pl.Schema({**schema, EXPIRES: pl.Int64()})
        self._merge = merge
        self._frames: list[pl.DataFrame] = []
        self._appended: list[pl.DataFrame] = []
        self._horizon: int | None = None
        self._moved = False

    def __len__(self) -> int:
        return sum(frame.height for frame in self._frames)

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows (with their `__expires`)."""
        if rows.is_empty():
            return
        rows = rows.select(self.schema.names()).cast(dict(self.schema.items()))
        self._appended.append(rows)
        self._add(rows)

    def before(self, limit: int) -> pl.DataFrame:
        """The rows with `__expires < limit`, older ones of equal expiry first."""
        parts = [frame.head(_rank(frame, limit)) for frame in self._frames]
        parts = [part for part in parts if part.height]
        return pl.concat(parts) if parts else self.schema.to_frame()

    def all(self) -> pl.DataFrame:
        """All rows that wait."""
        return pl.concat(self._frames) if self._frames else self.schema.to_frame()

    def drop(self, horizon: int) -> None:
        """Forget the rows with `__expires <= horizon`."""
        if self._horizon is not None and horizon <= self._horizon:
            return
        self._horizon = horizon
        kept = []
        for frame in self._frames:
            gone = _rank(frame, horizon + 1)
            self._moved = self._moved or gone > 0
            if gone < frame.height:
                kept.append(frame.slice(gone) if gone else frame)
        self._frames = kept

    def earliest(self) -> int | None:
        """The first expiry there is."""
        times = [int(frame.item(0, EXPIRES)) for frame in self._frames]
        return min(times) if times else None

    @property
    def horizon(self) -> int | None:
        """The time up to which rows were dropped; None where none were."""
        return self._horizon

    def take_change(self) -> TableChange | None:
        """What was appended and dropped since the last call."""
        if not self._appended and not self._moved:
            return None
        appends = pl.concat(self._appended) if self._appended else None
        self._appended, self._moved = [], False
        return TableChange(name=self.name, kind="log", key=(), appends=appends, expiry=EXPIRES, horizon=self._horizon)

    def whole(self) -> TableChange:
        """The change that makes this log out of nothing."""
        return TableChange(self.name, "log", appends=self.all(), expiry=EXPIRES, horizon=self._horizon)

    def load(self, image: TableImage) -> None:
        """Fill the (empty) log from the state store."""
        self._horizon = image.horizon
        rows = image.rows.select(self.schema.names()).cast(dict(self.schema.items()))
        if rows.height:
            self._add(rows)

    def _add(self, rows: pl.DataFrame) -> None:
        self._frames.append(rows.sort(EXPIRES, maintain_order=True))
        while len(self._frames) > 1 and self._frames[-2].height <= 2 * self._frames[-1].height:
            newer, older = self._frames.pop(), self._frames.pop()
            both = pl.concat([older, newer])
            self._frames.append((self._merge(both) if self._merge else both).sort(EXPIRES, maintain_order=True))


def _rank(frame: pl.DataFrame, limit: int) -> int:
    """How many rows have `__expires < limit`."""
    return int(frame[EXPIRES].search_sorted(limit, side="left"))
