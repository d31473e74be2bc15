"""The process of one flow, as the supervisor starts it: `python -m penstock.control.member`, its job one line on stdin.

It imports all that a flow needs and then waits for the line: so a process that has no job yet is a warm spare, and a
start takes as long as loading the author's module and the state. Without a job it ends with its parent; with one it
goes on when the server dies, and the next server adopts it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.clock import Clock, SystemClock
from penstock.connect import preload
from penstock.control.bundles import bundles, load_bundle, version_environment
from penstock.control.exit_codes import exit_code_of
from penstock.control.kill_points import probe_of
from penstock.control.ledgers import opened_ledger
from penstock.control.loading import find_flow, load_flow
from penstock.control.locks import flow_lock
from penstock.control.log_catching import caught_logs
from penstock.control.priority import FULL, READYING, weigh
from penstock.control.project import Environment, Project, project_for
from penstock.control.running import PreparedRun, locate, prepare, with_limits
from penstock.control.tables import note_datasets
from penstock.engine import (
    Assembly,
    Computation,
    Duty,
    Orders,
    Patience,
    Post,
    Probe,
    RunOptions,
    StopSignal,
    Tally,
    lookup_tables,
)
from penstock.errors import (
    LedgerError,
    PenstockError,
)
from penstock.ledger import BEGINNING, Ledger, LocalStateStore, Savepoint

__all__ = ["Job", "do_duty", "main"]


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is to do; JSON on one line.

    `target`: flow name, or `path.py:variable`, of the working tree, where there is no `version`. `savepoint`: where a
    follower begins; None: it is a standby. `options`: fields of `RunOptions`.
    """

    env: str
    project_root: str
    flow: str
    member: str
    role: str = "lead"
    version: str = ""
    target: str = ""
    savepoint: str | None = None
    record_from: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    wish: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parsed(cls, text: str) -> Job:
        """The job of a line. Keys that this version does not know are passed over."""
        values = json.loads(text)
        return cls(**{name: value for name, value in values.items() if name in cls.__dataclass_fields__})


def main() -> None:
    """Wait for a job, do it, and end the process with its exit code."""
    preload()
    gc.collect()
    gc.freeze()  # what is imported stays: no collection need look at it again
    line = sys.stdin.readline()
    if not line.strip():
        sys.exit(0)
    # The pipe to the server may break at any time from here on; nothing is read from it or written to it again.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    code = _guarded(Job.parsed(line))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to tidy, and libraries take long to tidy up and complain


def _guarded(job: Job) -> int:
    weigh(FULL if job.role == "lead" else READYING)  # as the server did already, where the kernel let it
    stop = StopSignal()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.request())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server in front
    try:
        _say(f"{job.flow} {job.version or 'working tree'}: {job.role}")
        _say(_serve(job, stop))
    except PenstockError as error:
        _say(str(error), *getattr(error, "__notes__", []))
        return exit_code_of(error)
    except Exception:
        _say(traceback.format_exc())
        return 70
    return 0


def _serve(job: Job, stop: StopSignal) -> str:
    clock = SystemClock()
    project = project_for(Path(job.project_root))
    environment = project.environment(job.env)
    with (
        caught_logs(project, environment, job.flow, worker=job.member, version=job.version, clock=clock) as logs,
        opened_ledger(environment, clock) as ledger,
    ):
        try:
            prepared = _prepared(job, project, environment)
            logs.loaded(job.version or prepared.loaded.fingerprint, prepared.loaded.code_root)
            with flow_lock(prepared.folder, prepared.flow, environment.name, shared=True):
                note_datasets(prepared.folder, prepared.flow, prepared.bound)
                return do_duty(job, prepared, ledger, stop, clock, probe=logs.watching(probe_of(os.environ)))
        except PenstockError as error:
            with suppress(LedgerError):
                _tell_failure(ledger, job, error)
            raise


