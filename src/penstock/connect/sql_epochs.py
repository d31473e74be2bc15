"""The SQL by which a table holds each epoch once and can give it back; the same for every database that has rows.

Three tables. The **target** has a last column `_epoch`: which epoch wrote the row. `penstock_epochs` has one row a
target: its flow, the last epoch it holds, and the generation that may write (the fence). An upserted target has a
table of **before-images** beside it: for each epoch and each key that the epoch touched, the row as it was before
(`_existed` false: there was none). Taking epochs back is putting the oldest image of each key in its place:

    before-images of epochs >= n, the oldest of each key  ->  target;  those images are then gone.

Replacing epoch n after a crash is: take back epochs >= n, then apply n. Append needs no images: rows of `_epoch` >= n
go.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and integers, never from values of rows

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from penstock.connect.sql_text import literal, quoted
from penstock.errors import ConfigError, ConnectorError, Fenced
from penstock.flow import Dataset

__all__ = [
    "EPOCH",
    "EPOCHS_TABLE",
    "EpochsSql",
    "Keep",
    "Position",
    "TableSql",
    "null_patterns",
    "prune_settings",
]

EPOCH = "_epoch"
"""The last column of a target: the epoch that wrote the row."""
BY = "_by"
"""In a table of before-images: the epoch that was about to change the row."""
EXISTED = "_existed"
"""In a table of before-images: whether there was a row."""
AT = "_at_us"
"""In a table of before-images: when the image was taken, in microseconds since 1970."""
EPOCHS_TABLE = "penstock_epochs"


def null_patterns(keys: pl.DataFrame) -> list[frozenset[str]]:
    """Which sets of key columns are null together in some row; the empty set where a row has none.

    SQL compares nulls as unknown, and an index can't serve `is not distinct from`; so the rows of each pattern are
    matched by a condition of their own.
    """
    if not any(keys.null_count().row(0)):
        return [frozenset()]
    found = keys.select(pl.all().is_null()).unique(maintain_order=True)
    return [frozenset(name for name, null in row.items() if null) for row in found.iter_rows(named=True)]


@dataclass(frozen=True, slots=True)
class Position:
    """What `penstock_epochs` says of a target. `undo_from`: older before-images are pruned."""

    flow: str
    epoch: int | None
    generation: int
    undo_from: int | None

    def admit(self, generation: int, *, flow: str, step: str, table: str) -> None:
        """Let a writer of `flow` and `generation` in. Raises Fenced, and ConnectorError for another flow's table."""
        if self.flow != flow:
            raise ConnectorError(
                f"table {table} is written by flow {self.flow!r}; a table has one writer, or epochs of two would mix",
                flow=flow,
                step=step,
                state_left="nothing was written",
                hint=f"write to another table, or, if {self.flow!r} is gone: delete from {EPOCHS_TABLE} where sink = "
                f"{literal(table)}",
            )
        if generation < self.generation:
            raise Fenced(
                f"table {table} is open for generation {self.generation}, this process is generation {generation}",
                flow=flow,
                step=step,
                state_left="nothing was written",
                hint="this process must stop; the newer one goes on",
            )

    def replaces(self, epoch: int, *, flow: str, step: str, table: str) -> bool:
        """Whether the target holds `epoch` already, so that it goes first. Raises ConnectorError for an older one."""
        if self.epoch is None or self.epoch < epoch:
            return False
        if self.epoch == epoch:
            return True
        raise ConnectorError(
            f"table {table} holds epoch {self.epoch} already, so epoch {epoch} can't be written into it",
            flow=flow,
            step=step,
            epoch=epoch,
            state_left="nothing was written",
            hint=f"take back what came after (`penstock undo`), or drop the table {table} to start anew",
        )

    def check_undo(self, first_epoch: int, *, flow: str, step: str, table: str) -> None:
        """Raises ConnectorError where before-images from `first_epoch` on are not all there any more."""
        if self.undo_from is not None and first_epoch < self.undo_from:
            pruned = ConnectorError(
                f"table {table} can be taken back to before epoch {self.undo_from}, not to before {first_epoch}: "
                "older before-images were pruned",
                flow=flow,
                step=step,
                epoch=first_epoch,
                state_left="nothing was changed",
                hint="set keep_epochs or keep_hours of the sink higher for the next time",
            )
            pruned.heals = False
            raise pruned


