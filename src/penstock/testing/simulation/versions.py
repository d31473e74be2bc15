"""The versions of a flow in a run: their datasets, what their state is, and what becomes of another version's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from penstock.analysis import (
    StateLayout,
    Verdict,
    compare,
    layouts_from_json,
    layouts_json,
    migration_facts,
    renames_of,
)
from penstock.clock import Clock
from penstock.connect import Context, Sink, Source, open_sink
from penstock.engine import Assembly, Patience, StopSignal
from penstock.errors import DefinitionError
from penstock.flow import Dataset, Definition, ops
from penstock.testing.simulation.inputs import Input, SimulatedSource
from penstock.testing.simulation.sinks import Target

__all__ = ["Version", "Versions", "multiset", "written"]


def _dataset(operation: ops.Operation) -> Dataset:
    assert isinstance(operation, (ops.Read, ops.Write))
    return operation.dataset


def written(definition: Definition) -> list[Dataset]:
    """The datasets that a flow writes."""
    return [_dataset(step.operation) for step in definition.writes]


class Version:
    """One version: `number` counts from 1."""

    def __init__(self, number: int, definition: Definition) -> None:
        self.number = number
        self.name = f"v{number}"
        self.definition = definition
        self.inputs = {step.name: _dataset(step.operation).name for step in definition.reads}
        """Read step -> the dataset that it reads."""
        self.tables = {step.name: _dataset(step.operation).name for step in definition.writes}
        """Write step -> the dataset that it writes."""
        self.layout: Sequence[StateLayout] = ()

    def __str__(self) -> str:
        return self.name


class Versions:
    """All versions of a run, over the same inputs and targets."""

    def __init__(
        self,
        definitions: Sequence[Definition],
        inputs: Mapping[str, Input],
        targets: Mapping[str, Target],
        *,
        folder: Path,
        clock: Clock,
    ) -> None:
        self.all = [Version(number, definition) for number, definition in enumerate(definitions, 1)]
        self._inputs = inputs
        self._targets = targets
        self._folder = folder
        self._clock = clock
        for version in self.all:
            self._check(version)
            assembly = self.assembled(version)
            version.layout = layouts_from_json(layouts_json(assembly.program.layout()))
            assembly.close()

    def named(self, name: str) -> Version:
        """The version of this name."""
        return self.all[int(name.removeprefix("v")) - 1] if name else self.all[0]

    def assembled(
        self,
        version: Version,
        *,
        clock: Clock | None = None,
        patience: Patience | None = None,
        source: Callable[[Input, Dataset, Context], Source] | None = None,
        sink: Callable[[Target, Context, str], Sink] | None = None,
    ) -> Assembly:
        """The parts of a version: of a process, or (without `source` and `sink`) of the one that judges."""
        flow = version.definition.name
        clock = clock or self._clock
        schemas = {step: dict(self._inputs[name].schema) for step, name in version.inputs.items()}
        reads = {step: Dataset("simulated", step, schema) for step, schema in schemas.items()}
        writes = {step: self._targets[name].dataset for step, name in version.tables.items()}

        def opened_source(dataset: Dataset, context: Context) -> Source:
            given = self._inputs[version.inputs[context.step]]
            return SimulatedSource(dataset, context, given, None) if source is None else source(given, dataset, context)

        def opened_sink(dataset: Dataset, context: Context) -> Sink:
            table = version.tables[context.step]
            return open_sink(dataset, context) if sink is None else sink(self._targets[table], context, table)

        return Assembly(
            version.definition,
            {**reads, **writes},
            folder=self._folder / "steps",
            root=self._folder,
            clock=clock,
            patience=patience or Patience(flow, clock, StopSignal(), 0, lambda _: None),
            renames=[renames_of(one.definition) for one in self.all],
            source=opened_source,
            sink=opened_sink,
        )

    def verdict(self, old: Version, new: Version) -> Verdict:
        """What becomes of the state of one version in another."""
        return compare(
            old.layout,
            new.layout,
            renames=renames_of(new.definition),
            migrations=migration_facts(new.definition),
        )

    def renames(self, version: str) -> Mapping[str, str]:
        """What the author of a version says was renamed."""
        return renames_of(self.named(version).definition)

    def _check(self, version: Version) -> None:
        first = self.all[0]
        if version.definition.name != first.definition.name:
            raise DefinitionError(
                f"{version.definition.name!r} is no version of {first.definition.name!r}",
                hint="give versions of one flow: they have its name",
            )
        for wanted, given, what in (
            (version.inputs.values(), self._inputs, "rows were given for"),
            (version.tables.values(), self._targets, "place is there for"),
        ):
            missing = sorted(set(wanted) - set(given))
            if missing:
                raise DefinitionError(f"no {what} {missing}", flow=first.definition.name)


def multiset(frame: pl.DataFrame) -> dict[str, int]:
    """How often each row is there; the order of columns counts for nothing."""
    found: dict[str, int] = {}
    for row in frame.select(sorted(frame.columns)).rows():
        text = repr(row)
        found[text] = found.get(text, 0) + 1
    return found
