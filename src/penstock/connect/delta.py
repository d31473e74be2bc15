"""Delta Lake tables in local folders: the sink that writes an epoch as one commit, and the door to the source.

Each epoch is one commit, which holds the rows, the epoch (application id `flow/step`) and the generation (application
id `flow/step#generation`). A commit can only be made right after the version that the writer has read (see
`delta_log`), so that is where both promises come from:

- *once*: an epoch that the table holds already is recognised, and the same rows again change nothing; other rows
  replace it in one commit, which takes the files of the old rows away and adds those of the new. A reader sees the one
  or the other.
- *fenced*: a newer generation commits when it opens. An older one then finds its next version taken, reads that commit,
  and stops.

An undo puts the files back that were live before an epoch, in one commit. Commits of others that only added rows
since then are kept; where they changed rows, the undo is refused. A replacement (`replace`) puts them back and adds
the files of several epochs, in one commit whose note says which file is of which epoch: an undo can go into its
middle. Files that an epoch of it wrote and a later one wrote anew never were live; vacuum leaves them alone as long as
an undo may want them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from penstock.connect.contract import Change, Context, Delivery, Receipt, Sink
from penstock.connect.delta_care import COMPACT_FILES, RETENTION_HOURS, Care, DeltaCare
from penstock.connect.delta_files import DeltaFiles
from penstock.connect.delta_history import past
from penstock.connect.delta_log import Action, DeltaLog, Note, Part, Replacement
from penstock.connect.delta_source import DeltaSource
from penstock.connect.delta_types import delta_schema, misfit, stored_schema, table_schema, to_stored
from penstock.connect.disk import disk_error
from penstock.errors import ConfigError, ConnectorError, Fenced
from penstock.flow import Dataset

__all__ = ["DeltaSink", "DeltaSource"]

MIN_EPOCH_MS = 1000


class DeltaSink(Sink):
    """A Delta table: append, or upsert by key.

    Options: `path`; `min_epoch_ms` (1000); `compact_files` (32 small files start a compaction, 0: never);
    `retention_hours` (24: how far an undo and slow readers can go back).
    """

    delivery = Delivery.TRANSACTIONAL
    undoable = True
    replaces_at_once = True
    upserts = True

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        path = str(dataset.options.get("path", dataset.name))
        if "://" in path:
            raise ConfigError(f"delta: only local folders for now, not {path}", flow=context.flow, step=context.step)
        self.table = context.root / path
        self.min_epoch_ms = int(dataset.options.get("min_epoch_ms", MIN_EPOCH_MS))
        self._care_options = Care(
            compact_files=int(dataset.options.get("compact_files", COMPACT_FILES)),
            retention_hours=int(dataset.options.get("retention_hours", RETENTION_HOURS)),
        )
        self._epochs_id = f"{context.flow}/{context.kept_as}"
        self._fence_id = f"{self._epochs_id}#generation"
        self._generation: int | None = None
        self._empty_epoch = -1
        self._lock = threading.RLock()
        self._log: DeltaLog | None = None
        self._files: DeltaFiles | None = None
        self._ahead: tuple[DeltaLog, DeltaFiles] | None = None
        """What `prepare` has loaded for `open`."""
        self._care: DeltaCare | None = None

    def prepare(self) -> None:
        """Load the log, and the limits of the keys in each file. Raises ConnectorError where the rows don't fit."""
        with self._guard(None):
            if self._log is not None or not DeltaTable.is_deltatable(str(self.table)):
                return
            if self._ahead is None or not self._ahead[0].goes_on():
                self._ahead = self._look()
            log, files = self._ahead
            files.learn(log.files)

    def open(self, generation: int) -> None:
        """Create the table where it is missing and commit the fence. Without a schema, both wait for the first rows."""
        self._generation = generation
        if self.context.schema is not None or DeltaTable.is_deltatable(str(self.table)):
            with self._guard(None):
                self._open_table(self.context.schema)

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """Commit the rows of `epoch`; where the table holds it already, in the place of what it wrote."""
        with self._guard(epoch):
            return self._write(epoch, generation, change)

    def retract(self, first_epoch: int, generation: int) -> Receipt:
        """Put the table back to before `first_epoch`, in one commit."""
        with self._guard(first_epoch):
            return self._retract(first_epoch, generation)

    def replace(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        """Put the rows of `changes` in the place of epochs >= `first_epoch`, in one commit."""
        with self._guard(first_epoch):
            return self._replace(first_epoch, generation, changes)

    def last_epoch(self) -> int | None:
        """The last epoch that is committed and not taken back, or that this sink was told to have no rows."""
        with self._lock:
            last = self._empty_epoch
            if self._log is not None:
                self._log.catch_up()
                last = max(last, self._log.transactions.get(self._epochs_id, -1))
            return None if last < 0 else last

    def close(self) -> None:
        """End the background care."""
        if self._care is not None:
            self._care.close()
            self._care = None

    def _write(self, epoch: int, generation: int, change: Change) -> Receipt:
        if self._log is None:
            if change.is_empty:
                self._empty_epoch = epoch
                return {"rows": 0}
            self._open_table(change.rows.schema)
        log, files = self._parts()
        stored = self._stored(change, files)
        receipt = {"rows": stored.rows.height, "deleted": 0 if stored.deleted is None else stored.deleted.height}
        note = Note(self.context.flow, self.context.kept_as, epoch, generation, digest(stored))
        while True:
            self._check_fence(generation, epoch)
            last = log.transactions.get(self._epochs_id, -1)
            if epoch > last:
                if stored.is_empty:
                    self._empty_epoch = epoch
                    return receipt
                base = log.files
            else:
                found = past(log, files, self.context.flow, self.context.kept_as, epoch)
                if found.newest is not None and (found.newest.epoch, found.newest.digest) == (epoch, note.digest):
                    return {**receipt, "version": log.version, "repeated": True}
                base = found.files
            if self._commit(files.applied(base, stored), note, "MERGE" if self.context.key else "WRITE"):
                break
        if self._care is not None:
            self._care.poke()
        return {**receipt, "version": log.version}

    def _retract(self, first_epoch: int, generation: int) -> Receipt:
        self._empty_epoch = -1
        if self._log is None:
            return {"rows": 0}
        log, files = self._parts()
        while True:
            self._check_fence(generation, first_epoch)
            if log.transactions.get(self._epochs_id, -1) < first_epoch:
                return {"rows": 0, "version": log.version}
            found = past(log, files, self.context.flow, self.context.kept_as, first_epoch)
            note = Note(self.context.flow, self.context.kept_as, found.epoch, generation)
            if self._commit(found.files, note, "RESTORE"):
                return {"rows": 0, "version": log.version}

    def _replace(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        changes = self._opened_for(changes)
        if self._log is None:
            return {"rows": 0, "epochs": 0}
        log, files = self._parts()
        try:
            receipt = self._replaced(log, files, first_epoch, generation, changes)
        finally:
            files.drop_written()  # what no commit names, also where `changes` has raised
        self._empty_epoch = -1
        if self._care is not None:
            self._care.poke()
        return {**receipt, "version": log.version}

    def _replaced(
        self,
        log: DeltaLog,
        files: DeltaFiles,
        first_epoch: int,
        generation: int,
        changes: Iterable[tuple[int, Change]],
    ) -> Receipt:
        self._check_fence(generation, first_epoch)
        start = past(log, files, self.context.flow, self.context.kept_as, first_epoch)
        after, parts, rows = self._staged(start.files, changes)
        receipt = {"rows": rows, "epochs": len(parts)}
        last = parts[-1] if parts else Part(start.epoch, "")
        replacement = Replacement(first_epoch, start.epoch, tuple(parts)) if parts else None
        note = Note(self.context.flow, self.context.kept_as, last.epoch, generation, last.digest, replacement)
        if is_repeated(start.newest, note) or (not parts and log.transactions.get(self._epochs_id, -1) < first_epoch):
            return {**receipt, "repeated": True}
        added: dict[str, Action] = {}
        while not self._commit({**after, **added}, note, "REPLACE", keep_written=True):
            self._check_fence(generation, first_epoch)
            again = past(log, files, self.context.flow, self.context.kept_as, first_epoch)
            added = {path: add for path, add in again.files.items() if path not in start.files}
            if start.files.keys() - again.files.keys():
                raise self._error(f"the Delta table {self.table} was changed by others in the middle of a replacement")
        return receipt

    def _opened_for(self, changes: Iterable[tuple[int, Change]]) -> Iterable[tuple[int, Change]]:
        """The same changes; a table that waits for its first rows to be created has been, where there are some."""
        if self._log is not None:
            return changes
        waiting = iter(changes)
        passed: list[tuple[int, Change]] = []
        for epoch, change in waiting:
            passed.append((epoch, change))
            self._empty_epoch = epoch
            if not change.is_empty:
                self._open_table(change.rows.schema)
                break
        return chain(passed, waiting)

    def _staged(
        self, base: Mapping[str, Action], changes: Iterable[tuple[int, Change]]
    ) -> tuple[dict[str, Action], list[Part], int]:
        """Write the files of some epochs on `base`: the live files after them, what each of them did, rows in all.

        An epoch without rows leaves no part, but for the last one.
        """
        _, files = self._parts()
        after = dict(base)
        parts: list[Part] = []
        empty: Part | None = None
        rows = 0
        for epoch, change in changes:
            stored = self._stored(change, files)
            if stored.is_empty:
                empty = Part(epoch, digest(stored))
                continue
            empty = None
            rows += stored.rows.height
            before = after
            after = files.applied(before, stored)
            adds = tuple(add["path"] for path, add in after.items() if path not in before)
            removes = tuple(add["path"] for path, add in before.items() if path not in after)
            parts.append(Part(epoch, digest(stored), adds, removes))
        return after, [*parts, *([empty] if empty is not None else [])], rows

    def _commit(self, after: dict[str, Action], note: Note, operation: str, *, keep_written: bool = False) -> bool:
        """Make `after` the live files; False where somebody else committed first.

        Then the files that were written for it are deleted, unless they are to be kept for another try.
        """
        log, files = self._parts()
        before = log.version
        actions = [log.remove(path, changes_data=True) for path in log.files if path not in after]
        actions += [{"add": add} for path, add in after.items() if path not in log.files]
        actions.append(log.transaction(self._epochs_id, -1 if note.epoch is None else note.epoch))
        actions.append(log.transaction(self._fence_id, note.generation))
        done = False
        try:
            done = log.try_commit(actions, note, operation)
        finally:
            if done or log.version > before:
                files.commit_done()
            elif not keep_written:
                files.drop_written()
        return done

    def _open_table(self, given: pl.Schema | None) -> None:
        """Create or load the table for rows of these columns, and commit the fence."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or not ahead[0].goes_on():
            if given is not None and not DeltaTable.is_deltatable(str(self.table)):
                self._create(stored_schema(given))
            ahead = self._look(given)
        log, files = ahead
        generation = self._generation
        assert generation is not None
        with self._lock:
            self._log, self._files = log, files
            self._raise_fence(log, generation)
        self._care = DeltaCare(self._care_options, log, files, self._lock, self._care_note)

    def _look(self, given: pl.Schema | None = None) -> tuple[DeltaLog, DeltaFiles]:
        """Load the table and check that rows of these columns (those that are declared, or its own) fit."""
        found = DeltaTable(self.table)
        given = given or self.context.schema
        stored = stored_schema(given) if given is not None else table_schema(found)
        reason = misfit(stored, table_schema(found))
        if reason is not None:
            raise self._error(
                f"the rows don't fit the Delta table {self.table}: {reason}",
                hint="write to a new table, or change the flow's columns to the table's",
            )
        absent = [column for column in self.context.key if column not in stored]
        if absent:
            raise self._error(f"the rows have no key column {absent[0]!r}; they have {', '.join(stored)}")
        log = DeltaLog(self.table, (self._epochs_id, self._fence_id), self.context.clock)
        return log, DeltaFiles(self.table, table_schema(found), self.context.key, self.context.clock)

    def _create(self, stored: pl.Schema) -> None:
        self.table.parent.mkdir(parents=True, exist_ok=True)
        keep = f"interval {self._care_options.retention_hours} hours"
        try:
            DeltaTable.create(
                self.table,
                delta_schema(stored),
                configuration={"delta.logRetentionDuration": keep, "delta.deletedFileRetentionDuration": keep},
            )
        except DeltaError:
            # Somebody else may have made it between the look and now.
            if not DeltaTable.is_deltatable(str(self.table)):
                raise

    def _raise_fence(self, log: DeltaLog, generation: int) -> None:
        while True:
            self._check_fence(generation, None)
            if log.transactions.get(self._fence_id) == generation:
                return
            note = Note(self.context.flow, self.context.kept_as, None, generation)
            if log.try_commit([log.transaction(self._fence_id, generation)], note, "FENCE"):
                return

    def _check_fence(self, generation: int, epoch: int | None) -> None:
        """Read the log up to now. Raises Fenced where a newer generation is in it."""
        log, _ = self._parts()
        log.catch_up()
        newest = log.transactions.get(self._fence_id, generation)
        if newest > generation:
            raise Fenced(
                f"generation {newest} writes the Delta table {self.table}; generation {generation} may not",
                flow=self.context.flow,
                step=self.context.step,
                epoch=epoch,
            )

    def _care_note(self) -> Note | None:
        """What a compaction's commit says; None where this process may no longer write."""
        log, generation = self._log, self._generation
        if log is None or generation is None or log.transactions.get(self._fence_id, 0) > generation:
            return None
        return Note(self.context.flow, self.context.kept_as, None, generation)

    def _stored(self, change: Change, files: DeltaFiles) -> Change:
        """The change with the columns and types of the table."""
        rows = to_stored(change.rows, files.schema)
        if change.deleted is None:
            return Change(rows)
        if not files.key:
            raise self._error("rows can be deleted from a Delta table by key only, and this one has no key")
        key_schema = pl.Schema({column: files.schema[column] for column in files.key})
        return Change(rows, to_stored(change.deleted.select(files.key), key_schema))

    def _parts(self) -> tuple[DeltaLog, DeltaFiles]:
        if self._log is None or self._files is None:
            raise self._error("the sink was not opened")
        return self._log, self._files

    @contextmanager
    def _guard(self, epoch: int | None) -> Iterator[None]:
        """Hold the lock, and give errors of disk and table the flow, step and epoch."""
        with self._lock:
            try:
                yield
            except OSError as error:
                self._drop_written()
                raise disk_error(
                    error, self.table, flow=self.context.flow, step=self.context.step, epoch=epoch
                ) from error
            except DeltaError as error:
                raise self._error(f"the Delta table {self.table}: {error}") from error
            except ConnectorError as error:
                self._drop_written()
                error.flow, error.step = self.context.flow, self.context.step
                error.epoch = epoch if error.epoch is None else error.epoch
                raise

    def _drop_written(self) -> None:
        if self._files is not None:
            self._files.drop_written()

    def _error(self, message: str, hint: str | None = None) -> ConnectorError:
        return ConnectorError(message, flow=self.context.flow, step=self.context.step, hint=hint)


def digest(change: Change) -> str:
    """A text that is the same for the same rows in whatever order, and with all but certainty for no others."""
    sums = [change.rows.hash_rows(seed).sum() for seed in (0, 1)]
    if change.deleted is not None:
        sums += [change.deleted.hash_rows(seed).sum() for seed in (2, 3)]
    return ":".join([str(change.rows.height), *(f"{value:x}" for value in sums)])


def is_repeated(newest: Note | None, note: Note) -> bool:
    """Whether the newest commit of an epoch is this very replacement: the same epochs with the same rows."""
    if newest is None or newest.replacement is None or note.replacement is None:
        return False
    (old, new) = (
        (found.first, [(part.epoch, part.digest) for part in found.parts])
        for found in (newest.replacement, note.replacement)
    )
    return old == new
