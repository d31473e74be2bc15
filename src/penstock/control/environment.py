"""What an environment makes of a flow: every read and write step gets its concrete dataset.

In the order in which it is looked for: what the author wrote as a concrete dataset; `[env.NAME.bind.DATASET]`; a
file `seed/DATASET.*` for what is read (never in production); a Delta table `tables/DATASET` in the environment's
folder for a logical table. A logical topic that is none of these is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.control.binding import BindingError, make_dataset
from penstock.control.project import Environment, Project
from penstock.errors import ConfigError
from penstock.flow import Dataset, Definition, delta, files, ops

__all__ = ["Bound", "bind", "bind_one"]

SEED_FORMATS: Mapping[str, str] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
}
_COMPRESSED = (".gz", ".zst")
_TABLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,119}")


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a flow: the step, what its author called it, what it really is, and why.

    `writes`: whether the step writes. `origin`: `author`, `penstock.toml`, `seed` or `default`.
    """

    step: str
    logical: str
    dataset: Dataset
    writes: bool
    origin: str

    @property
    def place(self) -> str:
        """Kind and place in a few words, without secrets: options that may hold one are left out."""
        options = self.dataset.options
        found = options.get("path") or options.get("table") or options.get("stream") or self.dataset.name
        return f"{self.dataset.kind} {found}"


def bind(definition: Definition, project: Project, environment: Environment) -> tuple[Bound, ...]:
    """The concrete dataset of each read and write step, in the order of the steps.

    Raises ConfigError where a topic has no binding in this environment; it shows the lines to add.
    """
    found = []
    for step in definition.steps:
        operation = step.operation
        if isinstance(operation, (ops.Read, ops.Write)):
            writes = isinstance(operation, ops.Write)
            try:
                dataset, origin = bind_one(operation.dataset, project, environment, writes=writes)
            except ConfigError as error:
                error.flow, error.step = definition.name, step.name
                raise
            found.append(Bound(step.name, operation.dataset.name, dataset, writes, origin))
    _refuse_one_place_twice(found, definition)
    return tuple(found)


def bind_one(dataset: Dataset, project: Project, environment: Environment, *, writes: bool) -> tuple[Dataset, str]:
    """The concrete dataset and where the answer comes from. Raises ConfigError."""
    if not dataset.is_logical:
        return dataset, "author"
    binding = environment.bindings.get(dataset.name)
    if binding is not None:
        try:
            return make_dataset(binding, dataset), "penstock.toml"
        except BindingError as error:
            error.message = f"[env.{environment.name}.bind.{dataset.name}]: {error.message}"
            raise
    if not writes and not environment.production:
        seed = _seed_file(dataset.name, project)
        if seed is not None:
            return _from_seed(seed, dataset, project), "seed"
    if dataset.kind == "table":
        return _default_table(dataset, environment), "default"
    raise _unbound(dataset, project, environment, writes=writes)


def _default_table(dataset: Dataset, environment: Environment) -> Dataset:
    if not _TABLE_NAME.fullmatch(dataset.name):
        raise ConfigError(
            f"the table {dataset.name!r} can't become a folder by its name",
            hint="use letters, digits, '_', '-' and '.', or bind it in penstock.toml",
        )
    path = shown_path(environment.folder / "tables" / dataset.name, environment.root)
    return replace(delta(path, key=dataset.key), schema=dataset.schema)


def shown_path(path: Path, root: Path) -> str:
    """The path from `root` where it is inside, else as it is."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _seed_file(name: str, project: Project) -> Path | None:
    folder = project.root / project.seed
    endings = [ending + zipped for ending in SEED_FORMATS for zipped in ("", *_COMPRESSED)]
    found = [folder / f"{name}{ending}" for ending in endings if (folder / f"{name}{ending}").is_file()]
    if len(found) > 1:
        raise ConfigError(
            f"several seed files are called {name!r}: {', '.join(path.name for path in found)}",
            hint=f"keep one of them in {folder}",
        )
    return found[0] if found else None


def _from_seed(path: Path, dataset: Dataset, project: Project) -> Dataset:
    inner = path.suffixes[-2] if path.suffix in _COMPRESSED else path.suffix
    seed = files(shown_path(path, project.root), schema=dataset.schema, format=SEED_FORMATS[inner])
    return replace(seed, key=dataset.key)


def _unbound(dataset: Dataset, project: Project, environment: Environment, *, writes: bool) -> ConfigError:
    file = project.file or project.root / "penstock.toml"
    example = (
        f'kind = "files"\npath = "out/{dataset.name}"'
        if writes
        else f'kind = "files"\npath = "data/{dataset.name}.jsonl"'
    )
    lines = "\n".join(
        f"           {line}"
        for line in (f"[env.{environment.name}.bind.{_quoted(dataset.name)}]", *example.split("\n"))
    )
    seed = (
        ""
        if writes or environment.production
        else f",\n         or put the rows into {project.seed}/{dataset.name}.jsonl"
    )
    return ConfigError(
        f"the environment {environment.name!r} does not say where the topic {dataset.name!r} is",
        state_left="nothing has run",
        hint=f"add to {file} (other kinds are nats, postgres, http_push, ...):\n{lines}{seed}",
    )


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_\-]+", name) else f'"{name}"'


def _refuse_one_place_twice(found: list[Bound], definition: Definition) -> None:
    """Two write steps may have names of their own and still be bound to one table."""
    seen: dict[tuple[str, str], Bound] = {}
    for bound in found:
        if not bound.writes or bound.dataset.kind == "console":
            continue
        where = (bound.dataset.kind, f"{bound.dataset.name} {sorted(bound.dataset.options.items())}")
        other = seen.setdefault(where, bound)
        if other is not bound:
            raise ConfigError(
                f"the steps {other.step!r} and {bound.step!r} both write to {bound.place}",
                flow=definition.name,
                hint="bind them to two places in penstock.toml",
            )
