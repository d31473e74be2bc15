"""NDJSON and CSV files in a folder: one file an epoch, whole or not there, behind the fence of `connect.parquet`."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import polars as pl
import zstandard

from penstock.connect.contract import Context, Sink
from penstock.connect.disk import sync_file
from penstock.connect.file_list import format_of
from penstock.connect.parquet import ParquetSink
from penstock.connect.row_types import json_conversion, text_conversion
from penstock.errors import ConfigError
from penstock.flow import Dataset

__all__ = ["FilesSink"]

ENDINGS = {"ndjson": ".jsonl", "csv": ".csv"}
PACKED_ENDINGS = {None: "", "gzip": ".gz", "zstd": ".zst"}


class FilesSink(ParquetSink):
    """A folder of text files, one an epoch, named by the epoch's number. Append only.

    Options: `path` (the folder), `format` (`ndjson`, the default, or `csv`; each CSV has its header), `compression`
    (`gzip` or `zstd`). Times are written as ISO 8601 with microseconds, so the files source reads them back. Neither
    format holds bytes; JSON has no infinity and no NaN, they become null; CSV holds no lists and structs.
    Transactional: a file is there with all rows of its epoch or not at all.
    """

    def __init__(self, dataset: Dataset, context: Context) -> None:
        Sink.__init__(self, dataset, context)
        path = dataset.options.get("path", dataset.name)
        if not isinstance(path, str) or any(letter in path for letter in "*?["):
            raise ConfigError(f"files sink: path is one folder, not {path!r}", flow=context.flow, step=context.step)
        self.folder = context.root / Path(path).expanduser()
        self._format = dataset.options.get("format") or "ndjson"
        self._packed = dataset.options.get("compression")
        if self._format not in ENDINGS or self._packed not in PACKED_ENDINGS:
            raise ConfigError(
                f"files sink: can't write {self._format!r} with compression {self._packed!r}",
                flow=context.flow,
                step=context.step,
                hint='format is "ndjson" or "csv", compression "gzip" or "zstd"; for Parquet write to ps.parquet',
            )
        if format_of(path)[0] is not None:
            raise ConfigError(
                f"files sink: {path!r} looks like one file; a sink needs a folder, it writes a file each epoch",
                flow=context.flow,
                step=context.step,
                hint=f"write to {Path(path).parent / 'out'}",
            )
        if context.key:
            raise ConfigError(
                f"files sink: files can't hold rows that update (key: {', '.join(context.key)})",
                flow=context.flow,
                step=context.step,
                hint="write to a table with a key: delta, duckdb or postgres",
            )

    def prepare(self) -> None:
        """Look whose folder it is. Raises SchemaError for a column that the format can't hold."""
        self._check_types()
        super().prepare()

    def open(self, generation: int) -> None:
        """Create the folder and raise the fence. Raises SchemaError for a column that the format can't hold."""
        self._check_types()
        super().open(generation)

    def last_epoch(self) -> int | None:
        """None: an epoch without rows leaves no file, so the folder can't tell."""
        return None

    @property
    def _ending(self) -> str:
        return f"{ENDINGS[self._format]}{PACKED_ENDINGS[self._packed]}"

    def _check_types(self) -> None:
        if self.context.schema is not None:
            (json_conversion if self._format == "ndjson" else text_conversion)(self.context.schema)

    def _store(self, rows: pl.DataFrame, path: Path) -> int:
        text = _written(rows, self._format)
        if self._packed == "gzip":
            text = gzip.compress(text, compresslevel=6, mtime=0)
        elif self._packed == "zstd":
            text = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(text)
        path.write_bytes(text)
        sync_file(path)
        return len(text)


def _written(rows: pl.DataFrame, kind: str) -> bytes:
    """The rows as text, times as ISO 8601."""
    columns = []
    for name, dtype in rows.schema.items():
        if isinstance(dtype, pl.Datetime):
            text = pl.col(name) if dtype.time_zone is None else pl.col(name).dt.convert_time_zone("UTC")
            digits = {"ms": "3", "us": "6", "ns": "9"}[dtype.time_unit]
            zone = "" if dtype.time_zone is None else "Z"
            columns.append(text.dt.strftime(f"%Y-%m-%dT%H:%M:%S%.{digits}f{zone}"))
        elif isinstance(dtype, pl.Decimal):
            columns.append(pl.col(name).cast(pl.String))
        elif isinstance(dtype, pl.Duration):
            columns.append(pl.col(name).cast(pl.Int64))
    out = io.BytesIO()
    texts = rows.with_columns(columns)
    if kind == "csv":
        texts.write_csv(out)
    else:
        texts.write_ndjson(out)
    return out.getvalue()
