"""A person at a terminal: runs the real command in a process of its own, in a project of its own."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from penstock.interfaces.cli import main

COMMAND = [sys.executable, "-m", "penstock.interfaces.cli"]
SCRIPTS = str(Path(sys.executable).parent)
PATIENCE_S = 60.0
_PAUSE = Event()

HELD_FLOW = '''
"""Rows pass while the file `go` is there; before that every batch waits."""
import threading
from pathlib import Path

import penstock as ps

HERE = Path(__file__).parent
flow = ps.Flow("held", epoch_rows=10)


def hold(batch):
    (HERE / "waits").touch()
    while not (HERE / "go").exists():
        threading.Event().wait(0.01)
    return batch


numbers = flow.read(ps.files("numbers.jsonl", schema={"n": int}))
passed = numbers.map_batches(hold, schema={"n": int})
passed.write(ps.table("numbers"))
'''

ENDLESS_FLOW = '''
"""Auction bids without an end."""
import penstock as ps

flow = ps.Flow("endless", epoch_ms=50)
bids = flow.read(ps.nexmark("bid", rate_per_s=2000), event_time="date_time")
bids.write(ps.parquet("out/bids"))
'''


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


def penstock(folder: Path, *arguments: str, stdin: str = "") -> Answer:
    """Run one command to its end."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=environment(),
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def typed(folder: Path, *arguments: str, stdin: str = "") -> Answer:
    """Run one command to its end in this process: quicker than `penstock`, where no signal or terminal is at stake."""
    out, err = io.StringIO(), io.StringIO()
    path, given = sys.path, sys.stdin
    sys.path, sys.stdin = list(path), io.StringIO(stdin)
    code: object = None
    try:
        with chdir(folder), redirect_stdout(out), redirect_stderr(err):
            main(arguments)
    except SystemExit as end:
        code = end.code
    finally:
        sys.path, sys.stdin = path, given
    assert isinstance(code, int), "the command line always ends the process with a code"
    return Answer(code, out.getvalue(), err.getvalue())


def environment() -> dict[str, str]:
    """The variables of a plain shell: no width, no colours, no settings of Penstock's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "COLUMNS", "LINES"))}
    return {**kept, "TERM": "xterm", "PATH": f"{SCRIPTS}:{kept.get('PATH', '')}", "PYTHONWARNINGS": "default"}


class Running:
    """A command that goes on: send it signals, wait for what it says."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int | None) -> None:
        self.process = process
        self.seen = ""
        self._screen = screen

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal to this process alone."""
        self.process.send_signal(number)

    def wait_for_text(self, text: str) -> str:
        """Read its terminal until the text is there; gives all that was seen."""
        assert self._screen is not None, "only a command in a terminal shows things before its end"
        while text not in self.seen:
            block = self._read(self._screen)
            assert block, f"it ended without {text!r}: {self.seen}"
            self.seen += block
        return self.seen

    def answer(self, text: str) -> None:
        """Type a line into its terminal."""
        assert self._screen is not None, "only a command in a terminal can be answered"
        self.seen = ""
        os.write(self._screen, f"{text}\n".encode())

    @staticmethod
    def _read(screen: int) -> str:
        """What comes next; nothing at the end, which Linux tells of a terminal by an error."""
        try:
            return os.read(screen, 65_536).decode(errors="replace")
        except OSError:
            return ""

    def end(self) -> Answer:
        """Wait for its end."""
        if self._screen is None:
            out, err = self.process.communicate(timeout=PATIENCE_S)
            return Answer(self.process.returncode, out.decode(), err.decode())
        while block := self._read(self._screen):
            self.seen += block
        return Answer(self.process.wait(PATIENCE_S), self.seen, "")


@contextmanager
def started(folder: Path, *arguments: str, terminal: bool = False) -> Iterator[Running]:
    """Start a command and leave it running; it is killed at the end if it still is."""
    master, slave = pty.openpty() if terminal else (None, None)
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL if slave is None else slave,
        stdout=subprocess.PIPE if slave is None else slave,
        stderr=subprocess.PIPE if slave is None else slave,
        env=environment(),
        start_new_session=True,
    )
    if slave is not None:
        os.close(slave)
    try:
        yield Running(process, master)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_S)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        if master is not None:
            os.close(master)


def wait_for_file(path: Path) -> None:
    """Return when the file is there. The timeout of the test is the limit."""
    while not path.exists():
        _PAUSE.wait(0.01)
