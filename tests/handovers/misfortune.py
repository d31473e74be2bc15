"""What befalls a process of the flow: a copy of this file is in the project of a scene, and every version imports it.

A scene leaves files in the folder `misfortunes` of its project; a process that runs the flow (not one that only looks
at a version) finds there what is for its version. So the processes are real ones, started by a real server.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from penstock.clock import SystemClock

__all__ = ["FOLDER", "begin", "work"]

FOLDER = Path("misfortunes")
EATEN = 80_000_000
"""Numbers of eight bytes: more than a process of these tests may have."""

_PAUSE = Event()


def is_member() -> bool:
    """Whether this process runs the flow."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "penstock.control.member"


def begin(version: str) -> None:
    """At the import of a version: the process is to die at a point (`VERSION.kill-at.*`), or has another clock."""
    if not is_member():
        return
    for file in sorted(FOLDER.glob(f"{version}.kill-at.*")):
        taken = file.with_name(f"taken.{file.name}")
        try:
            file.rename(taken)
        except FileNotFoundError:  # another process of the version was first
            continue
        os.environ["PENSTOCK_KILL_AT"] = taken.read_text()
        break
    turn_clock()


def turn_clock() -> None:
    """From now on this process's clock is off by what the file `clock` says, in microseconds."""
    right = SystemClock.now_us

    def now_us(self: SystemClock) -> int:
        try:
            return right(self) + int((FOLDER / "clock").read_text() or "0")
        except FileNotFoundError:
            return right(self)

    SystemClock.now_us = now_us  # type: ignore[method-assign]


def work(version: str, batch: Any) -> None:
    """In an epoch with rows: hang (`VERSION.hang`) or eat memory (`VERSION.eat`) for as long as the file is there."""
    if batch.is_empty() or not is_member():
        return
    eaten: list[Any] = []
    while (FOLDER / f"{version}.hang").exists() or (FOLDER / f"{version}.eat").exists():
        if (FOLDER / f"{version}.eat").exists() and not eaten:
            eaten.append(np.ones(EATEN))
        _PAUSE.wait(0.01)
