"""The write path of a table that holds each epoch once: write, take back, replace; the same for every database.

What differs between databases is a `Work`: how a transaction begins and ends, and how the rows of an epoch get in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from penstock.connect.contract import Change, Context, Receipt
from penstock.connect.sql_epochs import EPOCHS_TABLE, EpochsSql, Keep, Position, TableSql
from penstock.errors import ConnectorError

__all__ = ["EpochTable", "SinglePass", "Work"]


class Work(ABC):
    """One transaction on the database of a target. What is not committed is rolled back by who made it."""

    @abstractmethod
    def begin(self, query: str) -> list[tuple[Any, ...]]:
        """Begin, and give the rows of `query`, locked against every other writer."""

    @abstractmethod
    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""

    @abstractmethod
    def count(self, statement: str) -> int:
        """How many rows a statement changed."""

    @abstractmethod
    def put(self, epoch: int, change: Change) -> None:
        """Append the rows of an epoch; where there is a key, keep before-images, delete, and put rows in place."""

    @abstractmethod
    def commit(self, statement: str) -> None:
        """Run a last statement and commit."""


class SinglePass:
    """Changes that are taken once: a second try finds that they are used up, and says so with an error that heals."""

    def __init__(self, changes: Iterable[tuple[int, Change]], context: Context, first_epoch: int) -> None:
        self._changes = changes
        self._context = context
        self._first_epoch = first_epoch
        self._begun = False

    def __iter__(self) -> Iterator[tuple[int, Change]]:
        if self._begun:
            raise ConnectorError(
                "the connection was lost in the middle of a replacement",
                flow=self._context.flow,
                step=self._context.step,
                epoch=self._first_epoch,
                state_left="nothing was changed: the old rows are there",
                hint="the replacement is begun again from its first epoch",
            )
        self._begun = True
        return iter(self._changes)


@dataclass(frozen=True, slots=True)
class EpochTable:
    """One target with the statements for it. Each method is one transaction, and raises Fenced or ConnectorError."""

    context: Context
    name: str
    """The full name, for people and as it stands in `penstock_epochs`."""
    epochs: EpochsSql
    sql: TableSql
    keep: Keep

    def write(self, work: Work, epoch: int, generation: int, change: Change) -> Receipt:
        """Make the table hold exactly `change` for `epoch`."""
        position = self._begin(work, generation)
        replaced = position.replaces(epoch, flow=self.context.flow, step=self.context.step, table=self.name)
        if replaced:
            self._take_back(work, epoch, epoch)
        work.put(epoch, change)
        self._prune(work, epoch, position)
        work.commit(self.epochs.update(epoch=epoch, generation=generation))
        deleted = 0 if change.deleted is None else change.deleted.height
        return {"rows": change.rows.height, "deleted": deleted, "replaced": replaced}

    def retract(self, work: Work, first_epoch: int, generation: int) -> Receipt:
        """Take back epochs >= `first_epoch`. Gives how many rows went or came back."""
        position = self._begin_undo(work, first_epoch, generation)
        count = self._take_back(work, first_epoch, position.epoch)
        work.commit(self.epochs.update(epoch=_before(position, first_epoch), generation=generation))
        return {"rows": count}

    def replace(self, work: Work, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        """Take back epochs >= `first_epoch` and write `changes`; an epoch at a time is in memory."""
        position = self._begin_undo(work, first_epoch, generation)
        count = self._take_back(work, first_epoch, position.epoch)
        last = _before(position, first_epoch)
        rows = epochs = 0
        for epoch, change in changes:
            if epoch < first_epoch or (epochs and last is not None and epoch <= last):
                raise ValueError(f"epoch {epoch} comes after {last} in a replacement from {first_epoch} on")
            work.put(epoch, change)
            last = epoch
            rows += change.rows.height
            epochs += 1
        work.commit(self.epochs.update(epoch=last, generation=generation))
        return {"rows": rows, "epochs": epochs, "retracted": {"rows": count}}

    def admitted(self, rows: list[tuple[Any, ...]], generation: int) -> Position:
        """The row of the target in `penstock_epochs`, for a writer that may write."""
        if not rows:
            gone = ConnectorError(
                f"the row of {self.name} in {EPOCHS_TABLE} is gone",
                flow=self.context.flow,
                step=self.context.step,
                state_left="nothing was written",
                hint="start the flow again: it is made anew",
            )
            gone.heals = False
            raise gone
        position = Position(*rows[0])
        position.admit(generation, flow=self.context.flow, step=self.context.step, table=self.name)
        return position

    def _begin(self, work: Work, generation: int) -> Position:
        return self.admitted(work.begin(self.epochs.read()), generation)

    def _begin_undo(self, work: Work, first_epoch: int, generation: int) -> Position:
        position = self._begin(work, generation)
        position.check_undo(first_epoch, flow=self.context.flow, step=self.context.step, table=self.name)
        return position

    def _take_back(self, work: Work, first_epoch: int, last_epoch: int | None) -> int:
        """Take the epochs first..last away, which are the last ones that the table holds. Gives how many rows."""
        sql = self.sql
        if last_epoch is None or last_epoch < first_epoch:
            return 0
        if not sql.key:
            return work.count(sql.delete_appended(first_epoch, last_epoch))
        count = 0
        for row in work.rows(sql.patterns_since(first_epoch, last_epoch)):
            nulls = frozenset(name for name, null in zip(sql.key, row, strict=True) if null)
            count += work.count(sql.remove_since(first_epoch, last_epoch, nulls))
        count += work.count(sql.restore_since(first_epoch, last_epoch))
        work.count(sql.forget_since(first_epoch, last_epoch))
        return count

    def _prune(self, work: Work, epoch: int, position: Position) -> None:
        """Now and then, delete before-images that nobody may ask for any more."""
        if not self.sql.key or not self.keep.is_due(epoch):
            return
        now_us = self.context.clock.now_us()
        some = work.rows(self.sql.some_old_image())
        if not some or not self.keep.is_old(some[0], epoch, now_us):
            return  # looking through all of them takes long
        since_us = self.keep.since_us(now_us)
        newest = work.rows(self.sql.newest_image_before(since_us))
        undo_from = self.keep.undo_from(epoch, newest[0][0] if newest else None)
        if undo_from > (position.undo_from or 0):
            work.count(self.sql.prune(undo_from))
            work.count(self.epochs.update(undo_from=undo_from))


def _before(position: Position, first_epoch: int) -> int | None:
    """The last epoch that the table holds once those from `first_epoch` on are gone."""
    if position.epoch is None or position.epoch < first_epoch:
        return position.epoch
    return first_epoch - 1 if first_epoch > 0 else None
