"""`penstock.toml`: the project, its flows, its environments and what each environment binds. Documented in
`docs/projects.md`.

The file is read strictly: an unknown key or a wrong type is an error that names file, line and key. Values may be
references to secrets (`env:NAME`, `file:PATH`); they are kept as they are written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penstock.connect import resolve
from penstock.control.alerting.tables import AlertsTable, RouteTable, RuleTable
from penstock.control.binding import Binding, BindingError, make_dataset
from penstock.control.log_settings import LogMetricTable, LogPolicy, LogsTable, log_policy
from penstock.control.policies import (
    DeployPolicy,
    DeployTable,
    MetricsPolicy,
    MetricsTable,
    PushTable,
    ServerTable,
    SupervisePolicy,
    SuperviseTable,
    UndoPolicy,
    UndoTable,
    deploy_policy,
    metrics_policy,
    supervise_policy,
    undo_policy,
)
from penstock.control.toml_lines import line_of
from penstock.errors import ConfigError, did_you_mean
from penstock.flow import Dataset

__all__ = ["Environment", "Project", "bare_project", "find_project", "load_project", "project_for"]

FILE_NAME = "penstock.toml"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,39}")
_PRODUCTION = ("production", "prod", "main", "master")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ProjectTable(_Table):
    """`[project]`."""

    name: str | None = None
    flows: list[str] = Field(default=["flows/*.py", "*.py"])
    seed: str = "seed"
    include: list[str] = Field(default=[])
    lock: str | None = None


class EngineTable(_Table):
    """`[engine]`: limits of one epoch, for all flows that do not say otherwise themselves."""

    epoch_rows: int | None = Field(default=None, gt=0)
    epoch_bytes: int | None = Field(default=None, gt=0)
    epoch_ms: int | None = Field(default=None, gt=0)


class EnvironmentTable(_Table):
    """`[env.NAME]`."""

    branch: str | None = None
    folder: str | None = None
    ledger: str | None = None
    production: bool | None = None
    ephemeral: bool = False
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)
    bind: dict[str, dict[str, Any]] = Field(default_factory=dict)
    deploy: DeployTable = DeployTable()


class ProjectFile(_Table):
    """All of `penstock.toml`."""

    project: ProjectTable = ProjectTable()
    engine: EngineTable = EngineTable()
    deploy: DeployTable = DeployTable()
    undo: UndoTable = UndoTable()
    supervise: SuperviseTable = SuperviseTable()
    server: ServerTable = ServerTable()
    alerts: AlertsTable = AlertsTable()
    metrics: MetricsTable = MetricsTable()
    logs: LogsTable = LogsTable()
    env: dict[str, EnvironmentTable] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment. `folder_text` and `ledger` may be references, resolved where they are used."""

    name: str
    root: Path
    folder_text: str
    branch: str | None = None
    ledger: str | None = None
    ephemeral: bool = False
    production: bool = False
    params: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    bindings: Mapping[str, Binding] = field(default_factory=dict)
    deploy: DeployPolicy = field(default_factory=DeployPolicy)
    project: str = ""
    """The name of the project that it is one of."""

    @property
    def folder(self) -> Path:
        """Where the environment keeps state, ledger and tables. Raises ConfigError where a reference leads nowhere."""
        return self.root / resolve(self.folder_text, self.root, secret=False)


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with flows. `file` is None where there is no `penstock.toml`: then there is one environment, `dev`.

    `include`: globs of more files that belong to a version of a flow. `lock`: the file that pins a version's packages;
    empty: none, None: the one that is there.
    """

    name: str
    root: Path
    file: Path | None = None
    flow_globs: tuple[str, ...] = ("flows/*.py", "*.py")
    seed: str = "seed"
    include: tuple[str, ...] = ()
    lock: str | None = None
    engine: EngineTable = field(default_factory=EngineTable)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    deploy: DeployPolicy = field(default_factory=DeployPolicy)
    undo: UndoPolicy = field(default_factory=UndoPolicy)
    supervise: SupervisePolicy = field(default_factory=SupervisePolicy)
    server: ServerTable = field(default_factory=ServerTable)
    alerts: AlertsTable = field(default_factory=AlertsTable)
    metrics: MetricsPolicy = field(default_factory=MetricsPolicy)
    logs: LogPolicy = field(default_factory=LogPolicy)

    def environment(self, name: str) -> Environment:
        """The environment of this name; `dev` is always there. Raises ConfigError that lists those that are."""
        found = self.environments.get(name)
        if found is not None:
            return found
        if name == "dev":
            return Environment("dev", self.root, ".penstock/dev", deploy=self.deploy, project=self.name)
        known = sorted({*self.environments, "dev"})
        where = f"{self.file}" if self.file else f"no {FILE_NAME} in {self.root} or above it, so it"
        raise ConfigError(
            f"there is no environment {name!r}.{did_you_mean(name, known)}",
            hint=f"known: {', '.join(known)}; add [env.{name}] to {self.file or self.root / FILE_NAME}"
            if _NAME.fullmatch(name)
            else f"known: {', '.join(known)} ({where})",
        )

    def deploy_policy(self, name: str) -> DeployPolicy:
        """What holds for deploying to an environment: `[env.NAME.deploy]` before `[deploy]`. Raises ConfigError."""
        return self.environment(name).deploy

    def flow_files(self) -> tuple[Path, ...]:
        """The files that may hold flows, in a stable order."""
        found = {path for glob in self.flow_globs for path in self.root.glob(glob) if path.is_file()}
        return tuple(sorted(path for path in found if not path.name.startswith(("_", "test_", "conftest"))))


def find_project(start: Path) -> Path | None:
    """The `penstock.toml` in `start` or the nearest folder above it; None where there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def project_for(start: Path) -> Project:
    """The project around a folder, or one without a file that has this folder as its root."""
    found = find_project(start)
    return bare_project(start) if found is None else load_project(found)


