"""Capture: everything that a process says is an entry, once, with where it comes from, and without secrets."""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.observe import Identity, JournalWriter, LogCapture, LogQuery, LogReader, Scope, StepMark, log_scope

LOG = logging.getLogger("shop.orders")
CANARY = "s3cr3t-c4n4ry"


@contextmanager
def caught(folder: Path, **options: Any) -> Iterator[LogCapture]:
    """A capture of the flow `flow`, attached; without the handlers of pytest, as in a process of a flow."""
    root = logging.getLogger()
    others, root.handlers = root.handlers, []
    journal = JournalWriter(folder / "flow", Identity("shop", "flow", "dev", "v1", "w1"))
    try:
        with LogCapture(journal, **options) as capture:
            capture.attach()
            yield capture
    finally:
        root.handlers = others


def entries(folder: Path) -> list[dict[str, Any]]:
    """All entries, oldest first, with their attributes as objects."""
    with LogReader(folder, ManualClock()) as reader:
        found = list(reversed(reader.newest(LogQuery(), limit=1_000)))
    return [{**row, "attrs": json.loads(row["attrs"] or "{}")} for row in found]


def test_a_record_has_message_place_and_extras(tmp_path: Path) -> None:
    """A record of `logging` is an entry with its text, severity, logger, line, and what `extra` gave."""
    with caught(tmp_path, root=Path(__file__).parent):
        LOG.warning("order %d is late", 7, extra={"order": 7, "who": {"a": [1]}, "trace_id": "t-1"})

    (found,) = entries(tmp_path)
    assert found["message"] == "order 7 is late"
    assert found["severity"] == 400
    assert (found["project"], found["flow"], found["env"], found["version"], found["worker"]) == (
        "shop",
        "flow",
        "dev",
        "v1",
        "w1",
    )
    assert found["trace_id"] == "t-1"
    assert found["signature"] == "order # is late"
    assert found["attrs"] | {"line": 0} == {
        "logger": "shop.orders",
        "file": "test_capture.py",
        "line": 0,
        "order": 7,
        "who": {"a": [1]},
    }
    assert found["attrs"]["line"] > 0


def test_the_place_is_that_of_the_caller_with_other_handlers_too(tmp_path: Path) -> None:
    """With handlers of the author's the standard library finds the line, without them this does: it is the same."""
    seen: list[logging.LogRecord] = []
    other = logging.Handler()
    other.emit = seen.append  # type: ignore[assignment,method-assign]

    def both() -> None:
        LOG.info("here")

    with caught(tmp_path):
        both()
    LOG.addHandler(other)
    try:
        with caught(tmp_path):
            both()
    finally:
        LOG.removeHandler(other)

    first, second = entries(tmp_path)
    assert first["attrs"] == second["attrs"]
    assert [record.lineno for record in seen] == [first["attrs"]["line"]]
    assert seen[0].threadName is not None


def test_each_line_of_a_function_is_told_as_itself(tmp_path: Path) -> None:
    """What is remembered of a line is never given for another one, nor for code that took the place of code gone."""
    with caught(tmp_path):
        for number in range(3):
            LOG.info("one")
            LOG.info("two")
            made: dict[str, Any] = {"LOG": LOG}
            exec(compile("\n" * number + "LOG.info('made')", f"made_{number}.py", "exec"), made)  # noqa: S102 - code that goes

    told = [(row["message"], row["attrs"]["file"].rsplit("/")[-1], row["attrs"]["line"]) for row in entries(tmp_path)]
    first = told[0][2]
    lines = [("one", "test_capture.py", first), ("two", "test_capture.py", first + 1)]
    assert told == [row for number in range(3) for row in [*lines, ("made", f"made_{number}.py", number + 1)]]


def test_a_function_that_logs_for_another_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A level of one's own calls what `info` calls, and `logging.info` is one call further away."""
    monkeypatch.setattr("penstock.observe.logs.capture._has_no_handlers_but", lambda _: True)  # tests before left some

    def traced(message: str) -> None:
        LOG._log(logging.INFO, message, ())

    with caught(tmp_path):
        LOG.info("here")
        traced("there")
        logging.info("root")  # noqa: LOG015 - what some authors do
        LOG.log(logging.INFO, "told")
        logging.LoggerAdapter(LOG, {}).info("adapted")

    lines = [row["attrs"]["line"] for row in entries(tmp_path)]
    assert lines == list(range(lines[0], lines[0] + 5))


