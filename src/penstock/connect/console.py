"""Print the first rows of each epoch, to see what a flow does."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

import polars as pl

from penstock.connect.contract import Change, Context, Delivery, Receipt, Sink
from penstock.connect.multisets import only_in
from penstock.errors import ConfigError, Fenced
from penstock.flow import Dataset

__all__ = ["ConsoleSink"]


class ConsoleSink(Sink):
    """Prints to standard output (or the given stream). An epoch that runs again is printed again."""

    delivery = Delivery.AT_LEAST_ONCE
    upserts = True

    def __init__(self, dataset: Dataset, context: Context, out: TextIO | None = None) -> None:
        super().__init__(dataset, context)
        self._rows = dataset.options.get("rows", 10)
        if not isinstance(self._rows, int) or isinstance(self._rows, bool) or self._rows < 0:
            raise ConfigError(f"console: rows is a whole number from 0 on, not {self._rows!r}", step=context.step)
        self._out = out
        self._generation = -1

    def open(self, generation: int) -> None:
        """Take note of the generation; there is nothing to create."""
        self._check_fence(generation)
        self._generation = generation

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """Print the first rows, and how many there are. Says nothing for an epoch without rows."""
        self._check_fence(generation)
        deleted = 0 if change.deleted is None else change.deleted.height
        if not change.is_empty:
            out = self._out or sys.stdout
            tail = f", {deleted:,} deleted" if deleted else ""
            out.write(f"{self.dataset.name} epoch {epoch}: {change.rows.height:,} rows{tail}\n")
            self._print(out, change.rows)
            out.flush()
        return {"rows": change.rows.height, "deleted": deleted}

    def correct(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change, Change]]) -> Receipt:
        """Print the rows that should not have been printed, and those that should have been; marked as corrections."""
        self._check_fence(generation)
        out = self._out or sys.stdout
        counts = {"retracted": 0, "added": 0}
        for epoch, wrong, right in changes:
            title = f"{self.dataset.name} epoch {epoch} correction"
            for word, rows in zip(counts, _differences(wrong.rows, right.rows), strict=True):
                if not rows.is_empty():
                    out.write(f"{title}: {rows.height:,} rows {word}\n")
                    self._print(out, rows)
                    counts[word] += rows.height
            if wrong.deleted is not None and right.deleted is not None:
                for word, rows in zip(("kept", "deleted"), _differences(wrong.deleted, right.deleted), strict=True):
                    if not rows.is_empty():
                        out.write(f"{title}: {rows.height:,} keys {word}\n")
                        self._print(out, rows)
        out.flush()
        return {"rows": sum(counts.values()), **counts}

    def _print(self, out: TextIO, rows: pl.DataFrame) -> None:
        if self._rows and not rows.is_empty():
            with pl.Config(tbl_rows=self._rows, tbl_cols=-1, tbl_hide_dataframe_shape=True, tbl_width_chars=120):
                out.write(f"{rows.head(self._rows)}\n")

    def _check_fence(self, generation: int) -> None:
        if generation < self._generation:
            raise Fenced(f"{self.dataset.name}: generation {self._generation} prints here, this is {generation}")


def _differences(wrong: pl.DataFrame, right: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return only_in(wrong, right), only_in(right, wrong)
