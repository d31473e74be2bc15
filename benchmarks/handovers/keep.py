"""Keep the flow of a project as a version: `python -m benchmarks.handovers.keep FOLDER` prints its id."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.handovers.stage import keep

if __name__ == "__main__":
    print(keep(Path(sys.argv[1])))
