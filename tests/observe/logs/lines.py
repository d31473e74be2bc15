"""Lines of logs for tests: written by a real writer, told by what they say."""

from __future__ import annotations

import json
from pathlib import Path

from penstock.clock import Clock, ManualClock, to_datetime
from penstock.observe import FlowLogs, Identity, JournalWriter, LogQuery, LogReader, Quota

__all__ = ["HOUR_US", "START_US", "messages", "put", "written"]

START_US = 1_700_000_000_000_000 - 1_700_000_000_000_000 % 86_400_000_000
HOUR_US = 3_600_000_000


def put(journal: JournalWriter, message: str, *, time_us: int = START_US, severity: int = 200, **more: object) -> None:
    """Append an entry."""
    values = {"s": severity, "t": time_us, "m": message, "a": json.dumps({"logger": "test", **more})}
    journal.append(json.dumps(values, separators=(",", ":")).encode() + b"\n", severity, time_us)


def written(
    folder: Path,
    lines: list[tuple[int, str]],
    *,
    worker: str = "w1",
    version: str = "v1",
    severity: int = 200,
    seal: bool = True,
    size_bytes: int = 1 << 16,
    clock: Clock | None = None,
) -> JournalWriter:
    """A journal of the flow `folder.name` with lines of (microseconds from the start, text)."""
    journal = JournalWriter(
        folder,
        Identity("shop", folder.name, "dev", version, worker),
        quota=Quota(),
        clock=clock or ManualClock(),
        size_bytes=size_bytes,
    )
    for after_us, text in lines:
        put(journal, text, time_us=START_US + after_us, severity=severity)
    if seal:
        journal.close()
    return journal


def messages(logs: FlowLogs, text: str = "") -> list[str]:
    """What the entries of a filter say, oldest first."""
    with LogReader(logs.folder.parent, ManualClock(START_US + 24 * HOUR_US)) as reader:
        found = reader.newest(LogQuery(filter=text), limit=1_000_000)
    assert all(row["timestamp"] >= to_datetime(0) for row in found)
    return [row["message"] for row in reversed(found)]
