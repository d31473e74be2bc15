"""From what a person types to a definition: find the flow's file, load the author's module, take its flow."""

from __future__ import annotations

import ast
import importlib.util
import linecache
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from penstock.control.author_modules import forget_modules
from penstock.control.project import Environment, Project, bare_project, find_project, load_project, project_for
from penstock.errors import ConfigError, DefinitionError, PenstockError, did_you_mean
from penstock.flow import Definition, Flow, Param, flow_version, giving

__all__ = ["FlowFile", "LoadedFlow", "Target", "find_flow", "known_flows", "load_flow"]

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class FlowFile:
    """A flow as its file shows it, without running the file. `name` is the file's where the text does not tell."""

    name: str
    file: Path


@dataclass(frozen=True, slots=True)
class Target:
    """A flow that was asked for: its project, its file, and its name or variable where one was given.

    `code`: the folder that the code is in, where it is not the project's own (a version's).
    """

    project: Project
    file: Path
    name: str | None = None
    variable: str | None = None
    code: Path | None = None

    @property
    def code_root(self) -> Path:
        """The folder that modules are imported from, and that paths in messages are relative to."""
        return self.code or self.project.root


@dataclass(frozen=True, slots=True)
class LoadedFlow:
    """A flow that was loaded, with the parameters that its module asked for.

    `given`: what was set for it (`--set`), of the parameters. `modules`: the files of the author's modules that were
    imported with it. `version`: the id of the version that it is, empty for the working tree.
    """

    target: Target
    definition: Definition
    params: Mapping[str, Param] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    modules: frozenset[Path] = frozenset()
    version: str = ""

    @property
    def project(self) -> Project:
        """The project it belongs to."""
        return self.target.project

    @property
    def code_root(self) -> Path:
        """The folder that its code is in: the project's, or that of a version."""
        return self.target.code_root

    @property
    def fingerprint(self) -> str:
        """What its code is, as 12 hexadecimal digits."""
        return flow_version(self.definition)


def known_flows(project: Project) -> tuple[FlowFile, ...]:
    """All flows of a project, read from the text of their files; nothing of the author's runs."""
    return tuple(FlowFile(name, file) for file in project.flow_files() for name in _names_in(file))


def find_flow(asked: str, start: Path) -> Target:
    """Where the flow is. `asked`: its name, `path/to/file.py`, or `path/to/file.py:variable`.

    Raises ConfigError where there is none of this name (and lists those that are), or several.
    """
    path_text, _, variable = asked.partition(":")
    if path_text.endswith(".py") or "/" in path_text:
        return _by_path(path_text, variable or None, start)
    project = project_for(start)
    flows = known_flows(project)
    found = sorted({flow.file for flow in flows if flow.name == asked})
    if len(found) == 1:
        return Target(project, found[0], name=asked)
    if found:
        shown = ", ".join(str(path.relative_to(project.root)) for path in found)
        raise ConfigError(f"{len(found)} files hold a flow {asked!r}: {shown}", hint="name the file")
    by_file = [path for path in project.flow_files() if path.stem == asked]
    if len(by_file) == 1:
        return Target(project, by_file[0])
    known = sorted({flow.name for flow in flows})
    raise ConfigError(
        f"there is no flow {asked!r} in {project.root}.{did_you_mean(asked, known)}",
        hint=f"its flows: {', '.join(known)}"
        if known
        else f"looked for in {', '.join(project.flow_globs)}; name a file, or begin with: penstock init DIR",
    )


def load_flow(target: Target, environment: Environment, params: Mapping[str, str] | None = None) -> LoadedFlow:
    """Load the author's module and build its flow.

    `params`: what `--set` gave; the environment's own come below them. Raises ConfigError and DefinitionError that
    show the author's lines only.
    """
    forget_modules(target.file, target.code_root)
    before = set(sys.modules)
    with giving(params or {}, environment.params) as scope:
        module = _load_module(target)
        flow = _choose(target, module)
        try:
            definition = flow.build()
        except PenstockError as error:
            error.flow = error.flow or flow.name
            raise
    scope.check(flow.name)
    return LoadedFlow(target, definition, scope.asked, dict(params or {}), _own_modules(target, before))


def _by_path(text: str, variable: str | None, start: Path) -> Target:
    file = (start / text).resolve()
    if file.is_dir():
        names = sorted({flow.name for flow in known_flows(project_for(file))})
        raise ConfigError(
            f"{text} is a folder",
            hint=f"name a flow in it: penstock run {names[0]} --project {text}" if names else "name a file",
        )
    if not file.is_file():
        siblings = sorted(path.name for path in file.parent.glob("*.py")) if file.parent.is_dir() else []
        raise ConfigError(
            f"there is no file {text}.{did_you_mean(file.name, siblings)}",
            hint=f"files there: {', '.join(siblings)}" if siblings else "check the path; it is relative to this folder",
        )
    found = find_project(file.parent)
    return Target(bare_project(file.parent) if found is None else load_project(found), file, variable=variable)


