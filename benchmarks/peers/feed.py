"""The steady input of a peer's job: a small file of JSON lines every 100 ms, for engines that can't follow one file.

`python -m benchmarks.peers.feed FOLDER NUMBER KEYS RATE SEED`: files from the NUMBERth on, RATE rows a second.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.peers.turns import put_rows
from penstock.clock import seeded

PERIOD_S = 0.1


def feed(rows: Path, number: int, *, keys: int, rate_per_s: int, seed: int) -> None:
    """Write rows of keys drawn at random until somebody ends the process."""
    chance, written, began_s = seeded(seed), 0, time.perf_counter()
    while True:
        time.sleep(PERIOD_S)
        due = int((time.perf_counter() - began_s) * rate_per_s)
        lines = [f'{{"key": {chance.randrange(keys)}, "amount": {one % 10}}}\n' for one in range(written, due)]
        put_rows(rows, number, "".join(lines))
        number, written = number + 1, due


if __name__ == "__main__":
    first, among, rate, start = map(int, sys.argv[2:])
    feed(Path(sys.argv[1]), first, keys=among, rate_per_s=rate, seed=start)
