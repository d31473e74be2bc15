"""What a process logs, prints and warns of, and how it ends, as entries of its journal.

The handler of `logging` is what a line costs: some microseconds, most of them in `logging` itself. Where no other
handler is there to be told, what only such a one would ask for (names of threads and processes, `findCaller`) is
switched off, as the standard library documents it; the line of the author's code is then found here, for less.
"""

from __future__ import annotations

import json
import linecache
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from json.encoder import encode_basestring  # the quoted text in C, without the rest of an encoder
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from penstock.clock import Clock, SystemClock
from penstock.observe.entries import SEVERITIES
from penstock.observe.logs.journal import JournalWriter
from penstock.observe.logs.redaction import Redactor
from penstock.observe.logs.scope import Site, Tail, current_scope
from penstock.observe.logs.streams import CapturedStream

__all__ = ["JournalHandler", "LogCapture"]

_MESSAGE_CHARS = 65_536
_OURS = "penstock"
_STANDARD = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "penstock_us"})
_FIELDS = len(logging.makeLogRecord({}).__dict__)
_LEAN_FIELDS = 5
_UNKNOWN = "(unknown file)"
"""What `_log` says of where it was called, with its switches off; who makes a record without it says something else."""
_LOGGING_FILE = logging.addLevelName.__code__.co_filename
_FRAMES_TO_LOG, _FRAMES_TO_CALLER = 3, 5
"""From our `handle` by way of `callHandlers` and the logger's to `_log`; then by a method like `info` to its caller."""
_OUT, _ERR = SEVERITIES["INFO"], SEVERITIES["WARNING"]


