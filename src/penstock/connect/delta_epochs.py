"""Which epoch wrote a file of a Delta table, and from which files it was made, as the table's log tells it.

Only JSON is read here (the format: `penstock.connect.delta_log`), so that asking costs no client library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

__all__ = ["FileOrigin", "file_origins"]


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """`epoch`: which one wrote the file; None: it only holds rows of others, arranged anew. `before`: the files that
    it took the place of. Its rows are of `epoch`, or were in one of those.
    """

    epoch: int | None
    before: tuple[str, ...] = ()


def file_origins(table: Path, flow: str, step: str) -> dict[str, FileOrigin]:
    """File, as its name is on disk -> its origin, for those that the log still tells of."""
    found: dict[str, FileOrigin] = {}
    for actions in _commits(table):
        info: Mapping[str, Any] = next((one["commitInfo"] for one in actions if "commitInfo" in one), {})
        note = info.get("penstock") or {}
        ours = note.get("flow") == flow and note.get("step") == step
        adds = [one["add"] for one in actions if "add" in one]
        removes = tuple(unquote(one["remove"]["path"]) for one in actions if "remove" in one)
        arranged = not any(one.get("dataChange", True) for one in adds)
        parts = (note.get("replacement") or {}).get("parts", ()) if ours else ()
        for add in adds:
            name = unquote(add["path"])
            part = next((part for part in reversed(parts) if add["path"] in part["add"]), None)
            if part is not None:
                found[name] = FileOrigin(int(part["epoch"]), tuple(unquote(one) for one in part["remove"]))
            elif ours and not arranged and note.get("epoch") is not None:
                found.setdefault(name, FileOrigin(int(note["epoch"]), removes))
            elif arranged:
                found.setdefault(name, FileOrigin(None, removes))
    return found


def _commits(table: Path) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The actions of each commit that the log still has, oldest first."""
    for file in sorted((table / "_delta_log").glob("*.json")):
        try:
            yield [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError):
            continue  # cleaned away this moment, or a commit of somebody else's that is no concern of ours
