"""A flow put together in one process: sources, program and sinks. Nothing is claimed, fenced or changed by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from penstock.analysis import Analysis, StepNames, analyse, needed_columns
from penstock.clock import Clock
from penstock.connect import Context, Sink, Source, open_sink, open_source
from penstock.engine.patience import Patience
from penstock.engine.program import Program
from penstock.errors import DefinitionError
from penstock.flow import Dataset, Definition, Step, ops

__all__ = ["Assembly"]


class Assembly:
    """The parts of a flow.

    `datasets`: the concrete dataset of every read and write step. `folder`: the flow's own, for what connectors keep.
    `root`: what relative paths are relative to. `renames`: what authors of other versions say, old name -> new name.
    `source`, `sink`: make the connectors, in a test others. Raises SchemaError and DefinitionError before anything is
    connected for good, ConnectorError where a source can't tell its schema.
    """

    def __init__(
        self,
        definition: Definition,
        datasets: Mapping[str, Dataset],
        *,
        folder: Path,
        root: Path,
        clock: Clock,
        patience: Patience,
        renames: Iterable[Mapping[str, str]] = (),
        source: Callable[[Dataset, Context], Source] = open_source,
        sink: Callable[[Dataset, Context], Sink] = open_sink,
    ) -> None:
        self.definition = definition
        self.clock = clock
        self._datasets = datasets
        self._folder = folder
        self._root = root
        self._patience = patience
        self.names = StepNames(definition, renames)
        self._open_source = source
        self._open_sink = sink
        self.sources: dict[str, Source] = {}
        self.sinks: dict[str, Sink] = {}
        try:
            self.analysis: Analysis = self._connect()
        except BaseException:
            self.close()
            raise
        self.program = Program(definition, self.analysis)

    @property
    def min_epoch_ms(self) -> int:
        """How long an epoch should at least be for the slowest sink."""
        return max((sink.min_epoch_ms for sink in self.sinks.values()), default=0)

    def prepare(self) -> None:
        """Let every sink do ahead what takes time when it is opened."""
        for name, sink in self.sinks.items():
            self._patience(sink.prepare, f"prepare {name}")

    def lead(self) -> None:
        """Let every source take in what comes."""
        for name, source in self.sources.items():
            self._patience(source.lead, f"lead {name}")

    def rest(self) -> None:
        """Another process leads: let go of everything that it needs for itself, go on reading."""
        for source in self.sources.values():
            source.rest()
        for sink in self.sinks.values():
            sink.close()
        self.sinks = {step.name: self._sink(step) for step in self.definition.writes}

    def close(self) -> None:
        """Give everything back."""
        for source in self.sources.values():
            source.close()
        for sink in self.sinks.values():
            sink.close()

    def _connect(self) -> Analysis:
        for step in self.definition.reads:
            self.sources[step.name] = self._open_source(self._datasets[step.name], self._context(step))
        schemas = {
            name: self._patience(partial(source.schema), f"read {name}") for name, source in self.sources.items()
        }
        analysis = analyse(self.definition, schemas)
        needed = needed_columns(self.definition, analysis)
        pruned = {name: source.project(needed[name]) for name, source in self.sources.items()}
        self.analysis = analysis if pruned == schemas else analyse(self.definition, pruned)
        for step in self.definition.writes:
            self.sinks[step.name] = self._sink(step)
        return self.analysis

    def _context(self, step: Step) -> Context:
        return Context(
            flow=self.definition.name,
            step=step.name,
            folder=self._folder / self.names.first(step.name),
            root=self._root,
            clock=self.clock,
            key=self._datasets[step.name].key,
            first_name=self.names.first(step.name),
        )

    def _sink(self, step: Step) -> Sink:
        assert isinstance(step.operation, ops.Write)
        facts = self.analysis.steps[step.name]
        dataset = self._datasets[step.name]
        sink = self._open_sink(dataset, replace(self._context(step), schema=facts.schema))
        if facts.updating and not sink.upserts:
            raise DefinitionError(
                f"{dataset.kind} {dataset.name!r} can't replace rows, and the results here are updating",
                flow=self.definition.name,
                step=step.name,
                hint="write them to a table with a key (delta, postgres, duckdb), or aggregate in a window",
            )
        return sink
