"""Kill -9 a process in the middle of writing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.contracts.sinks import SinkCase


def killed_writer(
    case: SinkCase,
    key: tuple[str, ...],
    *,
    first: int,
    generation: int,
    delay_s: float,
    replace_from: int | None = None,
) -> int:
    """Start a process that writes (see `writer`) and kill it in the middle of an epoch, or of an attempt to replace.

    Gives the last that it finished.
    """
    dataset = case.dataset(key)
    arguments = {
        "kind": dataset.kind,
        "name": dataset.name,
        "options": dict(dataset.options),
        "key": key,
        "folder": str(case.folder),
        "generation": generation,
        "first": first,
        "replace_from": replace_from,
    }
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contracts.writer", json.dumps(arguments)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    last = first - 1
    for line in process.stdout:
        word, number = line.split()
        if word == "end":
            last = int(number)
        elif last >= first + 2:
            break
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    rest, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    ended = [int(line.split()[1]) for line in rest.splitlines() if line.startswith("end ")]
    return max([last, *ended])
