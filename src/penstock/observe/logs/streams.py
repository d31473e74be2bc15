"""A stream of text whose lines are entries too."""

from __future__ import annotations

import errno
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from penstock.observe.logs.redaction import Redactor

__all__ = ["CapturedStream"]

_LINE_CHARS = 65_536
_LOGGING_EMITS = logging.StreamHandler.emit.__code__


class CapturedStream:
    """Stands in the place of `stream`: passes everything on, and tells `line` of each line, without its end.

    What a handler of `logging` writes is passed on and not told: the record is an entry already. `but_main_thread`:
    what the main thread writes isn't told either. A disk that is full is no reason to end.
    """

    def __init__(
        self, stream: TextIO, line: Callable[[str], None], redact: Redactor, *, but_main_thread: bool = False
    ) -> None:
        self.stream = stream
        self._line = line
        self._redact = redact
        self._silent = threading.main_thread().ident if but_main_thread else None
        self._parts: dict[int, str] = {}
        """What each thread has written since its last line ended."""
        self._telling = threading.local()

    def write(self, text: str) -> int:
        """Write text; gives its length, as a text file does. Raises OSError where the stream is broken."""
        self._pass_on(text)
        thread = threading.get_ident()
        if thread == self._silent or sys._getframe(1).f_code is _LOGGING_EMITS:  # noqa: SLF001
            return len(text)
        held = self._parts.get(thread, "") + text
        if "\n" in text or len(held) > _LINE_CHARS:
            *whole, held = held.split("\n")
            if len(held) > _LINE_CHARS:
                whole, held = [*whole, held], ""
            for one in whole:
                self._tell(one)
        if held:
            self._parts[thread] = held
        else:
            self._parts.pop(thread, None)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them."""
        for one in lines:
            self.write(one)

    def flush(self) -> None:
        """Flush the stream behind."""
        try:
            self.stream.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def finish(self) -> None:
        """Tell of the lines that have not ended."""
        for thread in list(self._parts):
            rest = self._parts.pop(thread, "")
            if rest:
                self._tell(rest)

    def __getattr__(self, name: str) -> Any:
        """All else (`isatty`, `encoding`, `fileno`, `buffer`) is the stream's own."""
        return getattr(self.stream, name)

    def _pass_on(self, text: str) -> None:
        try:
            self.stream.write(self._redact(text))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def _tell(self, line: str) -> None:
        if line and not line.isspace() and not getattr(self._telling, "now", False):
            self._telling.now = True  # whatever telling should write is not told of in turn
            try:
                self._line(line.rstrip("\r"))
            finally:
                self._telling.now = False