def test_a_record_that_came_from_elsewhere_keeps_its_time(tmp_path: Path) -> None:
    """What a listener hands on is no line of this process: its time and place are what it says, or who hands it on."""
    with caught(tmp_path):
        LOG.handle(logging.makeLogRecord({"name": "far", "levelno": 30, "msg": "a", "created": 1_000_000_000.5}))
        LOG.handle(LOG.makeRecord("near", logging.INFO, "", 0, "b", (), None))

    far, near = entries(tmp_path)
    assert (far["message"], far["severity"], far["timestamp"].timestamp()) == ("a", 400, 1_000_000_000.5)
    assert [one["attrs"]["logger"] for one in (far, near)] == ["far", "near"]
    assert [one["attrs"]["file"].rsplit("/")[-1] for one in (far, near)] == ["test_capture.py"] * 2
    assert near["attrs"]["line"] == far["attrs"]["line"] + 1


def test_a_filter_that_asks_for_more_leaves_no_trace(tmp_path: Path) -> None:
    """The fields that a lean record works out when asked are no attributes of the entry."""
    seen: list[str] = []

    def asks(record: logging.LogRecord) -> bool:
        seen.append(f"{record.levelname} {record.filename} {record.threadName} {record.getMessage()}")
        return True

    LOG.addFilter(asks)
    try:
        with caught(tmp_path):
            LOG.info("order %d", 7)
    finally:
        LOG.removeFilter(asks)

    (found,) = entries(tmp_path)
    assert [(line.split()[0], line.endswith("order 7")) for line in seen] == [("INFO", True)]
    assert set(found["attrs"]) == {"logger", "file", "line"}


def test_prints_are_entries_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed reaches the terminal; each line is an entry, INFO of stdout, WARNING of stderr, open ones too."""
    with caught(tmp_path):
        print("one\n\ntwo", end="")  # noqa: T201
        print(" more\nthree", end="")  # noqa: T201
        sys.stderr.write("bad\n")
    shown = capsys.readouterr()

    found = entries(tmp_path)
    assert [(row["message"], row["severity"]) for row in found] == [
        ("one", 200),
        ("two more", 200),
        ("bad", 400),
        ("three", 200),
    ]
    assert shown.out == "one\n\ntwo more\nthree"
    assert shown.err == "bad\n"


def test_a_handler_that_writes_to_a_stream_makes_no_second_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that a `StreamHandler` of the author's writes to stderr too is one entry, and is written there."""
    with caught(tmp_path):
        handler = logging.StreamHandler()
        logging.getLogger().addHandler(handler)
        try:
            LOG.info("once")
        finally:
            logging.getLogger().removeHandler(handler)

    assert [row["message"] for row in entries(tmp_path)] == ["once"]
    assert capsys.readouterr().err == "once\n"


