"""Which tables an environment has: what its flows wrote to, noted by each run, and the Delta tables in its folder.

A run notes its write steps in `flows/FLOW/datasets.json`, so that a table can be found and read without loading any
author's code. Secrets are references there, as in `penstock.toml`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from penstock.control.environment import Bound, shown_path
from penstock.control.project import Environment
from penstock.errors import ConfigError

__all__ = ["TableFacts", "environment_tables", "flow_folder", "note_datasets", "noted_tables"]

NOTE = "datasets.json"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table of an environment. `name` is what SQL calls it; `flow` writes it (empty: none that is known)."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    flow: str = ""
    step: str = ""

    @property
    def place(self) -> str:
        """Where it is, in a word, without secrets."""
        return str(self.options.get("path") or self.options.get("table") or self.options.get("stream") or self.name)


def flow_folder(environment: Environment, flow: str) -> Path:
    """The private folder of a flow in an environment."""
    return environment.folder / "flows" / flow


def note_datasets(folder: Path, flow: str, bound: Iterable[Bound]) -> None:
    """Note what a flow writes. A reader finds the old note or the new one. Raises ConfigError for a full disk."""
    writes = [
        {
            "step": one.step,
            "name": _sql_name(one),
            "kind": one.dataset.kind,
            "options": dict(one.dataset.options),
            "key": list(one.dataset.key),
        }
        for one in bound
        if one.writes and one.dataset.kind not in ("console", "memory")
    ]
    path = folder / NOTE
    staged = folder / f".{NOTE}.{os.getpid()}"
    try:
        staged.write_text(json.dumps({"flow": flow, "writes": writes}, indent=1), encoding="utf-8")
        staged.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}", flow=flow, hint="free space there") from error


def noted_tables(folder: Path) -> tuple[TableFacts, ...]:
    """What the flow of this folder writes, as its last run noted; empty where it never ran."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(
        TableFacts(one["name"], one["kind"], one["options"], tuple(one["key"]), note["flow"], one["step"])
        for one in note["writes"]
    )


def environment_tables(environment: Environment) -> tuple[TableFacts, ...]:
    """All tables of an environment by name; a name that two flows use gets the flow in front for the second."""
    flows = sorted(path for path in (environment.folder / "flows").glob("*") if path.is_dir())
    noted = [table for folder in flows for table in noted_tables(folder)]
    known = {table.place for table in noted}
    for folder in sorted((environment.folder / "tables").glob("*/_delta_log")):
        path = shown_path(folder.parent, environment.root)
        if path not in known:
            noted.append(TableFacts(folder.parent.name, "delta", {"path": path}))
    return tuple(sorted(_with_own_names(noted), key=lambda table: table.name))


def _with_own_names(tables: Sequence[TableFacts]) -> list[TableFacts]:
    taken: set[str] = set()
    found = []
    for table in tables:
        name = table.name
        while name.lower() in taken:
            name = f"{table.flow}_{name}"
        taken.add(name.lower())
        found.append(TableFacts(name, table.kind, table.options, table.key, table.flow, table.step))
    return found


def _sql_name(bound: Bound) -> str:
    """The logical name; of a concrete path its last part, of `file:table` and `schema.table` the table."""
    if bound.origin != "author":
        return bound.logical
    options = bound.dataset.options
    if "table" in options:
        return str(options["table"]).rpartition(".")[2]
    if "path" in options:
        return PurePosixPath(str(options["path"])).name.partition(".")[0] or bound.step
    return bound.logical
