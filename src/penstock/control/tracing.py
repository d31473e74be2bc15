"""Why is this row here? From a row of a table to the epoch that wrote it, as far as the table tells.

A Parquet folder has the epoch in the names of its files. A Delta table has it in its log: a row of a file that was
merged from others (by a compaction, or because other keys were written) is looked for in those, back to the epoch
whose file has it and whose predecessors have not. Other systems do not keep the epoch of a row.
"""

# ruff: noqa: S608 - SQL is put together from quoted names and literals; what a person wrote is a parameter

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from penstock.connect import FileOrigin, file_origins, literal, quoted
from penstock.control.project import Environment
from penstock.control.tables import TableFacts, environment_tables
from penstock.errors import ConfigError, ConnectorError, QueryError, did_you_mean

__all__ = ["TracedRow", "trace_rows", "traced_table"]

_EPOCH_FILE = re.compile(r"epoch-(\d{12,})\.parquet")
_STEPS_MOST = 400
"""How many files a row is followed back through."""


@dataclass(frozen=True, slots=True)
class TracedRow:
    """A row and the epoch that wrote it. Not `exact`: that one or an older one. `epoch` None: nobody can tell.

    `told`: how it is known, or why not, in a sentence.
    """

    row: Mapping[str, Any]
    epoch: int | None
    exact: bool
    told: str


def traced_table(environment: Environment, name: str) -> TableFacts:
    """The table of this name. Raises ConfigError that lists those that are there."""
    known = {table.name: table for table in environment_tables(environment)}
    if name in known:
        return known[name]
    raise ConfigError(
        f"there is no table {name!r} in {environment.name}.{did_you_mean(name, sorted(known))}",
        hint=f"tables: {', '.join(sorted(known)) or 'none yet'}",
    )


def trace_rows(
    environment: Environment, table: TableFacts, where: Mapping[str, str], *, limit: int = 20
) -> list[TracedRow]:
    """The rows whose columns read as `where` says (all, where it is empty), with their epochs.

    Raises ConnectorError where the table can't be read, QueryError for a column that is not there.
    """
    folder = environment.root / str(table.options.get("path", ""))
    if table.kind == "delta":
        files, origins = _live_files(folder), file_origins(folder, table.flow, table.step)
    elif table.kind == "parquet":
        files = sorted(path.name for path in folder.glob("epoch-*.parquet"))
        origins = {name: FileOrigin(int(found[1])) for name in files if (found := _EPOCH_FILE.fullmatch(name))}
    else:
        raise ConfigError(
            f"a {table.kind} table does not keep the epoch of a row",
            flow=table.flow or None,
            hint=f"look among the epochs that wrote to it: penstock ledger {table.flow or 'FLOW'}",
        )
    if not files:
        return []
    with duckdb.connect(config={"threads": "2"}) as connection:
        search = _Search(connection, folder, origins)
        try:
            return search.rows(files, where, limit)
        except duckdb.Error as error:
            raise QueryError(f"{table.name}: {str(error).partition(chr(10))[0]}", hint="name its columns") from None


def _live_files(folder: Path) -> list[str]:
    try:
        return [Path(path).name for path in DeltaTable(str(folder)).file_uris()]
    except TableNotFoundError:
        return []
    except DeltaError as error:
        raise ConnectorError(f"the Delta table {folder} can't be read: {error}") from None


class _Search:
    """Looks for rows in files. `folder`: of the table; `origins`: by name of the file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, origins: Mapping[str, FileOrigin]) -> None:
        self._connection = connection
        self._folder = folder
        self._origins = origins

    def rows(self, files: Sequence[str], where: Mapping[str, str], limit: int) -> list[TracedRow]:
        conditions = " and ".join(f"cast({quoted(name)} as varchar) = ?" for name in where) or "true"
        self._connection.execute(
            f"create temp table found as select * from {self._read(files)} where {conditions} limit {int(limit)}",
            list(where.values()),
        )
        names = [name for name, *_ in self._connection.execute("describe found").fetchall() if name != "filename"]
        rows = self._connection.execute("select * from found").fetchall()
        columns = ", ".join(quoted(name) for name in names)
        shown = self._connection.execute(f"select to_json(struct_pack({_packed(names)})) from found").fetchall()
        traced = []
        for place, (row, (text,)) in enumerate(zip(rows, shown, strict=True)):
            self._connection.execute(
                f"create or replace temp table wanted as select {columns} from found limit 1 offset {place}"
            )
            traced.append(TracedRow(json.loads(text), *self._trace(Path(str(row[-1])).name, names)))
        return traced

    def _trace(self, file: str, names: Sequence[str]) -> tuple[int | None, bool, str]:
        """Epoch, whether it is that one, and how it is known."""
        newest: int | None = None
        for _ in range(_STEPS_MOST):
            origin = self._origins.get(file)
            if origin is None:
                return newest, False, "the table's log no longer says who wrote its file"
            newest = origin.epoch if newest is None else newest
            there = [name for name in origin.before if (self._folder / name).is_file()]
            holder = self._holder(there, names) if there else None
            if holder is not None:
                file, newest = holder, self._origins[holder].epoch if holder in self._origins else newest
            elif len(there) < len(origin.before):
                return newest, False, "older files of the table are gone, so it may be of an epoch before this one"
            elif origin.epoch is None:
                return newest, False, "its file was arranged anew, and the files before that do not have it"
            else:
                return origin.epoch, True, "the first file of the table that has this row is of this epoch"
        return newest, False, f"it was the same for {_STEPS_MOST} files back; older ones were not looked at"

    def _holder(self, files: Sequence[str], names: Sequence[str]) -> str | None:
        same = " and ".join(f"one.{quoted(name)} is not distinct from wanted.{quoted(name)}" for name in names)
        found = self._connection.execute(
            f"select one.filename from {self._read(files)} as one, wanted where {same} limit 1"
        ).fetchone()
        return None if found is None else Path(str(found[0])).name

    def _read(self, files: Sequence[str]) -> str:
        listed = ", ".join(literal(str(self._folder / name)) for name in files)
        return f"read_parquet([{listed}], union_by_name = true, filename = true)"


def _packed(names: Sequence[str]) -> str:
    return ", ".join(f"{quoted(name)} := {quoted(name)}" for name in names)
