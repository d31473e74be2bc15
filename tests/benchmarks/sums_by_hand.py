"""A peer for the tests: the running count by hand, which keeps its state in a file beside its output."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from benchmarks.peers.turns import Turn, rows_file, turn


def load(kept: Path) -> tuple[int, Counter[str]]:
    """The number of the next file, and the rows of each key."""
    if not kept.exists():
        return 0, Counter()
    number, counts = json.loads(kept.read_text(encoding="ascii"))
    return number, Counter(counts)


def count(job: Turn) -> None:
    """One file after the other until asked to stop; state and output change in one rename."""
    kept = job.folder / "kept.json"
    number, counts = load(kept)
    while not job.is_asked_to_stop():
        file = rows_file(job.rows, number)
        if not file.exists():
            time.sleep(0.002)
            continue
        counts.update(str(json.loads(line)["key"]) for line in file.read_bytes().splitlines())
        number += 1
        (job.folder / "next.json").write_text(json.dumps([number, counts]), encoding="ascii")
        (job.folder / "next.json").rename(kept)
        job.tell_visible()


if __name__ == "__main__":
    mine = turn()
    count(mine)
    mine.tell_stopped()
