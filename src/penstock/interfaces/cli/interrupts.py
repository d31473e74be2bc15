"""Ctrl-C and SIGTERM while a flow runs: the first asks it to finish the epoch, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any, Self

from penstock.engine import StopSignal

__all__ = ["STOPPED_AT_ONCE", "Interrupts"]

STOPPED_AT_ONCE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"
_AT_ONCE = (
    b"\nstopped at once. Nothing is lost: the epoch that was under way was not committed, and the next run does it "
    b"again.\n"
)


class Interrupts:
    """Takes the two signals while it is entered. Works in the main thread; the flow runs in another one."""

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop
        self._before: dict[signal.Signals, Any] = {}
        self.asked = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            self._stop.request()
            return
        # No buffers, no locks: whatever the other thread holds, this comes through.
        if sys.stdout.isatty():
            os.write(1, _SHOW_CURSOR)
        os.write(2, _AT_ONCE)
        os._exit(STOPPED_AT_ONCE)