class Keep:
    """How long before-images are kept: a number of epochs, a number of hours, or the shorter of both."""

    EVERY = 100
    """Pruning looks at the table once in so many epochs."""

    def __init__(self, epochs: int | None, hours: float | None) -> None:
        self._epochs = epochs
        self._hours = hours
        self._looked: int | None = None

    def is_due(self, epoch: int) -> bool:
        """Whether it is time to prune; says so once in `EVERY` epochs."""
        if self._looked is None:  # the first epoch of a process is the one that everybody waits for
            self._looked = epoch
            return False
        if 0 <= epoch - self._looked < self.EVERY:
            return False
        self._looked = epoch
        return True

    def is_old(self, image: tuple[int, int], epoch: int, now_us: int) -> bool:
        """Whether an image (when, by which epoch) may go."""
        at_us, by = image
        by_count = self._epochs is not None and by <= epoch - self._epochs
        return by_count or at_us < self.since_us(now_us)

    def since_us(self, now_us: int) -> int:
        """Images older than this time may go. 0 where time does not matter."""
        return 0 if self._hours is None else max(0, now_us - round(self._hours * 3_600_000_000))

    def undo_from(self, epoch: int, newest_old: object) -> int:
        """The first epoch that can be taken back from now on. The images of `epoch` itself always stay."""
        by_count = 0 if self._epochs is None else epoch - self._epochs + 1
        by_time = newest_old + 1 if isinstance(newest_old, int) else 0
        return min(epoch, max(by_count, by_time, 0))


def prune_settings(dataset: Dataset) -> Keep:
    """The options `keep_epochs` and `keep_hours` of a sink (default: 24 hours). Raises ConfigError."""
    epochs, hours = dataset.options.get("keep_epochs"), dataset.options.get("keep_hours")
    if epochs is not None and (not isinstance(epochs, int) or epochs < 1):
        raise ConfigError(f"dataset {dataset.name!r}: keep_epochs is {epochs!r}, it must be a whole number from 1")
    if hours is not None and (not isinstance(hours, int | float) or hours <= 0):
        raise ConfigError(f"dataset {dataset.name!r}: keep_hours is {hours!r}, it must be a number above 0")
    return Keep(epochs, 24.0 if hours is None and epochs is None else hours)


@dataclass(frozen=True, slots=True)
class EpochsSql:
    """The statements for the row of one target in `penstock_epochs`. `sink` is the target's full name, unquoted."""

    table: str
    sink: str

    def create(self) -> str:
        """The table itself, where it is missing."""
        return (
            f"create table if not exists {self.table} (sink text primary key, flow text not null, step text not null, "
            "epoch bigint, generation bigint not null, undo_from bigint)"
        )

    def read(self) -> str:
        """The columns of `Position`, in its order."""
        return f"select flow, epoch, generation, undo_from from {self.table} where sink = {literal(self.sink)}"

    def add(self, flow: str, step: str, generation: int) -> str:
        """The row of a target that nobody wrote yet."""
        values = f"{literal(self.sink)}, {literal(flow)}, {literal(step)}, {generation:d}"
        return f"insert into {self.table} (sink, flow, step, generation) values ({values}) on conflict do nothing"

    def update(self, **values: int | str | None) -> str:
        """Set some columns of the row."""
        sets = ", ".join(
            f"{name} = {'null' if value is None else literal(value) if isinstance(value, str) else int(value)}"
            for name, value in values.items()
        )
        return f"update {self.table} set {sets} where sink = {literal(self.sink)}"