class _Severities(dict[int, tuple[int, str]]):
    """From a level of `logging` to a severity and the head of its lines: the highest not above it; 25 is NOTICE."""

    def __missing__(self, level: int) -> tuple[int, str]:
        names = {10: "DEBUG", 20: "INFO", 25: "NOTICE", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
        below = [SEVERITIES[name] for least, name in names.items() if least <= level]
        severity = max(below, default=SEVERITIES["DEFAULT"])
        found = self[level] = (severity, _head(severity))
        return found


class _LeanRecord(logging.LogRecord):
    """A record as `logging` makes it where its switches are off: what is the same in all of them is in the class.

    That is a third of what making one costs, and a field more in a record says that there is more to it.
    """

    pathname, filename, module, lineno = _UNKNOWN, _UNKNOWN, _UNKNOWN, 0
    funcName = "(unknown function)"  # noqa: N815 - the names of `logging`
    exc_info, exc_text = None, None
    stack_info: str | None = None
    penstock_us: int  # `created` is made of it, and is less exact
    msecs, relativeCreated = 0.0, 0.0  # noqa: N815
    thread, threadName, process, processName, taskName = None, None, None, None, None  # noqa: N815

    @cached_property
    def created(self) -> float:  # type: ignore[override]
        """When it was made, for the filter that asks."""
        return self.penstock_us / 1e6

    @cached_property
    def levelname(self) -> str:  # type: ignore[override]
        """The name of its level, for the filter that asks."""
        return str(logging.getLevelName(self.levelno))


def _lean_records(now_us: Callable[[], int]) -> Callable[..., logging.LogRecord]:
    """A factory of them. It makes the object itself: to go through the class takes half as long again."""
    new = object.__new__

    def made(
        name: str | None,
        level: int,
        pathname: str,
        lineno: int,
        msg: object,
        args: Any,
        exc_info: Any,
        func: str | None = None,
        sinfo: str | None = None,
    ) -> logging.LogRecord:
        if name is None:  # `makeLogRecord`, which fills it with what another process logged, its time too
            return logging.LogRecord("", level, pathname, lineno, msg, args, exc_info, func, sinfo)
        # As the standard library does: one mapping as the only argument is for `%(name)s`.
        if args and len(args) == 1 and isinstance(args[0], Mapping) and args[0]:
            args = args[0]
        record = new(_LeanRecord)
        record.name, record.msg, record.args, record.levelno = name, msg, args, level
        record.penstock_us = now_us()
        if exc_info or sinfo or pathname != _UNKNOWN:
            record.pathname, record.lineno, record.funcName = pathname, lineno, func or record.funcName
            record.exc_info, record.stack_info = exc_info, sinfo
        return record

    return made


class JournalHandler(logging.Handler):
    """Appends records of `logging` to a journal.

    `root`: paths of code in it are told from there. `echo`: given records that the standard library would have shown on
    stderr, had this handler not been there.
    """

    def __init__(
        self,
        journal: JournalWriter,
        *,
        redactor: Redactor | None = None,
        root: Path | None = None,
        echo: Callable[[logging.LogRecord], object] | None = None,
    ) -> None:
        super().__init__()
        self._journal = journal
        self._redact = redactor or Redactor()
        self.root = root
        self._echo = echo
        self._severities = _Severities()

    def handle(self, record: logging.LogRecord) -> bool:
        """Append a record, where the filters let it pass. The journal has its own lock, so none is taken here."""
        if self.filters and not self.filter(record):
            return False
        try:
            bare = record.__class__ is _LeanRecord and len(record.__dict__) == _LEAN_FIELDS
            message, args = record.msg, record.args
            if not bare or message.__class__ is not str:
                message = record.getMessage()
            elif args:
                message %= args
            scope, code = current_scope(), None
            if bare or not record.lineno:
                # At once as far as can be: a frame that is asked for is made, and those of `logging` are new each time.
                try:
                    frame = sys._getframe(_FRAMES_TO_CALLER if bare else _FRAMES_TO_LOG)  # noqa: SLF001
                except ValueError:  # the outermost code there is called `_log` itself
                    frame = sys._getframe(_FRAMES_TO_LOG)  # noqa: SLF001
                while (code := frame.f_code).co_filename == _LOGGING_FILE:
                    frame = frame.f_back or _no_frame()
                # The line itself is asked for once a site: that walks the table of all lines of the code.
                site: Site = (id(code), frame.f_lasti, record.name)
            else:
                site = (record.pathname, record.lineno, record.name)
            tails = scope.tails()
            known = tails.get(site)
            if known is None:
                place = (record.pathname, record.lineno) if code is None else (code.co_filename, frame.f_lineno)
                attrs = self._place(*place, record.name)
                known = tails[site] = Tail(scope.tail(self._encoded(attrs)), attrs, code)
            tail = known[0]
            if not bare and (record.exc_info or record.stack_info or len(record.__dict__) != _FIELDS):
                message, tail = self._with_more(record, message, known[1])
            if len(message) > _MESSAGE_CHARS:
                message = _cut(message)
            severity, head = self._severities[record.levelno]
            time_us = record.penstock_us if bare else int(record.created * 1e6)  # type: ignore[attr-defined]
            text = f'{head}{time_us},"m":{encode_basestring(self._redact(message))}{tail}'
            self._journal.append(text.encode("utf-8", "replace"), severity, time_us)
            if severity >= _ERR and self._echo is not None and not record.name.startswith(_OURS):
                self._echo(record)
        except (RecursionError, MemoryError):
            raise
        except Exception:  # as all handlers do: a record that can't be formatted is shown, and stops nothing
            self.handleError(record)
        return True

    def write(self, severity: int, time_us: int, message: str, attrs: Mapping[str, Any]) -> None:
        """Append an entry that is no record of `logging`."""
        message = self._redact(_cut(message) if len(message) > _MESSAGE_CHARS else message)
        tail = current_scope().tail(self._encoded(attrs))
        text = f'{_head(severity)}{time_us},"m":{encode_basestring(message)}{tail}'
        self._journal.append(text.encode("utf-8", "replace"), severity, time_us)

    def close(self) -> None:
        """Nothing: configurations of `logging` close all handlers, and this one is the process's own to the end."""

    def _place(self, file: str, line: int, name: str) -> dict[str, Any]:
        """Logger, file and line as attributes."""
        return {"logger": name, "file": file.removeprefix(f"{self.root}/"), "line": line}

    def _encoded(self, attrs: Mapping[str, Any]) -> str:
        """Attributes as the JSON string that the journal has."""
        return encode_basestring(self._redact(_json(attrs)))

    def _with_more(self, record: logging.LogRecord, message: str, place: Mapping[str, Any]) -> tuple[str, str]:
        """What `extra` gave, as attributes; tracebacks, as lines of the message."""
        more = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            more["exception"] = record.exc_info[0].__name__
            shown = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            message = f"{message}\n{shown}"
        if record.stack_info:
            message = f"{message}\n{record.stack_info}"
        trace = more.pop("trace_id", None)
        attrs = self._encoded({**place, **more})
        return message, current_scope().tail(attrs, trace_id=None if trace is None else str(trace))


class LogCapture:
    """Catches what this process says while a flow runs in it; use it in a `with`.

    `secrets`: the values that entries must not hold. `level`: the least level of `logging`. `but_main_thread`: what the
    main thread prints is left alone, because it speaks to a person.
    """

    def __init__(
        self,
        journal: JournalWriter,
        *,
        secrets: Callable[[], tuple[str, ...]] = lambda: (),
        root: Path | None = None,
        level: int = logging.INFO,
        but_main_thread: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.journal = journal
        self._redactor = Redactor(secrets)
        self.handler = JournalHandler(journal, redactor=self._redactor, root=root, echo=self._echo)
        self._level = level
        self._clock = clock or SystemClock()
        self._but_main_thread = but_main_thread
        self._streams: list[tuple[str, CapturedStream]] = []
        self._before: dict[str, Any] = {}

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._before = {
            "level": root.level,
            "factory": logging.getLogRecordFactory(),
            "showwarning": warnings.showwarning,
            "excepthook": sys.excepthook,
            "thread_excepthook": threading.excepthook,
            "switches": (logging.logThreads, logging.logProcesses, logging.logMultiprocessing, logging._srcfile),  # noqa: SLF001
        }
        for name, severity in (("stdout", _OUT), ("stderr", _ERR)):
            told = partial(self._line, severity, name)
            caught = CapturedStream(getattr(sys, name), told, self._redactor, but_main_thread=self._but_main_thread)
            self._streams.append((name, caught))
            setattr(sys, name, caught)
        warnings.showwarning = self._warned
        sys.excepthook = self._uncaught
        threading.excepthook = self._uncaught_in_thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def loaded(self, version: str, root: Path) -> None:
        """The author's code is there now: it is this version, its files are in `root`, and what it logs is caught."""
        self.journal.rename(version)
        self.handler.root = root
        self.attach()

    def attach(self) -> None:
        """Be the last handler of `logging`; also again, where a configuration of the author's has removed it.

        Before this, records go the way they would without us, so that `basicConfig` of an author does what it should.
        """
        root = logging.getLogger()
        if self.handler in root.handlers:
            return
        root.addHandler(self.handler)
        if root.level in (logging.NOTSET, logging.WARNING):  # nobody chose it
            root.setLevel(self._level)
        alone = _has_no_handlers_but(self.handler)
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = not alone
        if alone and logging.getLogRecordFactory() is logging.LogRecord:
            logging.setLogRecordFactory(_lean_records(self._clock.now_us))
        elif not alone:
            logging.setLogRecordFactory(self._before["factory"])
        logging._srcfile = None if alone else self._before["switches"][3]  # noqa: SLF001

    def watching(self, probe: Callable[[str, int], None]) -> Callable[[str, int], None]:
        """The same probe; at each epoch it looks whether the author's code took the handler away."""

        def watched(point: str, epoch: int) -> None:
            self.attach()
            probe(point, epoch)

        return watched

    def close(self) -> None:
        """Say nothing more; everything is as it was before. The journal is sealed."""
        root = logging.getLogger()
        root.removeHandler(self.handler)
        for name, caught in self._streams:
            caught.finish()
            if getattr(sys, name) is caught:
                setattr(sys, name, caught.stream)
        self._streams.clear()
        if self._before:
            root.setLevel(self._before["level"])
            warnings.showwarning = self._before["showwarning"]
            sys.excepthook = self._before["excepthook"]
            threading.excepthook = self._before["thread_excepthook"]
            logging.setLogRecordFactory(self._before["factory"])
            switches = self._before["switches"]
            logging.logThreads, logging.logProcesses, logging.logMultiprocessing = switches[:3]
            logging._srcfile = switches[3]  # noqa: SLF001
            self._before = {}
        self.journal.close()

    def failed(self, error: BaseException) -> None:
        """An entry for the error that ends the process, with its traceback."""
        shown = "".join(traceback.format_exception(error)).rstrip("\n")
        where = {"exception": type(error).__name__, "code": getattr(error, "code", None)}
        attrs = {"logger": "penstock.process", **{name: value for name, value in where.items() if value is not None}}
        self.handler.write(SEVERITIES["CRITICAL"], self._clock.now_us(), f"the flow failed: {error}\n{shown}", attrs)

    def _line(self, severity: int, stream: str, text: str) -> None:
        self.handler.write(severity, self._clock.now_us(), text, {"logger": stream})

    def _echo(self, record: logging.LogRecord) -> None:
        """What `logging` does with warnings that have no handler."""
        if len(logging.getLogger().handlers) == 1 and logging.lastResort is not None:
            logging.lastResort.handle(record)

    def _warned(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        attrs = {"logger": "py.warnings", "file": filename, "line": lineno, "category": category.__name__}
        self.handler.write(_ERR, self._clock.now_us(), f"{category.__name__}: {message}", attrs)
        stream = file or (self._streams[1][1].stream if self._streams else sys.stderr)
        with suppress(OSError):
            shown = line or linecache.getline(filename, lineno)
            stream.write(warnings.formatwarning(message, category, filename, lineno, shown))

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.failed(error)
        self._before.get("excepthook", sys.__excepthook__)(kind, error, trace)

    def _uncaught_in_thread(self, given: threading.ExceptHookArgs) -> None:
        if given.exc_value is not None:
            shown = "".join(traceback.format_exception(given.exc_value)).rstrip("\n")
            name = "" if given.thread is None else given.thread.name
            attrs = {"logger": "penstock.process", "thread": name, "exception": given.exc_type.__name__}
            self.handler.write(SEVERITIES["ERROR"], self._clock.now_us(), f"a thread ended\n{shown}", attrs)
        before = self._before.get("thread_excepthook", threading.__excepthook__)
        stream, sys.stderr = sys.stderr, self._streams[1][1].stream if self._streams else sys.stderr
        try:
            before(given)
        finally:
            sys.stderr = stream


def _head(severity: int) -> str:
    """How all lines of a severity begin: they are counted by it."""
    return f'{{"s":{severity},"t":'


def _no_frame() -> FrameType:
    raise RuntimeError("a record of logging that nobody logged")


def _has_no_handlers_but(ours: logging.Handler) -> bool:
    known = logging.Logger.manager.loggerDict.values()
    others = [handler for one in known if isinstance(one, logging.Logger) for handler in one.handlers]
    others += logging.getLogger().handlers
    return all(handler is ours or isinstance(handler, logging.NullHandler) for handler in others)


def _cut(message: str) -> str:
    return f"{message[:_MESSAGE_CHARS]}... ({len(message) - _MESSAGE_CHARS:,} characters more)"


def _json(values: Mapping[str, Any]) -> str:
    """Strict, compact JSON; what JSON does not know becomes text."""
    try:
        return json.dumps(values, default=str, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError):  # no number (NaN), a key that is no text, or an object that holds itself
        return json.dumps(
            {str(name): str(value) for name, value in values.items()}, ensure_ascii=False, separators=(",", ":")
        )
