"""Run one flow in one environment, in this process: bind, lock, open the ledger and the state, run."""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.clock import Clock, SystemClock, new_id
from penstock.control.environment import Bound, bind, shown_path
from penstock.control.kill_points import probe_of
from penstock.control.ledgers import opened_ledger
from penstock.control.loading import LoadedFlow
from penstock.control.locks import flow_lock
from penstock.control.log_catching import caught_logs
from penstock.control.project import Environment
from penstock.control.tables import flow_folder, note_datasets
from penstock.engine import Progress, RunOptions, RunResult, StopSignal, run_flow
from penstock.errors import PenstockError
from penstock.flow import Definition
from penstock.ledger import LocalStateStore

__all__ = ["VERSIONS", "PreparedRun", "locate", "prepare", "run_here", "with_limits"]

_WORKER_LENGTH = 8
VERSIONS = "versions"
"""The folder in that of an environment which holds a folder for each version of its flows."""


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A flow bound to an environment, ready to run; nothing is opened yet."""

    loaded: LoadedFlow
    environment: Environment
    bound: tuple[Bound, ...]

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.loaded.definition.name

    @property
    def folder(self) -> Path:
        """The flow's own folder: `lock`, `datasets.json`, `state/`, and `steps/` for the connectors."""
        return flow_folder(self.environment, self.flow)


def prepare(loaded: LoadedFlow, environment: Environment) -> PreparedRun:
    """Bind a flow. Raises ConfigError where the environment does not say where a dataset is."""
    return PreparedRun(loaded, environment, bind(loaded.definition, loaded.project, environment))


def run_here(
    prepared: PreparedRun,
    *,
    options: RunOptions | None = None,
    stop: StopSignal | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Run until the input ends, `stop` is requested, or an error.

    Raises FlowBusy where another process runs the flow here, and whatever `run_flow` raises, with the author's line
    added where a step is to blame.
    """
    clock = clock or SystemClock()
    definition = prepared.loaded.definition
    environment, loaded = prepared.environment, prepared.loaded
    with (
        flow_lock(prepared.folder, prepared.flow, environment.name),
        caught_logs(
            loaded.project,
            environment,
            prepared.flow,
            worker=f"run-{new_id()[:_WORKER_LENGTH]}",
            version=loaded.fingerprint,
            root=loaded.code_root,
            clock=clock,
        ) as logs,
    ):
        logs.attach()
        note_datasets(prepared.folder, prepared.flow, prepared.bound)
        with opened_ledger(environment, clock) as ledger:
            try:
                return run_flow(
                    definition,
                    {one.step: one.dataset for one in prepared.bound},
                    ledger=ledger,
                    store=LocalStateStore(prepared.folder / "state"),
                    folder=prepared.folder / "steps",
                    root=prepared.loaded.project.root,
                    clock=clock,
                    options=with_limits(options or RunOptions(), prepared),
                    stop=stop,
                    on_progress=on_progress,
                    probe=logs.watching(probe_of(os.environ)),
                )
            except PenstockError as error:
                locate(error, definition, prepared.loaded.code_root)
                raise


def locate(error: PenstockError, definition: Definition, root: Path) -> None:
    """Add the author's line of the step to an error, where it is known and not there yet.

    `root`: the folder that the code is in. Where that is a version's, paths in it are told as they are in the project.
    """
    if root.parent.parent.name == VERSIONS:
        error.message = error.message.replace(f"{root}/", "")
        notes = getattr(error, "__notes__", [])
        notes[:] = [note.replace(f"{root}/", "") for note in notes]
    steps = {step.name: step for step in definition.steps}
    if error.step not in steps or getattr(error, "__notes__", None):
        return
    file, _, line = steps[error.step].location.rpartition(":")
    shown = shown_path(Path(file), root)
    if not line.isdigit() or f"{shown}:{line}" in str(error) or f"{file}:{line}" in str(error):
        return
    error.add_note(f"at {shown}:{line}: {linecache.getline(file, int(line)).strip()}")


def with_limits(options: RunOptions, prepared: PreparedRun) -> RunOptions:
    """The limits of one epoch: the author's, else `[engine]` of penstock.toml, else the engine's."""
    definition, limits = prepared.loaded.definition, prepared.loaded.project.engine
    params = {name: str(found.value) for name, found in prepared.loaded.params.items()}
    return replace(
        options,
        params=params,
        epoch_rows=definition.epoch_rows or limits.epoch_rows or options.epoch_rows,
        epoch_ms=definition.epoch_ms or limits.epoch_ms or options.epoch_ms,
        epoch_bytes=limits.epoch_bytes or options.epoch_bytes,
    )
