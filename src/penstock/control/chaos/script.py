"""What is run, as JSON values: the flow, its inputs, its limits. Every process makes the same throwaway place of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.control.chaos.inputs import Input
from penstock.control.environment import Bound, bind_one
from penstock.control.loading import LoadedFlow, find_flow, load_flow
from penstock.control.project import EngineTable, Environment, project_for
from penstock.control.running import PreparedRun
from penstock.errors import ConfigError
from penstock.flow import Dataset, delta, ops

__all__ = ["TABLES", "Script", "place_of", "throwaway"]

ORIGIN = "chaos"
TABLES = "tables"
_KEPT = ("delta", "parquet", "files", "duckdb")
"""Kinds of sinks that are files, of which a throwaway one is made; all others become Delta tables."""


@dataclass(frozen=True, slots=True)
class Script:
    """A flow and all that it takes to run it again and again.

    `root`: the project's folder. `target`: the flow as `find_flow` takes it. `options`: fields of `RunOptions`.
    `start_us`: the time of its first epoch.
    """

    root: str
    env: str
    target: str
    params: Mapping[str, str]
    inputs: Mapping[str, Input]
    options: Mapping[str, Any] = field(default_factory=dict)
    start_us: int = 0

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parsed(cls, text: str) -> Script:
        """Back from `text`."""
        values = json.loads(text)
        inputs = {step: Input(**one) for step, one in values.pop("inputs").items()}
        return cls(**values, inputs=inputs)

    def prepared(self, story: Path) -> PreparedRun:
        """The flow, loaded, to run in the folder `story`. Raises what loading raises."""
        project = project_for(Path(self.root))
        environment = project.environment(self.env)
        loaded = load_flow(find_flow(self.target, project.root), environment, self.params)
        return throwaway(loaded, environment, story, self.inputs)


def throwaway(loaded: LoadedFlow, environment: Environment, story: Path, inputs: Mapping[str, Input]) -> PreparedRun:
    """A flow bound to copies of its inputs and to tables in `story`. Its own limits of an epoch are left out."""
    definition = replace(loaded.definition, epoch_rows=None, epoch_ms=None)
    project = replace(loaded.project, engine=EngineTable())
    place = replace(environment, folder_text=str(story), ledger=None, production=False, ephemeral=True)
    target = replace(loaded.target, project=project)
    bound = []
    for step in definition.steps:
        operation = step.operation
        if isinstance(operation, ops.Read):
            dataset = inputs[step.name].dataset(operation.dataset)
            bound.append(Bound(step.name, operation.dataset.name, dataset, writes=False, origin=ORIGIN))
        elif isinstance(operation, ops.Write):
            real = place_of(loaded, environment, step.name)
            dataset = _throwaway_sink(real, step.name, story / TABLES)
            bound.append(Bound(step.name, operation.dataset.name, dataset, writes=True, origin=ORIGIN))
    return PreparedRun(replace(loaded, definition=definition, target=target), place, tuple(bound))


def place_of(loaded: LoadedFlow, environment: Environment, name: str) -> Dataset:
    """What the environment makes of the dataset of a step, as far as it says; nothing is connected."""
    operation = loaded.definition.step(name).operation
    assert isinstance(operation, (ops.Read, ops.Write))
    try:
        writes = isinstance(operation, ops.Write)
        return bind_one(operation.dataset, loaded.project, environment, writes=writes)[0]
    except ConfigError:
        return operation.dataset


def _throwaway_sink(real: Dataset, step: str, tables: Path) -> Dataset:
    place = str(tables / _plain(step))
    options = dict(real.options)
    if real.kind == "duckdb":
        # Tables of one file stay in one file: its sinks share a connection.
        file = hashlib.sha256(str(options["path"]).encode()).hexdigest()[:8]
        return replace(real, options={**options, "path": str(tables / f"{file}.duckdb")})
    if real.kind not in _KEPT:
        made = delta(place, key=real.key, min_epoch_ms=0)
        return replace(made, schema=real.schema)
    options["path"] = place
    if real.kind == "delta":
        options["min_epoch_ms"] = 0
    return replace(real, name=place, options=options)


def _plain(step: str) -> str:
    return re.sub(r"[^A-Za-z0-9_\-]", "_", step)
