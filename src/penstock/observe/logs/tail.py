"""Follows the logs of an environment: entries as they are logged, each once, those of one process in their order."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from penstock.observe.logs.journal import FULL
from penstock.observe.logs.reading import JournalFile, empty_rows, journal_files, rows_of_lines
from penstock.observe.logs.store import flows_with_logs

__all__ = ["LogTail"]

_BLOCK = 1 << 20


@dataclass(slots=True)
class _Followed:
    """A journal that is read as it grows. The open file is read to its end, also where it was sealed or removed."""

    handle: int
    header: Mapping[str, Any] = field(default_factory=dict)
    at: int = 0
    lines: int = 0

    def news(self) -> pl.DataFrame:
        """The entries since the last call."""
        blocks = []
        at = self.at
        while block := os.pread(self.handle, _BLOCK, at):
            end = block.find(b"\0")
            blocks.append(block if end < 0 else block[:end])
            at += len(block)
            if end >= 0:
                break
        data = b"".join(blocks)
        data = data[: data.rfind(b"\n") + 1]
        if not data:
            return empty_rows()
        self.at += len(data)
        if not self.header:
            first, _, data = data.partition(b"\n")
            self.header = json.loads(first)
        rows = rows_of_lines(self.header, data, first=self.lines)
        self.lines += data.count(b"\n")
        return rows


class LogTail:
    """Reads what is new at each call of `news`. `root`: the folder of an environment's logs; `flows`: None for all.

    It begins with what is logged from now on; close it at the end.
    """

    def __init__(self, root: Path, flows: tuple[str, ...] | None = None) -> None:
        self._root = root
        self._flows = flows
        self._followed: dict[str, _Followed] = {}
        self._ended: set[str] = set()
        for journal in self._journals():
            followed = self._follow(journal)
            if followed is not None:
                followed.news()

    def news(self) -> pl.DataFrame:
        """The entries that were logged since the last call, by their time."""
        present = {journal.id: journal for journal in self._journals()}
        for name, journal in present.items():
            if name not in self._followed and name not in self._ended:
                self._follow(journal)
        found = [empty_rows()]
        for name, followed in list(self._followed.items()):
            # Looked at before it is read: what was written until it was sealed is read then.
            sealed = name not in present or present[name].path.suffix == FULL
            found.append(followed.news())
            if sealed:
                os.close(followed.handle)
                del self._followed[name]
                self._ended.add(name)
        self._ended &= set(present)
        # The sort is stable: lines of one process that have one time stay as they were logged.
        return pl.concat(found).sort("timestamp", maintain_order=True)

    def close(self) -> None:
        """Let go of the journals."""
        while self._followed:
            os.close(self._followed.popitem()[1].handle)

    def _journals(self) -> list[JournalFile]:
        flows = [logs for logs in flows_with_logs(self._root) if self._flows is None or logs.flow in self._flows]
        return [journal for logs in flows for journal in journal_files(logs.folder)]

    def _follow(self, journal: JournalFile) -> _Followed | None:
        for path in (journal.path, journal.path.with_suffix(FULL)):
            try:
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            found = self._followed[journal.id] = _Followed(handle)
            return found
        return None
