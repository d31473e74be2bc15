"""Where the rows of a replay go: Parquet files in a folder, or the tables of another environment, each epoch once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.clock import SystemClock, new_id
from penstock.connect import Change, Sink
from penstock.control.bundles import version_environment
from penstock.control.environment import Bound, bind, bind_one
from penstock.control.ledgers import opened_ledger
from penstock.control.loading import LoadedFlow
from penstock.control.locks import flow_lock
from penstock.control.project import Environment, project_for
from penstock.control.rollouts.checking import assembled, load_version, place_of
from penstock.control.running import PreparedRun
from penstock.control.tables import flow_folder, note_datasets
from penstock.engine import SpillReader
from penstock.errors import ConfigError
from penstock.flow import ops
from penstock.ledger import EpochRecord, Ledger

__all__ = ["write_into", "write_parquet"]

EPOCH_COLUMN = "_epoch"


def write_parquet(job: Mapping[str, Any]) -> dict[str, Any]:
    """Write what a replay computed to `FOLDER/SINK.parquet`, with the epoch of each row; deleted keys beside it.

    A file is there whole or not at all. Raises ConfigError where the folder can't be written.
    """
    reader, folder = SpillReader(Path(str(job["spill"]))), Path(str(job["folder"]))
    files: dict[str, _File] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for epoch in reader.epochs():
            if int(job["first"]) <= epoch <= int(job["last"]):
                for sink, change in reader.read(epoch).items():
                    _put(files, folder, sink, epoch, change.rows)
                    if change.deleted is not None:
                        _put(files, folder, f"{sink}.deleted", epoch, change.deleted)
        written = {name: {"file": str(file.finish()), "rows": file.rows} for name, file in files.items()}
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder} can't be written: {error.strerror}",
            state_left="nothing else was written",
            hint="name another folder with --out",
        ) from error
    return {"files": written}


class _File:
    """One Parquet file while it grows."""

    def __init__(self, target: Path, schema: pa.Schema) -> None:
        self.target = target
        self.rows = 0
        self._staged = target.with_name(f".{target.name}.{new_id()[:8]}")
        self._writer = pq.ParquetWriter(self._staged, schema)
        self._schema = schema

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows."""
        self.rows += frame.height
        self._writer.write_table(frame.to_arrow().cast(self._schema))

    def finish(self) -> Path:
        """Put it in its place."""
        self._writer.close()
        return self._staged.replace(self.target)


def _put(files: dict[str, _File], folder: Path, name: str, epoch: int, rows: pl.DataFrame) -> None:
    frame = rows.with_columns(pl.lit(epoch, pl.Int64).alias(EPOCH_COLUMN))
    if name not in files:
        files[name] = _File(folder / f"{name}.parquet", frame.to_arrow().schema)
    files[name].add(frame)


def write_into(job: Mapping[str, Any]) -> dict[str, Any]:
    """Write what a replay computed to the tables of another environment, as the epochs 1, 2, ... of a flow there.

    That flow has its own fence and its own record in that environment's ledger: done again, or after a crash, it goes
    on behind the last epoch that is there. Raises what sinks and ledgers raise.
    """
    target = project_for(Path(str(job["project_root"]))).environment(str(job["environment"]))
    source = place_of(job)
    loaded = load_version(job, source)
    name, first, last = str(job["into_flow"]), int(job["first"]), int(job["last"])
    prepared = _prepared(loaded, name, source, target)
    clock = SystemClock()
    with opened_ledger(source, clock) as ledger:
        records = {one.epoch: one for one in ledger.epochs(str(job["flow"]), first=first, last=last)}
    reader = SpillReader(Path(str(job["spill"])))
    there = set(reader.epochs())
    missing = [epoch for epoch in records if epoch not in there]
    if missing:
        raise ConfigError(f"what epoch {missing[0]} computed is not there", hint="replay again")
    folder, version = flow_folder(target, name), str(job.get("version") or "")
    with flow_lock(folder, name, target.name), opened_ledger(target, clock) as ledger, assembled(prepared) as assembly:
        note_datasets(folder, name, prepared.bound)
        resume = ledger.claim(name, version=version, holder=f"replay {new_id()[:8]}")
        done = 0 if resume.last is None else resume.last.epoch
        for sink in assembly.sinks.values():
            sink.open(resume.generation)
        rows: dict[str, int] = dict.fromkeys(assembly.sinks, 0)
        for epoch, record in records.items():
            number = epoch - first + 1
            if number > done:
                plan = replace(record.plan, epoch=number, redrive=())
                again = EpochRecord(
                    number, resume.generation, version, plan, record.watermark_us, rows_in=record.rows_in
                )
                for step, count in _write_epoch(ledger, name, again, assembly.sinks, reader.read(epoch)).items():
                    rows[step] += count
    return {"environment": target.name, "flow": name, "epochs": len(records), "already": done, "rows": rows}


def _prepared(loaded: LoadedFlow, name: str, source: Environment, target: Environment) -> PreparedRun:
    """The flow under another name, with the ends that it reads from where they were, and its tables in `target`.

    Only its columns are asked of what it reads; the other environment need not have it.
    """
    reads = bind(loaded.definition, loaded.project, version_environment(loaded, source))
    place = version_environment(loaded, target)
    bound = [one for one in reads if not one.writes]
    for step in loaded.definition.writes:
        assert isinstance(step.operation, ops.Write)
        dataset, origin = bind_one(step.operation.dataset, loaded.project, place, writes=True)
        bound.append(Bound(step.name, step.operation.dataset.name, dataset, writes=True, origin=origin))
    named = replace(loaded, definition=replace(loaded.definition, name=name))
    return PreparedRun(named, place, tuple(bound))


def _write_epoch(
    ledger: Ledger, flow: str, record: EpochRecord, sinks: Mapping[str, Sink], changes: Mapping[str, Change]
) -> dict[str, int]:
    """One epoch to all sinks, and into the ledger; gives the rows by sink."""
    ledger.plan(flow, record.generation, record.plan)
    rows: dict[str, int] = {}
    receipts: dict[str, Any] = {}
    for step, sink in sinks.items():
        change = changes.get(step)
        if change is None and sink.context.schema is not None:
            change = Change(sink.context.schema.to_frame())
        if change is not None:
            receipts[step] = sink.write(record.epoch, record.generation, change)
            rows[step] = change.rows.height
    ledger.commit(flow, replace(record, rows_out=rows, receipts=receipts))
    return rows