def _names_in(file: Path) -> tuple[str, ...]:
    """The names in `Flow("...")` calls of a file, or its own name where a call has no literal; empty: no flow."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return (file.stem,)
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "Flow":
            first = node.args[0] if node.args else None
            literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
            names.append(str(first.value) if literal and isinstance(first, ast.Constant) else file.stem)
    return tuple(dict.fromkeys(names))


def _own_modules(target: Target, before: set[str]) -> frozenset[Path]:
    """The files of modules that are new since `before` and are the author's."""
    files = (getattr(module, "__file__", None) for name, module in list(sys.modules.items()) if name not in before)
    paths = {target.file, *(Path(file).resolve() for file in files if file)}
    return frozenset(path for path in paths if _is_own(path, target))


def _is_own(path: Path, target: Target) -> bool:
    """Whether a file is the author's: under the project's root, no installed package, nothing of ours."""
    own = path == target.file or path.is_relative_to(target.code_root) or path.is_relative_to(target.project.root)
    return own and "site-packages" not in path.parts and not path.is_relative_to(_PACKAGE)


def _load_module(target: Target) -> ModuleType:
    root = str(target.code_root)
    if root not in sys.path:
        sys.path.insert(0, root)
    name = _module_name(target)
    linecache.checkcache(str(target.file))
    spec = importlib.util.spec_from_file_location(name, target.file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{target.file} is no Python file that can be imported", hint="its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except PenstockError as error:
        line = _own_frames(error, target)[-1:]
        for frame in line:
            error.add_note(f"at {_shown(frame.filename, target)}:{frame.lineno}: {frame.line}")
        raise
    except SyntaxError as error:
        raise _syntax_error(error, target) from None
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise _failed(error, target) from error
    return module


def _module_name(target: Target) -> str:
    """As an import from the project's root would call it, unless another module has that name already."""
    try:
        parts = target.file.relative_to(target.code_root).with_suffix("").parts
    except ValueError:
        parts = (target.file.stem,)
    name = ".".join(re.sub(r"\W", "_", part) for part in parts)
    taken = sys.modules.get(name)
    other = taken is not None and getattr(taken, "__file__", None) != str(target.file)
    return f"author_{name}" if other or name in sys.stdlib_module_names else name


def _choose(target: Target, module: ModuleType) -> Flow:
    """The flow of a module that was asked for, or the only one."""
    flows: dict[str, Flow] = {}
    for variable, value in vars(module).items():
        if isinstance(value, Flow) and value not in flows.values():
            flows[variable] = value
    shown = _shown(str(target.file), target)
    if target.variable is not None:
        value = getattr(module, target.variable, None)
        if isinstance(value, Flow):
            return value
        raise ConfigError(
            f"{shown} has no flow in a variable {target.variable!r}.{did_you_mean(target.variable, list(flows))}",
            hint=f"its flows are in: {', '.join(flows)}" if flows else 'an author writes: flow = ps.Flow("name")',
        )
    chosen = [flow for flow in flows.values() if target.name is None or flow.name == target.name]
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        named = f" named {target.name!r}" if target.name else ""
        raise ConfigError(
            f"{shown} has no flow{named} at the top of the module",
            hint=f"it has: {', '.join(flow.name for flow in flows.values())}"
            if flows
            else 'begin with: flow = ps.Flow("name"), outside any function',
        )
    raise ConfigError(
        f"{shown} has {len(chosen)} flows: {', '.join(flow.name for flow in chosen)}",
        hint=f"say which one: {shown}:{next(iter(flows))}",
    )


def _own_frames(error: BaseException, target: Target) -> list[traceback.FrameSummary]:
    """The frames in the author's files."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(Path(frame.filename), target)]


def _shown(filename: str, target: Target) -> str:
    path = Path(filename)
    for root in (target.code_root, target.project.root):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return filename


def _syntax_error(error: SyntaxError, target: Target) -> DefinitionError:
    place = f"{_shown(error.filename or str(target.file), target)}:{error.lineno}"
    found = DefinitionError(f"{place}: {error.msg}", state_left="nothing has run", hint="correct that line")
    if error.text:
        column = max((error.offset or 1) - 1, 0) - (len(error.text) - len(error.text.lstrip()))
        found.add_note(f"{error.text.strip()}\n{' ' * max(column, 0)}^")
    return found


def _failed(error: BaseException, target: Target) -> DefinitionError:
    told = "".join(traceback.format_exception_only(error)).strip()
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    found = DefinitionError(
        f"{_shown(str(target.file), target)} can't be loaded: {told}",
        state_left="nothing has run",
        hint=f"install {missing!r} in this Python, or correct the name" if missing else "correct the line shown",
    )
    for frame in _own_frames(error, target):
        found.add_note(f"at {_shown(frame.filename, target)}:{frame.lineno}: {frame.line}")
    return found
