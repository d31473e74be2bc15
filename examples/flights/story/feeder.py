"""The stream of the story: a process that appends the lines of one file to another, at a steady rate.

    python -m examples.flights.story.feeder FROM TO FIRST RATE

It begins at line FIRST. What it reads on its standard input: `upto N`, so many lines may be out; `hurry`, the rest may
come fast. Near the line that it may not pass it slows down, and never quite stops, so that there is a stream on a slow
machine too. It ends when all is out, or when whoever began it is gone.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from penstock.clock import SystemClock

__all__ = ["main"]

PAUSE_S = 0.05
NEAR_S = 15.0
FAST = 20


def main(source: Path, target: Path, first: int, rate_per_s: float) -> None:
    """Append until all is out or standard input ends."""
    lines = source.read_bytes().splitlines(keepends=True)
    clock, upto, done, due = SystemClock(), first, first, float(first)
    before_s = clock.stopwatch_s()
    with target.open("ab") as out:
        while done < len(lines):
            if select.select([0], [], [], PAUSE_S)[0]:
                asked = os.read(0, 4096).decode()
                if not asked:
                    return
                for words in map(str.split, asked.splitlines()):
                    if words[0] == "hurry":
                        upto, rate_per_s = len(lines), rate_per_s * FAST
                    else:
                        upto = min(int(words[1]), len(lines))
            now_s = clock.stopwatch_s()
            slow = max((upto - due) / NEAR_S, 1.0) if upto < len(lines) else rate_per_s
            due = min(due + min(rate_per_s, slow) * (now_s - before_s), upto)
            before_s = now_s
            out.write(b"".join(lines[done : int(due)]))
            out.flush()
            done = int(due)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