def _prepared(job: Job, project: Project, environment: Environment) -> PreparedRun:
    """The flow of the job, from the folder of its version, or from the working tree."""
    if job.version and not job.target:
        loaded = load_bundle(environment, job.flow, job.version)
    else:
        loaded = load_flow(find_flow(job.target or job.flow, project.root), environment, job.params)
    return prepare(loaded, version_environment(loaded, environment))


def do_duty(
    job: Job,
    prepared: PreparedRun,
    ledger: Ledger,
    stop: StopSignal,
    clock: Clock,
    *,
    probe: Probe,
    dress: Callable[[Assembly], None] = lambda _: None,
) -> str:
    """Serve as a member of a flow, until told to stop or until the input ends; gives why it ended.

    `dress`: changes what the flow is put together of, before it runs; for chaos. Raises what runs raise.
    """
    definition = prepared.loaded.definition
    undo = prepared.loaded.project.undo
    asked = RunOptions(savepoint_s=undo.savepoint_every_s, keep_s=undo.keep_s, hold_s=undo.hold_input_s)
    options = with_limits(replace(asked, **job.options), prepared)
    version = job.version or prepared.loaded.fingerprint
    tally = Tally(definition.name, lookup_tables(definition), clock, lambda _: None)
    patience = Patience(definition.name, clock, stop, options.patience_s, tally.retrying)
    store = LocalStateStore(prepared.folder / "state", flow=definition.name, tidy=False, owner=job.member)
    post = Post(definition.name, version, ledger, store, options, clock, patience, probe, stop, tally)
    try:
        assembly = Assembly(
            definition,
            {one.step: one.dataset for one in prepared.bound},
            folder=prepared.folder / "steps",
            root=prepared.loaded.project.root,
            clock=clock,
            patience=patience,
            renames=[bundle.manifest["renames"] for bundle in bundles(prepared.environment, prepared.flow)],
        )
        dress(assembly)
        computation = Computation(assembly, version, clock=clock, patience=patience, probe=probe)
        savepoint = _savepoint(ledger, job)
        orders = Orders(
            member=job.member,
            holder=f"{job.member} (process {os.getpid()})",
            role=job.role,
            folder=prepared.folder / "members" / job.member,
            savepoint=savepoint,
            record_from=job.record_from,
            first_wish={"role": job.role, **job.wish},
            weigh=lambda ahead: weigh(FULL if ahead else READYING),
            names_of=lambda other: _renames(prepared, other),
        )
        try:
            return Duty(post, computation, orders).serve()
        finally:
            computation.close()
            assembly.close()
    except PenstockError as error:
        locate(error, definition, prepared.loaded.code_root)
        raise


def _renames(prepared: PreparedRun, version: str) -> Mapping[str, str]:
    """What the author of another version says was renamed."""
    return dict((_manifest(prepared, version) or {}).get("renames", {}))


def _manifest(prepared: PreparedRun, version: str) -> Mapping[str, Any] | None:
    """The manifest of a version; None for the working tree of a `penstock run`."""
    for bundle in bundles(prepared.environment, prepared.flow):
        if bundle.id == version:
            return bundle.manifest
    return None


def _savepoint(ledger: Ledger, job: Job) -> Savepoint | None:
    if job.savepoint is None:
        return None
    for savepoint in (BEGINNING, *ledger.savepoints(job.flow)):
        if savepoint.id == job.savepoint:
            return savepoint
    error = LedgerError(f"there is no savepoint {job.savepoint}", flow=job.flow, hint="make the plan again")
    error.heals = False
    raise error


def _tell_failure(ledger: Ledger, job: Job, error: PenstockError) -> None:
    """The facts of a process that never came to its duty; one that did has told its own."""
    known = {member.id: member.facts for member in ledger.members(job.flow)}.get(job.member, {})
    if known.get("error") is None:
        ledger.tell(job.flow, job.member, {**known, "role": "failed", "state": "failed", "error": error.as_dict()})


def _say(*lines: str) -> None:
    """To the log; one on a full disk is no reason to end."""
    with suppress(OSError):
        for line in lines:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    main()
