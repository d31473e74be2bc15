"""The process that is tried: `python -m penstock.control.chaos.victim` makes one of itself for each line that it reads.

It imports what a flow needs once and forks for each job, so that a process is there in milliseconds; each is one of its
own, which is really killed and really frozen. A line in is `{"id": n, "job": {...}}`; lines out tell of the process
`id`: its `pid`, that it `runs`, that it `stopped`, what it `said`, and how it `ended` (a code, or minus a signal). It
ends with its input, and its processes with it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from penstock.clock import SystemClock
from penstock.connect import sink_class, source_class
from penstock.control.chaos.faults import EpochClock, all_of, break_sink, probe_of_faults
from penstock.control.chaos.repeating import record_outputs, repeat_epochs
from penstock.control.chaos.script import Script
from penstock.control.exit_codes import exit_code_of
from penstock.control.ledgers import opened_ledger
from penstock.control.locks import flow_lock
from penstock.control.member import Job, do_duty
from penstock.control.tables import note_datasets
from penstock.engine import Probe, StopSignal
from penstock.errors import PenstockError

__all__ = ["main", "perform"]

_POLL_MS = 5
_SAID_CHARS = 2_000
"""A line must fit into a pipe at once: several processes write to one."""
_SOURCES, _SINKS = ("files", "nexmark"), ("delta", "duckdb", "files", "parquet")


def main() -> None:
    """Make processes for as long as somebody asks for them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this
    warnings.filterwarnings("ignore", message=".*fork.*")  # nothing runs here that a fork could cut in two
    for kind in _SOURCES:
        source_class(kind)
    for kind in _SINKS:
        sink_class(kind)
    gc.collect()
    gc.freeze()
    messages = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the author's code prints is no message
    children: dict[int, int] = {}
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    buffered = b""
    while True:
        if poll.poll(_POLL_MS):
            block = os.read(sys.stdin.fileno(), 65_536)
            if not block:
                break
            *lines, buffered = (buffered + block).split(b"\n")
            for line in lines:
                asked = json.loads(line)
                children[_forked(asked, messages)] = asked["id"]
        _tell_changes(children, messages)
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _forked(asked: Mapping[str, Any], messages: int) -> int:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        os._exit(perform(asked["job"], partial(_tell, messages, asked["id"])))
    _tell(messages, asked["id"], pid=pid)
    return pid


def _tell_changes(children: dict[int, int], messages: int) -> None:
    """What became of the processes since the last look."""
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        except ChildProcessError:
            return
        if pid == 0:
            return
        number = children.get(pid)
        if number is None:
            continue
        if os.WIFSTOPPED(status):
            _tell(messages, number, stopped=True)
        elif os.WIFCONTINUED(status):
            _tell(messages, number, stopped=False)
        else:
            del children[pid]
            _tell(messages, number, ended=os.waitstatus_to_exitcode(status))


def perform(job: Mapping[str, Any], tell: Callable[..., None]) -> int:
    """Do a job in this process and say how it went; gives the exit code, as a member's."""
    stop = StopSignal()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.request())
    try:
        script = Script.parsed(Path(str(job["script"])).read_text(encoding="utf-8"))
        said = _JOBS[str(job["do"])](script, job, stop, _running(tell))
    except PenstockError as error:
        error.message = error.message[:_SAID_CHARS]
        tell(said=str(error)[:_SAID_CHARS], step=error.step)
        return exit_code_of(error)
    except Exception:
        tell(said=traceback.format_exc()[-_SAID_CHARS:])
        return 70
    tell(said=said)
    return 0


def _serve(script: Script, job: Mapping[str, Any], stop: StopSignal, runs: Probe) -> str:
    """Be a member of the flow, with faults."""
    faults = job.get("faults", {})
    clock = EpochClock(script.start_us)
    prepared = script.prepared(Path(str(job["story"])))
    place = prepared.environment
    member = Job(
        env=place.name,
        project_root=script.root,
        flow=prepared.flow,
        member=str(job["member"]),
        role=str(job["role"]),
        savepoint=job.get("savepoint"),
        options={**script.options, **job.get("options", {})},
        wish=job.get("wish", {}),
    )
    # The clock first: who is killed at a point has noted its epoch before.
    probe = all_of(clock.probe, runs, probe_of_faults(faults))
    with opened_ledger(place, clock) as ledger, flow_lock(prepared.folder, prepared.flow, place.name, shared=True):
        note_datasets(prepared.folder, prepared.flow, prepared.bound)
        return do_duty(
            member, prepared, ledger, stop, clock, probe=probe, dress=lambda assembly: break_sink(assembly, faults)
        )


def _record(script: Script, job: Mapping[str, Any], _stop: StopSignal, _runs: Probe) -> str:
    return record_outputs(script, Path(str(job["story"])), Path(str(job["outputs"])), SystemClock())


def _repeat(script: Script, job: Mapping[str, Any], _stop: StopSignal, _runs: Probe) -> str:
    found = repeat_epochs(script, Path(str(job["story"])), Path(str(job["outputs"])), SystemClock())
    Path(str(job["answer"])).write_text(json.dumps(found, default=str), encoding="utf-8")
    return "compared"


_JOBS = {"serve": _serve, "record": _record, "repeat": _repeat}


def _running(tell: Callable[..., None]) -> Probe:
    """A probe that says once that the flow has been claimed."""
    said = False

    def probe(_point: str, _epoch: int) -> None:
        nonlocal said
        if not said:
            said = True
            tell(runs=True)

    return probe


def _tell(messages: int, number: int, **facts: Any) -> None:
    os.write(messages, json.dumps({"id": number, **facts}).encode() + b"\n")


if __name__ == "__main__":
    main()
