"""Where benchmarks keep what they make (data, outputs, other systems' environments), and how they tell of progress."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

__all__ = ["DATA", "OUT", "PEERS", "ROOT", "say", "work_folder"]

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "out"
"""Outside git. What is in it may be removed at any time."""
DATA = OUT / "data"
PEERS = OUT / ".peers"
"""Hidden, so that no tool takes the packages in it for ours."""


def say(text: str) -> None:
    """One line of progress, where it can't get into the JSON."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def work_folder(name: str) -> Iterator[Path]:
    """A fresh folder on the same disk as the data; removed at the end."""
    OUT.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f"{name}-", dir=OUT))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
