"""Run one flow in this process, alone: claim it, load its state, lead it to its end or until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.clock import Clock, SystemClock
from penstock.engine.assembly import Assembly
from penstock.engine.computing import Computation
from penstock.engine.leading import Leader, Outcome, Post
from penstock.engine.options import Progress, RunOptions, RunResult, StopSignal
from penstock.engine.patience import Patience
from penstock.engine.points import Probe, nothing
from penstock.engine.starting import claim
from penstock.engine.tally import Tally
from penstock.flow import Dataset, Definition, flow_version, ops
from penstock.ledger import Ledger, StateStore

__all__ = ["lookup_tables", "run_flow"]


def run_flow(
    definition: Definition,
    datasets: Mapping[str, Dataset],
    *,
    ledger: Ledger,
    store: StateStore,
    folder: Path,
    root: Path,
    clock: Clock | None = None,
    options: RunOptions | None = None,
    stop: StopSignal | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    holder: str = "",
    probe: Probe = nothing,
    version: str | None = None,
) -> RunResult:
    """Run one flow until its input ends, `stop` is requested, or an error.

    `datasets`: the concrete dataset of every read and write step. `folder`: this flow's own, for what connectors keep.
    `root`: what relative paths are relative to. `holder`: who runs it, for the ledger. `version`: what the code is
    called (None: its fingerprint). `probe`: called at every point of `POINTS`.

    Raises SchemaError and DefinitionError before anything is connected, Fenced where a newer process took the flow
    over, ConnectorError where a system stayed away for longer than `options.patience_s`, LedgerError, CheckFailed,
    StepFailed. After any of them the ledger says where to go on, and running again does so.
    """
    clock, options, stop = clock or SystemClock(), options or RunOptions(), stop or StopSignal()
    tally = Tally(definition.name, lookup_tables(definition), clock, on_progress or (lambda _: None))
    tally.show("loading", epoch=0, watermark_us=None)
    patience = Patience(definition.name, clock, stop, options.patience_s, tally.retrying)
    version = version or flow_version(definition)
    post = Post(definition.name, version, ledger, store, options, clock, patience, probe, stop, tally)
    assembly = Assembly(definition, datasets, folder=folder, root=root, clock=clock, patience=patience)
    computation = Computation(assembly, version, clock=clock, patience=patience, probe=probe)
    leader: Leader | None = None
    try:
        leader = claim(post, computation, holder=holder, spill_folder=folder.parent / "rewrite")
        while leader.step() is not Outcome.OVER:
            pass
        return _result(leader)
    finally:
        computation.close()
        if leader is not None:
            leader.compactor.close()
        assembly.close()


def lookup_tables(definition: Definition) -> frozenset[str]:
    """The steps that read a lookup table: its rows are not counted as rows of the stream."""
    reads = ((step.name, step.operation) for step in definition.reads)
    return frozenset(name for name, operation in reads if isinstance(operation, ops.Read) and operation.table)


def _result(leader: Leader) -> RunResult:
    last, tally = leader.computation.last, leader.post.tally
    return RunResult(
        flow=leader.post.flow,
        generation=leader.generation,
        version=leader.post.version,
        epochs=leader.epochs,
        last_epoch=last.epoch if last is not None else None,
        rows_in=tally.totals["rows_in"],
        rows_out=tally.totals["rows_out"],
        rows_late=tally.totals["rows_late"],
        rows_dead=tally.totals["rows_dead"],
        seconds=tally.seconds,
        finished=last is not None and last.final,
        stopped=leader.post.stop.requested,
        checks_failed=dict(tally.checks_failed),
    )
