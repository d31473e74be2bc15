"""Durable files: what it takes that a file, and its name in its folder, survive a power cut."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Literal, TypeAlias

import polars as pl
from polars.exceptions import PolarsError

from penstock.errors import ConnectorError

__all__ = ["ParquetCompression", "disk_error", "sync_file", "sync_folder", "write_durably", "write_parquet_durably"]

ParquetCompression: TypeAlias = Literal["lz4", "zstd", "snappy", "uncompressed"]
OS_ERROR = re.compile(r"\(os error (\d+)\)")


def sync_file(path: Path) -> None:
    """Bring the bytes of a file to the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk: a new, renamed or removed file is durable only after this."""
    sync_file(path)


def write_durably(path: Path, data: bytes) -> None:
    """Put a whole file in the place of `path`: a reader, or a start after a crash, finds the old one or the new one."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.new")
    with staged.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    staged.replace(path)
    sync_folder(path.parent)


def write_parquet_durably(rows: pl.DataFrame, path: Path, *, compression: ParquetCompression = "lz4") -> int:
    """Write a Parquet file and bring it to the disk; gives its size in bytes. Raises OSError, as other writes do.

    With statistics: they cost about 5 % of the write, and readers skip by them.
    """
    level = 1 if compression == "zstd" else None
    try:
        rows.write_parquet(path, compression=compression, compression_level=level, statistics=True)
    except PolarsError as error:
        # Polars tells of a full disk in the text of an error of its own.
        found = OS_ERROR.search(str(error))
        if found is None:
            raise
        code = int(found[1])
        raise OSError(code, os.strerror(code), str(path)) from error
    sync_file(path)
    return path.stat().st_size


def disk_error(error: OSError, path: Path, *, flow: str, step: str, epoch: int | None = None) -> ConnectorError:
    """The ConnectorError for a disk that said no, with what to do about it."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ConnectorError(
        f"can't write {path}: {error.strerror or error}",
        flow=flow,
        step=step,
        epoch=epoch,
        state_left="what was committed before is untouched",
        hint="free space on that disk and start the flow again" if full else "look at the folder's owner and mode",
    )
