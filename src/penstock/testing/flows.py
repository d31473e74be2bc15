"""A flow as a function: frames in, the frames of its sinks out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from penstock.clock import Clock, ManualClock, new_id
from penstock.connect import clear, finish, memory_rows, put_rows
from penstock.engine import RunOptions, run_flow
from penstock.errors import DefinitionError, did_you_mean
from penstock.flow import Dataset, Definition, Flow, ops
from penstock.ledger import MemoryStateStore, open_ledger

__all__ = ["run"]


def run(
    flow: Flow | Definition,
    inputs: Mapping[str, pl.DataFrame],
    *,
    epoch_rows: int = 500_000,
    clock: Clock | None = None,
) -> dict[str, pl.DataFrame]:
    """Run a flow on frames, by dataset name, and give what its sinks hold in the end, by dataset name.

    The flow runs whole, through the same engine, to the end of its input: all windows close. `epoch_rows` cuts the
    input into epochs. Raises DefinitionError where an input is missing or none of the flow's.
    """
    definition = flow.build() if isinstance(flow, Flow) else flow
    names = {step.name: _dataset(step.operation).name for step in (*definition.reads, *definition.writes)}
    wanted = {names[step.name] for step in definition.reads}
    for name in inputs:
        if name not in wanted:
            raise DefinitionError(
                f"the flow reads no dataset {name!r}.{did_you_mean(name, sorted(wanted))}",
                flow=definition.name,
                hint=f"it reads {sorted(wanted)}",
            )
    missing = sorted(wanted.difference(inputs))
    if missing:
        raise DefinitionError(
            f"no rows were given for {missing}", flow=definition.name, hint="give a frame for every dataset it reads"
        )
    scope = new_id()
    datasets: dict[str, Dataset] = {}
    for step in definition.reads:
        dataset = _dataset(step.operation)
        stored = f"{scope}/{step.name}"
        put_rows(stored, inputs[dataset.name])
        finish(stored)
        datasets[step.name] = Dataset("memory", stored, dataset.schema or dict(inputs[dataset.name].schema))
    for step in definition.writes:
        dataset = _dataset(step.operation)
        datasets[step.name] = replace(dataset, kind="memory", name=f"{scope}/{step.name}", options={})
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-test-") as folder:
            ticking = clock or ManualClock()
            ledger = open_ledger(Path(folder), env="test", clock=ticking)
            try:
                run_flow(
                    definition,
                    datasets,
                    ledger=ledger,
                    store=MemoryStateStore(),
                    folder=Path(folder) / "steps",
                    root=Path(folder),
                    clock=ticking,
                    options=RunOptions(until_drained=True, epoch_rows=epoch_rows, patience_s=0),
                )
            finally:
                ledger.close()
        return {names[step.name]: memory_rows(datasets[step.name].name) for step in definition.writes}
    finally:
        for dataset in datasets.values():
            clear(dataset.name)


def _dataset(operation: ops.Operation) -> Dataset:
    assert isinstance(operation, (ops.Read, ops.Write))
    return operation.dataset