def test_warnings_without_a_handler_still_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As without us: without a handler `logging` shows warnings on stderr; what the engine says it does not."""
    with caught(tmp_path):
        LOG.info("quiet")
        LOG.warning("loud")
        logging.getLogger("penstock.engine").error("for the log only")

    assert capsys.readouterr().err == "loud\n"
    assert [row["message"] for row in entries(tmp_path)] == ["quiet", "loud", "for the log only"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_tracebacks_are_in_the_entry(tmp_path: Path) -> None:
    """`log.exception`, a thread that ends by an error, and the error that ends a flow have their tracebacks; the last
    line is what they have in common with others.
    """

    def fails() -> None:
        raise KeyError("order 17")

    with caught(tmp_path) as capture:
        try:
            fails()
        except KeyError as error:
            LOG.exception("can't price")
            capture.failed(error)
        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()

    logged, failed, ended = entries(tmp_path)
    for row in (logged, failed, ended):
        assert "in fails" in row["message"]
        assert row["signature"] == "KeyError: #"
        assert row["attrs"]["exception"] == "KeyError"
    assert (logged["severity"], failed["severity"], ended["severity"]) == (500, 600, 500)


def test_warnings_are_entries_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`warnings.warn` is one entry with its category, and is shown as ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with caught(tmp_path):
            warnings.warn("careful", UserWarning, stacklevel=1)

    (found,) = entries(tmp_path)
    assert found["message"] == "UserWarning: careful"
    assert found["attrs"]["category"] == "UserWarning"
    assert "UserWarning: careful" in capsys.readouterr().err


def test_entries_know_their_epoch_and_step(tmp_path: Path) -> None:
    """Inside an epoch entries have its number, generation, step and trace, in threads of the author's too."""
    mark = StepMark()
    with caught(tmp_path):
        LOG.info("outside")
        with log_scope(Scope("flow", generation=3, epoch=9, at=mark)):
            mark.at_step = "clean"
            LOG.info("inside")
            thread = threading.Thread(target=LOG.info, args=("beside",))
            thread.start()
            thread.join()
            mark.at_step = "write"
            print("printed")  # noqa: T201
        with log_scope(Scope("flow", epoch=9, at=mark, following=True)):
            LOG.info("hidden")

    outside, inside, beside, printed, hidden = entries(tmp_path)
    where = [(row["generation"], row["epoch"], row["step"]) for row in (outside, inside, beside, printed, hidden)]
    assert where == [(None, None, None), (3, 9, "clean"), (3, 9, "clean"), (3, 9, "write"), (None, 9, "write")]
    assert inside["trace_id"] == hidden["trace_id"] != outside["trace_id"]
    assert "role" not in inside["attrs"]
    assert hidden["attrs"]["role"] == "following"


def test_what_cant_be_written_down_is_no_reason_to_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lone surrogates, NUL, huge messages, odd attributes and wrong arguments leave entries or a note, and no error."""
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with caught(tmp_path):
        LOG.info("a\udc80b\x00c\nd")
        LOG.info("x" * 200_000)
        LOG.info("odd", extra={"nan": float("nan"), "loop": loop, "bytes": b"x", "object": object()})
        LOG.info("wrong %d", "argument")
        LOG.info("last")

    found = [row["message"] for row in entries(tmp_path)]
    assert found[0] == "a?b\x00c\nd"
    assert found[1].endswith("(134,464 characters more)")
    assert found[2] == "odd"
    assert "--- Logging error ---" in found
    assert found[-1] == "last"
    assert "Logging error" in capsys.readouterr().err


def test_no_secret_gets_into_an_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The value of a secret is replaced in records, extras, prints, tracebacks and in what goes to the terminal."""
    quoted = 'with "quotes" and \\ in it'
    with caught(tmp_path, secrets=lambda: (CANARY, quoted)) as capture:
        LOG.info("token %s", CANARY, extra={"token": CANARY, "quoted": quoted})
        print("printed", CANARY)  # noqa: T201
        try:
            raise ValueError(f"no access with {CANARY} or {quoted}")
        except ValueError as error:
            LOG.exception("refused")
            capture.failed(error)

    raw = b"".join(path.read_bytes() for path in (tmp_path / "flow" / "journals").iterdir())
    shown = capsys.readouterr()
    assert CANARY.encode() not in raw
    assert b"with \\" not in raw.replace(b"with \\\\", b"")
    assert quoted not in str(entries(tmp_path))
    assert CANARY not in shown.out + shown.err
    assert "token ***" in [row["message"] for row in entries(tmp_path)]


def test_everything_is_as_before_at_the_end(tmp_path: Path) -> None:
    """Streams, hooks, levels and the switches of `logging` are put back; a configuration that took the handler away
    does so until the next epoch only.
    """
    before = (sys.stdout, sys.stderr, sys.excepthook, threading.excepthook, warnings.showwarning)
    switches = (logging.getLogger().level, logging.logThreads, logging.logProcesses, logging._srcfile)
    with caught(tmp_path) as capture:
        logging.getLogger().handlers.clear()
        LOG.warning("unheard")
        capture.watching(lambda _point, _epoch: None)("read", 1)
        LOG.warning("heard")

    assert before == (sys.stdout, sys.stderr, sys.excepthook, threading.excepthook, warnings.showwarning)
    assert switches == (logging.getLogger().level, logging.logThreads, logging.logProcesses, logging._srcfile)
    assert [row["message"] for row in entries(tmp_path)][-1] == "heard"
