"""A flow as a function: frames in, the frames of its sinks out."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from penstock.clock import Clock, ManualClock, new_id
from penstock.connect import clear, finish, memory_rows, put_rows
from penstock.engine import RunOptions, run_flow
from penstock.errors import DefinitionError, did_you_mean
from penstock.flow import Dataset, Definition, Flow, ops
from penstock.ledger import EpochRecord, Ledger, MemoryStateStore, dead_letter_frame, epoch_frame, open_ledger
from penstock.observe import UserMetric, add_user_metrics

__all__ = ["Results", "run"]


@dataclass(frozen=True, eq=False)
class Results(Mapping[str, pl.DataFrame]):
    """What a run gave: by the name of each dataset that the flow writes, the rows that it holds in the end.

    `dead`: the dead letters, a row each, with `step`, `error`, `message`, `payload` and the other columns of
    `penstock deadletters`. `late`: how many rows came too late. `checks`: for each expectation, as "step: check", how
    many rows "passed" and "failed". `epochs`: the record of each epoch, with the columns of `penstock ledger`.
    `metrics`: the author's own (`penstock.metric`), by name; `metric` gives one number.
    """

    tables: Mapping[str, pl.DataFrame]
    dead: pl.DataFrame
    late: int
    checks: Mapping[str, Mapping[str, int]]
    epochs: pl.DataFrame
    metrics: Mapping[str, UserMetric] = field(default_factory=dict)

    def metric(self, name: str, **labels: object) -> float:
        """A metric of the author's in the end: a counter's sum, a gauge's last value, how often a histogram was told.

        0 for label values that never came. Raises KeyError that names the metrics that were counted.
        """
        if name not in self.metrics:
            known = sorted(self.metrics)
            raise KeyError(f"no step counted {name!r}.{did_you_mean(name, known)} Counted were {known}")
        found = self.metrics[name]
        if set(labels) != set(found.labels):
            raise KeyError(f"the metric {name!r} has the labels {list(found.labels)}, not {list(labels)}")
        value = found.values.get(tuple(str(labels[label]) for label in found.labels), 0.0)
        return float(sum(value[:-1]) if isinstance(value, list) else value)

    def __getitem__(self, name: str) -> pl.DataFrame:
        """The rows of a dataset. Raises KeyError that names those there are."""
        if name not in self.tables:
            known = sorted(self.tables)
            raise KeyError(f"the flow writes no dataset {name!r}.{did_you_mean(name, known)} It writes {known}")
        return self.tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)


def run(
    flow: Flow | Definition,
    inputs: Mapping[str, pl.DataFrame],
    *,
    epoch_rows: int = 500_000,
    clock: Clock | None = None,
) -> Results:
    """Run a flow on frames, by dataset name, and give what its sinks hold in the end, by dataset name.

    The flow runs whole, through the same engine, to the end of its input: all windows close. `epoch_rows` cuts the
    input into epochs. Raises DefinitionError where an input is missing or none of the flow's.
    """
    definition = flow.build() if isinstance(flow, Flow) else flow
    _check_inputs(definition, inputs)
    scope = new_id()
    datasets: dict[str, Dataset] = {}
    for step in definition.reads:
        dataset = _dataset(step.operation)
        stored = f"{scope}/{step.name}"
        put_rows(stored, inputs[dataset.name])
        finish(stored)
        datasets[step.name] = Dataset("memory", stored, dataset.schema or dict(inputs[dataset.name].schema))
    for step in definition.writes:
        datasets[step.name] = replace(_dataset(step.operation), kind="memory", name=f"{scope}/{step.name}", options={})
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
                tables = {
                    _dataset(step.operation).name: memory_rows(datasets[step.name].name) for step in definition.writes
                }
                return _results(definition.name, tables, ledger)
            finally:
                ledger.close()
    finally:
        for dataset in datasets.values():
            clear(dataset.name)


def _check_inputs(definition: Definition, inputs: Mapping[str, pl.DataFrame]) -> None:
    """Raise DefinitionError where a frame is for none of the flow's reads, or one is missing."""
    wanted = {_dataset(step.operation).name for step in definition.reads}
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


def _results(flow: str, tables: Mapping[str, pl.DataFrame], ledger: Ledger) -> Results:
    records = ledger.epochs(flow)
    letters = ledger.dead_letters(flow, limit=ledger.count_dead_letters(flow))
    late = sum(record.rows_late for record in records)
    metrics: dict[str, UserMetric] = {}
    for record in records:
        add_user_metrics(metrics, record.metrics)
    return Results(tables, dead_letter_frame(letters), late, _checks(records), epoch_frame(records), metrics)


def _checks(records: Iterable[EpochRecord]) -> dict[str, dict[str, int]]:
    """The counts of each expectation over all epochs."""
    totals: dict[str, Counter[str]] = {}
    for record in records:
        for name, counts in record.checks.items():
            totals.setdefault(name, Counter()).update({word: counts[word] for word in ("passed", "failed")})
    return {name: {word: counts[word] for word in ("passed", "failed")} for name, counts in totals.items()}


def _dataset(operation: ops.Operation) -> Dataset:
    assert isinstance(operation, (ops.Read, ops.Write))
    return operation.dataset