@dataclass(frozen=True, slots=True)
class TableSql:
    """The statements for one target. Names are quoted by who builds this; epochs are integers.

    `columns`: what a flow writes, without `_epoch`. `all_columns`: what an image keeps, the key first and `_epoch`
    among them. `row_id`: the hidden column that is null only where an outer join found no row (`ctid`, `rowid`).
    """

    target: str
    before: str
    columns: Sequence[str]
    key: Sequence[str]
    all_columns: Sequence[str]
    row_id: str
    overriding: str = ""
    """What an insert into the target must say so that it may give every column its value."""

    def matches(self, left: str, right: str, nulls: Iterable[str] = ()) -> str:
        """The condition that the rows `left` and `right` have the same key, the columns `nulls` of it being null."""
        empty = set(nulls)
        return " and ".join(
            f"{left}.{quoted(name)} is null and {right}.{quoted(name)} is null"
            if name in empty
            else f"{left}.{quoted(name)} = {right}.{quoted(name)}"
            for name in self.key
        )

    def _has_pattern(self, alias: str, nulls: Iterable[str]) -> str:
        empty = set(nulls)
        return " and ".join(f"{alias}.{quoted(name)} is {'null' if name in empty else 'not null'}" for name in self.key)

    def _span(self, column: str, first_epoch: int, last_epoch: int) -> str:
        """Both ends: without statistics a database takes a third of a table to be beyond one, and reads all of it."""
        return f"{quoted(column)} between {first_epoch:d} and {last_epoch:d}"

    def _list(self, names: Iterable[str], alias: str = "") -> str:
        return ", ".join(f"{alias}.{quoted(name)}" if alias else quoted(name) for name in names)

    def create_before(self) -> str:
        """A table of the target's types without its constraints."""
        return (
            f"create table if not exists {self.before} as select cast(0 as bigint) as {quoted(BY)}, "
            f"false as {quoted(EXISTED)}, cast(0 as bigint) as {quoted(AT)}, {self._list(self.all_columns)} "
            f"from {self.target} limit 0"
        )

    def save_before(self, incoming: str, epoch: int, now_us: int, nulls: Iterable[str]) -> str:
        """Keep the rows that the keys of `incoming` with this pattern of nulls have now."""
        rest = [name for name in self.all_columns if name not in self.key]
        return (
            f"insert into {self.before} "
            f"({quoted(BY)}, {quoted(EXISTED)}, {quoted(AT)}, {self._list([*self.key, *rest])}) "
            f"select {epoch:d}, t.{self.row_id} is not null, {now_us:d}, {self._list(self.key, 'i')}"
            f"{''.join(f', t.{quoted(name)}' for name in rest)} from {incoming} i "
            f"left join {self.target} t on {self.matches('t', 'i', nulls)} where {self._has_pattern('i', nulls)}"
        )

    def delete_keys(self, incoming: str, nulls: Iterable[str]) -> str:
        """Delete the rows whose key is in `incoming`."""
        return f"delete from {self.target} as t using {incoming} as i where {self.matches('t', 'i', nulls)}"

    def insert_rows(self, incoming: str, epoch: int) -> str:
        """Add the rows of `incoming`, marked with their epoch."""
        names = self._list(self.columns)
        return f"insert into {self.target} ({names}, {quoted(EPOCH)}) select {names}, {epoch:d} from {incoming}"

    def upsert_rows(self, incoming: str, epoch: int) -> str:
        """Put the rows of `incoming` in place of those with the same key; needs a unique index on the key."""
        changed = [name for name in self.columns if name not in self.key]
        sets = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in [*changed, EPOCH])
        return f"{self.insert_rows(incoming, epoch)} on conflict ({self._list(self.key)}) do update set {sets}"

    def patterns_since(self, first_epoch: int, last_epoch: int) -> str:
        """The patterns of nulls in the keys of the images of the epochs first..last, a row of booleans each."""
        flags = ", ".join(f"{quoted(name)} is null" for name in self.key)
        return f"select distinct {flags} from {self.before} where {self._span(BY, first_epoch, last_epoch)}"

    def remove_since(self, first_epoch: int, last_epoch: int, nulls: Iterable[str]) -> str:
        """Delete every row whose key one of the epochs first..last touched."""
        span = self._span(BY, first_epoch, last_epoch)
        touched = f"(select distinct {self._list(self.key)} from {self.before} where {span})"
        return f"delete from {self.target} as t using {touched} as b where {self.matches('t', 'b', nulls)}"

    def restore_since(self, first_epoch: int, last_epoch: int) -> str:
        """Put back the oldest image of each key of the epochs first..last."""
        names = self._list(self.all_columns)
        oldest = (
            f"select distinct on ({self._list(self.key)}) * from {self.before} "
            f"where {self._span(BY, first_epoch, last_epoch)} "
            f"order by {self._list(self.key)}, {quoted(BY)}"
        )
        return (
            f"insert into {self.target} ({names}) {self.overriding} select {names} from ({oldest}) as b "
            f"where {quoted(EXISTED)}"
        )

    def forget_since(self, first_epoch: int, last_epoch: int) -> str:
        """Delete the images of the epochs first..last."""
        return f"delete from {self.before} where {self._span(BY, first_epoch, last_epoch)}"

    def some_old_image(self) -> str:
        """When the image was taken that lies first in the table, and by which epoch: one of the oldest, as a rule.

        Where space was used again it is a younger one, and pruning waits until that one is old: at most twice as long.
        """
        return f"select {quoted(AT)}, {quoted(BY)} from {self.before} limit 1"

    def newest_image_before(self, time_us: int) -> str:
        """The last epoch whose images were taken before a time, or null."""
        return f"select max({quoted(BY)}) from {self.before} where {quoted(AT)} < {time_us:d}"

    def prune(self, undo_from: int) -> str:
        """Delete the images of epochs < `undo_from`."""
        return f"delete from {self.before} where {quoted(BY)} < {undo_from:d}"

    def delete_appended(self, first_epoch: int, last_epoch: int) -> str:
        """Delete the rows that the epochs first..last appended."""
        return f"delete from {self.target} where {self._span(EPOCH, first_epoch, last_epoch)}"
