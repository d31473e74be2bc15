"""Columns that can be read and written at any slot: numpy where the values have one width, Python objects elsewhere.

A Polars column can't be changed in place; state has to be. A batch is gathered from the slots and scattered back to
them, both O(batch). Values go in and come out as Polars series of the column's own type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["Column", "grown"]


def grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The same array with room for `size` entries at least; doubling, so that growth is paid once."""
    if size <= len(array):
        return array
    bigger = np.empty(max(size, 2 * len(array)), dtype=array.dtype)
    bigger[: len(array)] = array
    return bigger


class Column:
    """One column of slots of one Polars type; every slot may be null."""

    def __init__(self, dtype: pl.DataType) -> None:
        self.dtype = dtype
        self._physical = _physical(dtype)
        kind: Any = object if self._physical is None else _numpy_type(self._physical)
        self._values: NDArray[Any] = np.empty(16, dtype=kind)
        self._null: NDArray[np.bool_] | None = None

    def scatter(self, slots: NDArray[np.int64], values: pl.Series) -> None:
        """Write a series to slots. The slots must be distinct and below what `reserve` was asked for."""
        if self._physical is None:
            self._values[slots] = _objects(values)
            return
        nulls = values.is_null().to_numpy() if values.null_count() else None
        raw = values.to_physical() if values.dtype != pl.Boolean else values
        self._values[slots] = (raw if nulls is None else raw.fill_null(_zero(raw.dtype))).to_numpy()
        if nulls is not None and self._null is None:
            self._null = np.zeros(len(self._values), dtype=bool)
        if self._null is not None:
            self._null[slots] = False if nulls is None else nulls

    def gather(self, slots: NDArray[np.int64]) -> pl.Series:
        """The series at slots, which are all >= 0."""
        values = self._values[slots]
        if self._physical is None:
            return pl.Series(values.tolist(), dtype=self.dtype)
        series = pl.Series(values).cast(self._physical).cast(self.dtype)
        if self._null is not None:
            nulls = self._null[slots]
            if nulls.any():
                series = series.zip_with(
                    pl.Series(~nulls), pl.Series([None], dtype=self.dtype).new_from_index(0, len(slots))
                )
        return series

    def equal(self, slots: NDArray[np.int64], values: pl.Series) -> NDArray[np.bool_]:
        """Where the column at `slots` holds the same value as the series (null equals null)."""
        if self._physical is None:
            return np.asarray(self._values[slots] == _objects(values), dtype=bool)
        return self.gather(slots).eq_missing(values).to_numpy()

    def reserve(self, size: int) -> None:
        """Make room for slots below `size`."""
        before = len(self._values)
        self._values = grown(self._values, size)
        if self._null is not None and len(self._values) > before:
            self._null = grown(self._null, len(self._values))
            self._null[before:] = False


def _physical(dtype: pl.DataType) -> pl.DataType | None:
    """The fixed-width type behind a type, or None where the values are kept as Python objects."""
    if dtype == pl.Boolean or (dtype.is_integer() and dtype != pl.Int128) or dtype in (pl.Float32, pl.Float64):
        return dtype
    if dtype.is_temporal():
        return pl.Int32() if dtype == pl.Date else pl.Int64()
    return None


def _numpy_type(dtype: pl.DataType) -> Any:
    return pl.Series([], dtype=dtype).to_numpy().dtype


def _zero(dtype: pl.DataType) -> Any:
    return False if dtype == pl.Boolean else 0


def _objects(values: pl.Series) -> NDArray[Any]:
    """An array of Python objects; filled one by one, as numpy would unpack lists into a second dimension."""
    out = np.empty(len(values), dtype=object)
    for position, value in enumerate(values.to_list()):
        out[position] = value
    return out