def bare_project(root: Path) -> Project:
    """A project without `penstock.toml`."""
    root = root.resolve()
    return Project(root.name or "project", root)


def load_project(path: Path) -> Project:
    """Read a `penstock.toml`. Raises ConfigError with every fault, each with its line and key."""
    path = path.resolve()
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="look at that line; text needs quotes") from error
    try:
        parsed = ProjectFile.model_validate(values)
    except ValidationError as error:
        faults = [_fault(item["type"], item["loc"], item["msg"], item["input"]) for item in error.errors()]
        raise _config_error(path, text, faults) from None
    environments = {
        name: replace(
            _environment(name, table, path.parent, deploy_policy(parsed.deploy, table.deploy)),
            project=parsed.project.name or path.parent.name,
        )
        for name, table in parsed.env.items()
    }
    faults = [fault for name, found in environments.items() for fault in _binding_faults(name, found)]
    faults += [
        (("env", name), f"{name!r} can't be the name of an environment: letters, digits, '_' and '-', at most 40")
        for name in environments
        if not _NAME.fullmatch(name)
    ]
    if faults:
        raise _config_error(path, text, faults)
    return Project(
        name=parsed.project.name or path.parent.name,
        root=path.parent,
        file=path,
        flow_globs=tuple(parsed.project.flows),
        seed=parsed.project.seed,
        include=tuple(parsed.project.include),
        lock=parsed.project.lock,
        engine=parsed.engine,
        environments=MappingProxyType(environments),
        deploy=deploy_policy(parsed.deploy),
        undo=undo_policy(parsed.undo),
        supervise=supervise_policy(parsed.supervise),
        server=parsed.server,
        alerts=parsed.alerts,
        metrics=metrics_policy(parsed.metrics),
        logs=log_policy(parsed.logs),
    )


def _environment(name: str, table: EnvironmentTable, root: Path, deploy: DeployPolicy) -> Environment:
    production = table.production
    if production is None:
        production = name in _PRODUCTION or table.branch in _PRODUCTION
    bindings = {
        dataset: Binding(str(options.get("kind", "")), {key: value for key, value in options.items() if key != "kind"})
        for dataset, options in table.bind.items()
    }
    return Environment(
        name=name,
        root=root,
        folder_text=table.folder or f".penstock/{name}",
        branch=table.branch,
        ledger=table.ledger,
        ephemeral=table.ephemeral,
        production=production,
        params=MappingProxyType(table.params),
        bindings=MappingProxyType(bindings),
        deploy=deploy,
    )


Fault = tuple[tuple[str, ...], str]


def _binding_faults(name: str, environment: Environment) -> list[Fault]:
    """Faults that can be seen before any flow is bound: unknown kinds and options."""
    faults: list[Fault] = []
    for dataset, binding in environment.bindings.items():
        place = ("env", name, "bind", dataset)
        if not binding.kind:
            faults.append((place, 'no kind; add for example kind = "files"'))
            continue
        try:
            make_dataset(binding, Dataset("topic", dataset))
        except BindingError as error:
            message = f"{error.message} ({error.hint})" if error.hint else error.message
            faults.append(((*place, error.option) if error.option else place, message))
    return faults


def _fault(kind: str, loc: Sequence[int | str], message: str, given: object) -> Fault:
    place = tuple(str(part) for part in loc)
    if kind == "extra_forbidden":
        known = sorted(_table_of(place[:-1]).model_fields)
        return place, f"unknown key {place[-1]!r}.{did_you_mean(place[-1], known)} Known here: {', '.join(known)}"
    if kind == "value_error":  # our own: it says all there is to say
        return place, message.removeprefix("Value error, ")
    shown = repr(given) if len(repr(given)) <= 60 else f"{repr(given)[:60]}..."  # noqa: PLR2004 - one line
    return place, f"{message[:1].lower()}{message[1:]}, not {shown}"


def _table_of(place: tuple[str, ...]) -> type[BaseModel]:
    if len(place) == 3 and place[0] == "env":  # noqa: PLR2004 - [env.NAME.deploy]
        return DeployTable
    if len(place) == 3 and place[0] == "alerts":  # noqa: PLR2004 - [alerts.rule.NAME], [alerts.route.NAME]
        return RuleTable if place[1] == "rule" else RouteTable
    if len(place) == 3 and place[:2] == ("logs", "metric"):  # noqa: PLR2004 - [logs.metric.NAME]
        return LogMetricTable
    if place[:2] == ("metrics", "otlp"):
        return PushTable
    tables: dict[str, type[BaseModel]] = {
        "logs": LogsTable,
        "project": ProjectTable,
        "engine": EngineTable,
        "deploy": DeployTable,
        "undo": UndoTable,
        "supervise": SuperviseTable,
        "server": ServerTable,
        "alerts": AlertsTable,
        "metrics": MetricsTable,
        "env": EnvironmentTable,
    }
    return tables[place[0]] if place else ProjectFile


def _config_error(path: Path, text: str, faults: Sequence[Fault]) -> ConfigError:
    lines = []
    for place, message in faults:
        line = line_of(text, place)
        at = f"{path.name}:{line}" if line else path.name
        lines.append(f"{at}: [{'.'.join(place[:-1])}] {place[-1]}: {message}" if place[:-1] else f"{at}: {message}")
    first = lines[0] if len(lines) == 1 else "\n  - ".join((f"{len(lines)} faults in {path.name}:", *lines))
    return ConfigError(first, state_left="nothing has run", hint=f"edit {path}")
