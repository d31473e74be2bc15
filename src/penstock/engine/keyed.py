"""Keyed state in columns: one row a key, found by a hash index, read and written a batch at a time.

What changed in an epoch is its delta. The cost of an epoch follows the rows it touches, not the rows there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from penstock.engine.columns import Column, grown
from penstock.engine.expiry import Expiry
from penstock.engine.index import ABSENT, Hashes, HashIndex, Slots
from penstock.ledger import TableChange, TableImage

__all__ = ["KeyedTable", "hash_rows"]

_LOAD_ROWS = 500_000
EXPIRES = "__expires"
"""The column of the stored state that says when a row goes (microseconds)."""


def hash_rows(keys: pl.DataFrame) -> Hashes:
    """A 64-bit hash of each row; only good inside this process."""
    return keys.hash_rows(seed=7).to_numpy()


class KeyedTable:
    """The rows of one stateful step by key. With `expiring`, each row carries a time after which `due` gives it."""

    def __init__(
        self,
        name: str,
        key: Mapping[str, pl.DataType],
        values: Mapping[str, pl.DataType],
        *,
        expiring: bool = False,
        hasher: Callable[[pl.DataFrame], Hashes] = hash_rows,
    ) -> None:
        self.name = name
        self.key = tuple(key)
        self._columns = {column: Column(dtype) for column, dtype in {**key, **values}.items()}
        self._schema = pl.Schema({**key, **values})
        self._hasher = hasher
        self._index = HashIndex()
        self._hashes: Hashes = np.zeros(16, dtype=np.uint64)
        self._live: NDArray[np.bool_] = np.zeros(16, dtype=bool)
        self._end = 0
        self._count = 0
        self._free: list[Slots] = []
        self._expiry = Expiry() if expiring else None
        self._touched: list[Slots] = []
        self._deleted: list[pl.DataFrame] = []

    def __len__(self) -> int:
        return self._count

    @property
    def schema(self) -> pl.Schema:
        """Key and value columns."""
        return self._schema

    @property
    def is_expiring(self) -> bool:
        """Whether each row carries a time after which it is due."""
        return self._expiry is not None

    def find(self, keys: pl.DataFrame) -> Slots:
        """The slot of each key, or ABSENT. `keys` holds the key columns (others are ignored)."""
        own = self._only_key(keys)
        return self._find(own, self._hasher(own))

    def gather(self, slots: Slots, columns: tuple[str, ...] | None = None) -> pl.DataFrame:
        """The rows at slots (all present), with all columns or just some."""
        names = self._schema.names() if columns is None else columns
        return pl.DataFrame([self._columns[name].gather(slots).alias(name) for name in names])

    def expires(self, slots: Slots) -> NDArray[np.int64]:
        """When the rows at slots go."""
        assert self._expiry is not None
        return self._expiry.times(slots)

    def upsert(
        self, rows: pl.DataFrame, expires_us: NDArray[np.int64] | int | None = None, *, found: Slots | None = None
    ) -> Slots:
        """Put rows (all columns, each key once) in place of those with the same key; gives their slots.

        `found`: what `find` gave for these rows, where nothing changed since.
        """
        keys = self._only_key(rows)
        slots = self._find(keys, self._hasher(keys)) if found is None else found.copy()
        absent = slots == ABSENT
        if absent.any():
            new_keys = keys.filter(pl.Series(absent)) if not absent.all() else keys
            slots[absent] = self._insert(new_keys)
        for name in self._schema.names()[len(self.key) :]:
            self._columns[name].scatter(slots, rows[name])
        if self._expiry is not None:
            assert expires_us is not None
            self._expiry.set(slots, expires_us)
        self._touched.append(slots)
        return slots

    def delete(self, slots: Slots) -> None:
        """Take rows out; slots must be present and distinct."""
        if not len(slots):
            return
        self._deleted.append(self.gather(slots, self.key))
        self._index.remove(self._hashes[slots], slots)
        self._live[slots] = False
        self._count -= len(slots)
        self._free.append(slots)
        if self._expiry is not None:
            self._expiry.clear(slots)

    def due(self, now_us: int) -> Slots:
        """The slots of rows whose time has come (`expires <= now_us`); they stay until they are deleted."""
        assert self._expiry is not None
        slots = self._expiry.due(now_us)
        return slots[self._live[slots]]

    def next_due_us(self) -> int | None:
        """A time before which nothing is due, or None."""
        return None if self._expiry is None else self._expiry.earliest()

    def rows(self) -> pl.DataFrame:
        """All rows."""
        return self.gather(np.flatnonzero(self._live[: self._end]))

    def take_change(self) -> TableChange | None:
        """What changed since the last call, for the state store; None where nothing did."""
        if not self._touched and not self._deleted:
            return None
        touched = self._touched[0] if len(self._touched) == 1 else _distinct(self._touched)
        touched = touched[self._live[touched]]
        upserts = self._with_expiry(self.gather(touched), touched)
        deletes = None
        if self._deleted:
            gone = pl.concat(self._deleted).unique(maintain_order=True)
            deletes = gone.filter(pl.Series(self.find(gone) == ABSENT))
        self._touched, self._deleted = [], []
        return TableChange(name=self.name, kind="keyed", key=self.key, upserts=upserts, deletes=deletes)

    def whole(self) -> TableChange:
        """The change that makes this table out of nothing."""
        slots = np.flatnonzero(self._live[: self._end])
        return TableChange(self.name, "keyed", self.key, upserts=self._with_expiry(self.gather(slots), slots))

    def load(self, image: TableImage) -> None:
        """Fill the (empty) table from the state store. Columns it does not know are an error of the caller."""
        rows = image.rows
        expires = rows[EXPIRES].to_numpy() if self._expiry is not None else None
        rows = rows.select(self._schema.names()).cast(dict(self._schema.items()))
        self._index = HashIndex(max(1024, rows.height))
        self._reserve(rows.height)
        # The stored rows are one a key: no look for what is there already.
        for start in range(0, rows.height, _LOAD_ROWS):
            part = rows.slice(start, _LOAD_ROWS)
            slots = self._insert(part.select(self.key))
            for name in self._schema.names()[len(self.key) :]:
                self._columns[name].scatter(slots, part[name])
            if self._expiry is not None and expires is not None:
                self._expiry.set(slots, expires[start : start + _LOAD_ROWS])
        self._touched, self._deleted = [], []

    def _only_key(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(pl.col(name).cast(self._schema[name]) for name in self.key)

    def _find(self, keys: pl.DataFrame, hashes: Hashes) -> Slots:
        def same(slots: Slots, positions: Slots) -> NDArray[np.bool_]:
            mask = np.ones(len(slots), dtype=bool)
            whole = len(positions) == keys.height
            for name in self.key:
                theirs = keys[name] if whole else keys[name].gather(pl.Series(positions))
                mask &= self._columns[name].equal(slots, theirs)
            return mask

        return self._index.find(hashes, same)

    def _insert(self, keys: pl.DataFrame) -> Slots:
        """Give new keys their slots."""
        fresh = self._allocate(keys.height)
        self._hashes[fresh] = self._hasher(keys)
        self._live[fresh] = True
        self._count += len(fresh)
        for name in self.key:
            self._columns[name].scatter(fresh, keys[name])
        self._index.insert(self._hashes[fresh], fresh, self._hashes)
        return fresh

    def _allocate(self, count: int) -> Slots:
        parts: list[Slots] = []
        while count and self._free:
            free = self._free.pop()
            if len(free) > count:
                self._free.append(free[count:])
                free = free[:count]
            parts.append(free)
            count -= len(free)
        if count:
            parts.append(np.arange(self._end, self._end + count, dtype=np.int64))
            self._end += count
            self._reserve(self._end)
        return np.concatenate(parts)

    def _reserve(self, size: int) -> None:
        before = len(self._live)
        self._hashes = grown(self._hashes, size)
        self._live = grown(self._live, size)
        self._live[before:] = False
        for column in self._columns.values():
            column.reserve(size)
        if self._expiry is not None:
            self._expiry.reserve(size)

    def _with_expiry(self, rows: pl.DataFrame, slots: Slots) -> pl.DataFrame:
        if self._expiry is None:
            return rows
        return rows.with_columns(pl.Series(EXPIRES, self._expiry.times(slots), dtype=pl.Int64))


def _distinct(parts: list[Slots]) -> Slots:
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)
