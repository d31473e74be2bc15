"""Parquet files in a folder: one file an epoch, whole or not there.

Layout, seen by readers as `folder/*.parquet`:

    epoch-000000000042.parquet     the rows of epoch 42; an epoch without rows has no file
    .penstock.json                 which flow and step own the folder, written once
    .gen-7/                        where generation 7 writes before it renames

**The fence is the folder `.gen-N`.** A file reaches its final name by a rename out of `.gen-N`, and leaves it by a
rename into `.gen-N`. A newer generation renames that folder away, so that both fail, atomically and at whatever
moment the older process was frozen. A lock around a check would not do: a process stopped while it holds the lock
keeps its successor out for as long as it sleeps.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast, get_args

import polars as pl

from penstock.clock import new_id
from penstock.connect.contract import Change, Context, Delivery, Receipt, Sink
from penstock.connect.disk import ParquetCompression, disk_error, sync_file, sync_folder, write_parquet_durably
from penstock.errors import ConfigError, ConnectorError, Fenced
from penstock.flow import Dataset

__all__ = ["ParquetSink"]

GENERATION = re.compile(r"\.gen-(\d+)")
OWNER = ".penstock.json"
COMPRESSIONS = get_args(ParquetCompression)


class ParquetSink(Sink):
    """A folder of Parquet files, one an epoch. Append only; the option `compression` is `lz4` unless said otherwise.

    Transactional: a file is there with all rows of its epoch or not at all. A replaced epoch is renamed over the old
    file; readers that have the old one open go on reading it. An undo of several epochs is idempotent, not one step:
    all new files are written first, then each is renamed over the old one, the newest epoch first. Who reads in these
    milliseconds sees old rows of some epochs and new rows of others, each epoch whole.
    """

    delivery = Delivery.TRANSACTIONAL
    undoable = True
    upserts = False

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        self.folder = context.root / str(dataset.options.get("path", dataset.name))
        # lz4 took less time in all than no compression, because fewer bytes have to reach the disk.
        compression = str(dataset.options.get("compression", "lz4"))
        if compression not in COMPRESSIONS:
            raise ConfigError(
                f"parquet sink: no compression {compression!r}",
                flow=context.flow,
                step=context.step,
                hint=f"use one of {', '.join(COMPRESSIONS)}",
            )
        self._compression = cast("ParquetCompression", compression)
        self._empty_epoch: int | None = None
        if context.key:
            raise ConfigError(
                f"parquet sink: files can't hold rows that update (key: {', '.join(context.key)})",
                flow=context.flow,
                step=context.step,
                hint="write to a table with a key: delta, duckdb or postgres",
            )

    @property
    def _ending(self) -> str:
        """How the files' names end. `connect.files_sink` has other files behind the same fence."""
        return ".parquet"

    @property
    def _epoch_file(self) -> re.Pattern[str]:
        return re.compile(rf"epoch-(\d{{12,}}){re.escape(self._ending)}")

    def prepare(self) -> None:
        """Look whose folder it is. Raises ConnectorError for another flow's."""
        if (self.folder / OWNER).exists():
            self._own()

    def open(self, generation: int) -> None:
        """Create the folder, own it, and take the right to rename into it from all older generations."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own()
            if max(self._generations(), default=0) > generation:
                raise self._fenced(generation)
            # First my folder, then a look around: of two that open at once, at least one sees the other.
            self._gate(generation).mkdir(exist_ok=True)
            for other in self._generations():
                if other > generation:
                    shutil.rmtree(self._gate(generation), ignore_errors=True)
                    raise self._fenced(generation)
                if other < generation:
                    self._close_gate(other)
            for leftover in self.folder.glob(".fenced-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            for leftover in self._gate(generation).iterdir():
                leftover.unlink(missing_ok=True)
            sync_folder(self.folder)
        except OSError as error:
            raise disk_error(error, self.folder, flow=self.context.flow, step=self.context.step) from error

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """Put the file of `epoch` in place, or away where there are no rows; durable on return."""
        self._refuse_deletes(change)
        final = self._file(epoch)
        staged = self._gate(generation) / f"{final.name}.new"
        try:
            if change.rows.is_empty():
                removed = self._remove(final, generation)
                self._empty_epoch = epoch
                return {"rows": 0, "replaced": removed}
            size_bytes = self._store(change.rows, staged)
            staged.rename(final)
            sync_folder(self.folder)
        except FileNotFoundError as error:
            raise self._lost(generation, epoch, error) from error
        except OSError as error:
            staged.unlink(missing_ok=True)
            raise disk_error(error, final, flow=self.context.flow, step=self.context.step, epoch=epoch) from error
        return {"rows": change.rows.height, "size_bytes": size_bytes, "file": final.name}

    def retract(self, first_epoch: int, generation: int) -> Receipt:
        """Remove the files of epochs >= `first_epoch`, the newest first, so that no reader sees a gap."""
        doomed = [epoch for epoch in self._epochs() if epoch >= first_epoch]
        try:
            if not self._gate(generation).is_dir():
                raise FileNotFoundError(self._gate(generation))
            for epoch in reversed(doomed):
                self._remove(self._file(epoch), generation)
        except FileNotFoundError as error:
            raise self._lost(generation, first_epoch, error) from error
        except OSError as error:
            raise disk_error(error, self.folder, flow=self.context.flow, step=self.context.step) from error
        self._empty_epoch = None
        return {"rows": 0, "epochs": len(doomed)}

    def replace(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change]]) -> Receipt:
        """Write the files of `changes` beside the old ones, then put them in place and others away, newest first."""
        staged: dict[int, Path] = {}
        rows, last = 0, None
        try:
            for epoch, change in changes:
                self._refuse_deletes(change)
                last = epoch
                if change.rows.is_empty():
                    continue
                staged[epoch] = self._gate(generation) / f"{self._file(epoch).name}.new"
                self._store(change.rows, staged[epoch])
                rows += change.rows.height
            if not self._gate(generation).is_dir():
                raise FileNotFoundError(self._gate(generation))
            old = [epoch for epoch in self._epochs() if epoch >= first_epoch]
            written = len(staged)
            for epoch in sorted({*old, *staged}, reverse=True):
                if epoch in staged:
                    staged[epoch].rename(self._file(epoch))
                    del staged[epoch]
                else:
                    self._remove(self._file(epoch), generation)
            sync_folder(self.folder)
        except FileNotFoundError as error:
            raise self._lost(generation, first_epoch, error) from error
        except OSError as error:
            raise disk_error(error, self.folder, flow=self.context.flow, step=self.context.step) from error
        finally:
            for path in staged.values():
                path.unlink(missing_ok=True)
        self._empty_epoch = last
        return {"rows": rows, "epochs": written, "retracted": {"epochs": len(old)}}

    def last_epoch(self) -> int | None:
        """The newest epoch that has a file, or that this sink was told to have no rows."""
        empty = [] if self._empty_epoch is None else [self._empty_epoch]
        return max([*self._epochs(), *empty], default=None)

    def _store(self, rows: pl.DataFrame, path: Path) -> int:
        """Write a file and bring it to the disk; gives its size in bytes. Raises OSError."""
        return write_parquet_durably(rows, path, compression=self._compression)

    def _refuse_deletes(self, change: Change) -> None:
        if change.deleted is not None:
            raise ConnectorError("parquet files can't delete by key", flow=self.context.flow, step=self.context.step)

    def _remove(self, final: Path, generation: int) -> bool:
        """Take a file away through the gate. Gives whether there was one; raises FileNotFoundError when fenced."""
        gate = self._gate(generation)
        if not final.exists():
            if not gate.is_dir():
                raise FileNotFoundError(gate)
            return False
        bin_file = gate / f"{final.name}.gone"
        final.rename(bin_file)
        sync_folder(self.folder)
        bin_file.unlink(missing_ok=True)
        return True

    def _own(self) -> None:
        """Write, or compare, the name of the one flow and step that may write here."""
        mine = {"flow": self.context.flow, "step": self.context.kept_as}
        owner = self.folder / OWNER
        if not owner.exists():
            staged = self.folder / f".owner-{new_id()}"
            staged.write_text(json.dumps(mine), encoding="utf-8")
            sync_file(staged)
            with suppress(FileExistsError):  # somebody was first: then that one's name counts
                os.link(staged, owner)
            staged.unlink(missing_ok=True)
        found: dict[str, Any] = json.loads(owner.read_text(encoding="utf-8"))
        if found != mine:
            raise ConnectorError(
                f"the folder {self.folder} belongs to flow {found.get('flow')}, step {found.get('step')}",
                flow=self.context.flow,
                step=self.context.step,
                hint=f"give this sink a folder of its own, or remove {owner} if that flow is gone",
            )

    def _close_gate(self, generation: int) -> None:
        away = self.folder / f".fenced-{generation}-{new_id()}"
        try:
            self._gate(generation).rename(away)
        except FileNotFoundError:
            return
        shutil.rmtree(away, ignore_errors=True)

    def _lost(self, generation: int, epoch: int, error: OSError) -> Fenced | ConnectorError:
        """A file or folder was missing: because a newer generation came, or because someone removed the folder."""
        if any(other > generation for other in self._generations()):
            return self._fenced(generation, epoch)
        return ConnectorError(
            f"the folder {self.folder} was removed or was never opened by generation {generation}: {error}",
            flow=self.context.flow,
            step=self.context.step,
            epoch=epoch,
        )

    def _fenced(self, generation: int, epoch: int | None = None) -> Fenced:
        newest = max(self._generations(), default=generation)
        return Fenced(
            f"generation {newest} writes {self.folder}; generation {generation} may not",
            flow=self.context.flow,
            step=self.context.step,
            epoch=epoch,
        )

    def _generations(self) -> list[int]:
        return self._numbers(GENERATION)

    def _epochs(self) -> list[int]:
        return self._numbers(self._epoch_file)

    def _numbers(self, pattern: re.Pattern[str]) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(found[1]) for path in self.folder.iterdir() if (found := pattern.fullmatch(path.name)))

    def _gate(self, generation: int) -> Path:
        return self.folder / f".gen-{generation}"

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:012d}{self._ending}"
