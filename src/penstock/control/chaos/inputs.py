"""Throwaway copies of what a flow reads: its seed data, or files. Production systems are never read."""

from __future__ import annotations

import glob
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import polars as pl
import pyarrow as pa

from penstock.control.environment import bind_one
from penstock.control.project import Environment, Project
from penstock.errors import ConfigError
from penstock.flow import Dataset, Definition, ops

__all__ = ["Input", "copy_inputs"]

_BY_COPY = ("files", "delta")
_MADE_HERE = "nexmark"
_COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_PARQUET = (".parquet", ".pq")
_START_US = 1_700_000_000_000_000
_EVENTS = 20_000


@dataclass(frozen=True, slots=True)
class Input:
    """What a read step gets here: a dataset without its schema, which is the author's. `rows`: in it, `of` how many.

    `of` is None where nobody counted.
    """

    kind: str
    name: str
    options: Mapping[str, Any]
    rows: int
    of: int | None
    table: bool = False

    def dataset(self, declared: Dataset) -> Dataset:
        """The dataset with the schema and the key that the author declared."""
        return replace(declared, kind=self.kind, name=self.name, options=dict(self.options))


def copy_inputs(
    definition: Definition, project: Project, environment: Environment, folder: Path, *, rows_max: int | None
) -> dict[str, Input]:
    """A copy of the first `rows_max` rows of what each step reads, by step; lookup tables are copied whole.

    Raises ConfigError for a source that nothing can stand for.
    """
    found: dict[str, Input] = {}
    for step in definition.reads:
        assert isinstance(step.operation, ops.Read)
        try:
            dataset = _harmless(step.operation.dataset, project, environment)
            limit = None if step.operation.table else rows_max
            copied = _copied(dataset, project.root, folder / step.name, limit)
        except ConfigError as error:
            error.flow, error.step = definition.name, step.name
            raise
        found[step.name] = replace(copied, table=step.operation.table)
    return found


def _harmless(declared: Dataset, project: Project, environment: Environment) -> Dataset:
    """What the environment binds, where that is files; else the project's seed data. Raises ConfigError."""
    try:
        bound, origin = bind_one(declared, project, environment, writes=False)
    except ConfigError:
        bound, origin = declared, ""
    if bound.kind == _MADE_HERE or (bound.kind in _BY_COPY and _is_there(bound, project.root)):
        return bound
    logical = replace(declared, kind="topic", options={})
    bare = replace(environment, bindings={}, production=False)
    try:
        return bind_one(logical, project, bare, writes=False)[0]
    except ConfigError:
        pass
    is_file = bound.kind in _BY_COPY
    what = f"{bound.kind} {bound.options.get('path', bound.name)}" if is_file else f"{bound.kind} {bound.name}"
    by = f" ({origin})" if origin else ""
    raise ConfigError(
        f"{what}{by} is empty or not there" if is_file else f"{what}{by} is no file: chaos reads no other system",
        state_left="nothing has run",
        hint=f"put some rows into {project.seed}/{declared.name}.jsonl",
    )


def _is_there(dataset: Dataset, root: Path) -> bool:
    if dataset.kind == "delta":
        return (_resolved(dataset, root) / "_delta_log").is_dir()
    return bool(_files(dataset, root))


def _resolved(dataset: Dataset, root: Path) -> Path:
    return root / Path(str(dataset.options["path"])).expanduser()


def _files(dataset: Dataset, root: Path) -> list[Path]:
    """The files of a dataset in the order in which they would be read."""
    target = _resolved(dataset, root)
    if target.is_dir():
        found = sorted(target.iterdir())
    elif glob.has_magic(str(target)) and not target.exists():
        found = sorted(Path(one) for one in glob.iglob(str(target), recursive=True))  # noqa: PTH207 - may be absolute
    else:
        return [target] if target.is_file() else []
    return [path for path in found if path.is_file() and not path.name.startswith((".", "_"))]


def _copied(dataset: Dataset, root: Path, folder: Path, limit: int | None) -> Input:
    if dataset.kind == _MADE_HERE:
        return _generated(dataset, limit)
    folder.mkdir(parents=True, exist_ok=True)
    if dataset.kind == "delta":
        frame = pl.read_delta(str(_resolved(dataset, root)))
        cut = frame if limit is None else frame.head(limit)
        cut.write_parquet(folder / "rows.parquet")
        options = {"path": str(folder / "rows.parquet"), "format": "parquet"}
        return Input("files", str(folder / "rows.parquet"), options, cut.height, frame.height)
    files = _files(dataset, root)
    several = len(files) > 1 or _resolved(dataset, root) not in files
    rows = of = 0
    for number, path in enumerate(files):
        left = None if limit is None else max(limit - rows, 0)
        copy = folder / (f"{number:06d}-{path.name}" if several else path.name)
        taken, there = _copy_file(path, copy, dataset, left)
        rows, of = rows + taken, of + there
    place = str(folder if several else folder / files[0].name)
    return Input("files", place, {**dataset.options, "path": place}, rows, of)


def _generated(dataset: Dataset, limit: int | None) -> Input:
    """Nexmark: so many events, as fast as they are read, at times that are always the same."""
    given = {name: value for name, value in dataset.options.items() if name not in ("rate_per_s", "live")}
    wanted = given.get("events")
    events = min(wanted or limit or _EVENTS, limit or wanted or _EVENTS)
    options = {"start_us": _START_US, **given, "events": events}
    return Input(dataset.kind, dataset.name, options, events, wanted)


def _copy_file(path: Path, copy: Path, dataset: Dataset, limit: int | None) -> tuple[int, int]:
    """Copy the first rows of a file; gives how many were copied, and how many there are."""
    compression = dataset.options.get("compression") or _COMPRESSIONS.get(path.suffix.lower())
    plain = path.with_suffix("") if path.suffix.lower() in _COMPRESSIONS else path
    kind = dataset.options.get("format") or plain.suffix.lower().removeprefix(".")
    if kind == "parquet" or plain.suffix.lower() in _PARQUET:
        frame = pl.read_parquet(path, n_rows=limit)
        frame.write_parquet(copy)
        return frame.height, int(pl.scan_parquet(path).select(pl.len()).collect().item())
    header = 1 if kind in ("csv", "tsv") else 0
    rows = there = -header
    with _opened(path, "rb", compression) as source, _opened(copy, "wb", compression) as target:
        for line in source:
            there += 1
            if limit is None or there <= limit:
                target.write(line)
                rows += 1
    return max(rows, 0), max(there, 0)


def _opened(path: Path, mode: str, compression: str | None) -> IO[bytes]:
    if compression is None:
        return path.open(mode)
    streams = cast("Any", pa)  # what it gives is a raw stream, and is not typed as one
    if mode == "rb":
        return io.BufferedReader(streams.input_stream(str(path), compression=compression))
    return io.BufferedWriter(streams.output_stream(str(path), compression=compression))
