"""Databases that flows write to, as this room meets them: to read a table for SQL, to drop one at a reset."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from penstock.connect import quoted, resolve
from penstock.errors import ConfigError, ConnectorError

__all__ = ["DROPS", "drop_table", "locked_file", "postgres_connection", "qualified"]


def qualified(name: str) -> str:
    """`schema.table` with each part in quotes."""
    return ".".join(quoted(part) for part in name.split("."))


@contextmanager
def postgres_connection(options: Mapping[str, Any], root: Path) -> Iterator[Any]:
    """A psycopg connection in autocommit mode for a dataset's options; errors become ConnectorError without the dsn."""
    try:
        psycopg = importlib.import_module("psycopg")
    except ModuleNotFoundError:
        raise ConfigError(
            "a PostgreSQL table needs the package 'psycopg', which is not installed",
            hint='pip install "penstock[postgres]"',
        ) from None
    dsn = str(options["dsn"])
    try:
        with psycopg.connect(resolve(dsn, root), connect_timeout=10, autocommit=True) as connection:
            yield connection
    except psycopg.Error as error:
        place = dsn if dsn.startswith(("env:", "file:")) else "its dsn"
        raise ConnectorError(
            f"the PostgreSQL table {options['table']}: {str(error).strip()}",
            hint=f"check that the server runs and that {place} is right",
        ) from None


def locked_file(error: duckdb.IOException, path: str, flow: str | None) -> ConnectorError | None:
    """What to say where another process has a DuckDB file open; None where the error is another one."""
    text = str(error)
    if "lock" not in text.lower():
        return None
    held = re.search(r"PID (\d+)", text)
    return ConnectorError(
        f"the DuckDB file {path} is locked: a flow is writing it" + (f" (process {held[1]})" if held else ""),
        flow=flow,
        state_left="nothing was changed",
        hint="DuckDB lets one process at a time into a file: stop the flow, or let it write to ps.table(...), "
        "which readers may open at any time",
    )


def drop_table(kind: str, options: Mapping[str, Any], root: Path) -> None:
    """Drop a table that a flow wrote; its sink creates it anew. Raises ConnectorError, ConfigError."""
    DROPS[kind](options, root)


def _drop_duckdb(options: Mapping[str, Any], root: Path) -> None:
    path = root / str(options["path"])
    if not path.is_file():
        return
    try:
        with duckdb.connect(str(path)) as connection:
            connection.execute(f"drop table if exists {qualified(str(options['table']))}")
    except duckdb.IOException as error:
        raise locked_file(error, str(options["path"]), None) or ConnectorError(str(error)) from None
    except duckdb.Error as error:
        raise ConnectorError(f"the table {options['table']} in {options['path']} can't be dropped: {error}") from None


def _drop_postgres(options: Mapping[str, Any], root: Path) -> None:
    with postgres_connection(options, root) as connection:
        connection.execute(f"drop table if exists {qualified(str(options['table']))}")


DROPS: Mapping[str, Callable[[Mapping[str, Any], Path], None]] = {"duckdb": _drop_duckdb, "postgres": _drop_postgres}
"""Kind of a sink whose table is dropped -> how."""
