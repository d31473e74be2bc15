"""Which files a version of a flow consists of: found in the text of the author's modules and in what was imported.

Modules are followed from import to import, those inside functions too, so that one that is first needed in a month is
there. A file that a module names by a string (`Path(__file__).parent / "rates.json"`) belongs to it; one that no
string names in full is listed by `[project] include`. Data that the flow reads as a dataset is not part of its version.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock.control.loading import LoadedFlow, Target
from penstock.control.project import Project
from penstock.errors import ConfigError
from penstock.flow import Definition, ops

__all__ = ["LOCKS", "bundle_files", "import_paths", "lock_file", "module_files", "requirement_files"]

LOCKS = ("requirements.lock", "requirements.txt", "uv.lock")
"""Files that pin the packages of a project, the first that is there counts."""

_NAMED_BYTES_MAX = 10_000_000
_NAMED_CHARS_MAX = 240
_INCLUDES = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)


def bundle_files(loaded: LoadedFlow) -> dict[str, Path]:
    """Path from the project's root -> file, sorted. Raises ConfigError where a file that was named is not there."""
    target, project = loaded.target, loaded.project
    code = {target.file, *loaded.modules, *module_files(target)}
    found = {path for path in code if path.is_relative_to(target.code_root)}
    found |= _named_files(found, loaded)
    found |= _included(project)
    if project.file is not None:
        found.add(project.file)
    lock = lock_file(project)
    if lock is not None:
        found |= requirement_files(lock, project.root)
    if target.file not in found:
        raise ConfigError(
            f"{target.file} is not in the project's folder {target.code_root}",
            flow=loaded.definition.name,
            hint="put the flow into the project, or begin a project around it: penstock init DIR",
        )
    return dict(sorted((path.relative_to(target.code_root).as_posix(), path) for path in found))


def lock_file(project: Project) -> Path | None:
    """The file that pins the project's packages, None where there is none. Raises ConfigError for a wrong name."""
    if project.lock == "":
        return None
    if project.lock is not None:
        path = project.root / project.lock
        if not path.is_file() or not path.resolve().is_relative_to(project.root):
            raise ConfigError(
                f"[project] lock: there is no file {project.lock} in {project.root}",
                hint=f"name one of {', '.join(LOCKS)}, or make it; an empty name stands for none",
            )
        return path
    return next((project.root / name for name in LOCKS if (project.root / name).is_file()), None)


def module_files(target: Target) -> frozenset[Path]:
    """The files of the modules that the flow's file imports, directly or not, and of the packages around them."""
    return frozenset(_followed(target).files)


def import_paths(target: Target) -> tuple[str, ...]:
    """The folders in the project, beside its root, in which modules of the flow are looked for (`src`)."""
    return tuple(sorted(base.relative_to(target.code_root).as_posix() for base in _followed(target).used))


def _followed(target: Target) -> _Closure:
    closure = _Closure(target.code_root)
    closure.follow(target.file)
    return closure


@dataclass(slots=True)
class _Closure:
    """Follows imports from file to file, by their text alone."""

    root: Path
    files: set[Path] = field(default_factory=set)
    used: set[Path] = field(default_factory=set)

    def follow(self, file: Path) -> None:
        """Add a file and all that it imports."""
        waiting = [file]
        while waiting:
            path = waiting.pop()
            if path in self.files or not _is_code(path, self.root):
                continue
            self.files.add(path)
            waiting += self._packages(path)
            waiting += [found for names in _imports(path) for found in self._resolve(path, *names)]

    def _packages(self, path: Path) -> list[Path]:
        """The `__init__` of every package around a file."""
        folders = (folder for folder in path.parents if folder.is_relative_to(self.root))
        return [init for folder in folders if (init := folder / "__init__.py").is_file()]

    def _resolve(self, importer: Path, level: int, module: str, names: tuple[str, ...]) -> Iterator[Path]:
        parts = module.split(".") if module else []
        for base in self._bases() if level == 0 else importer.parents[level - 1 : level]:
            wanted = [parts[:count] for count in range(1, len(parts) + 1)] + [[*parts, name] for name in names]
            found = [file for path in wanted for file in _module_at(base.joinpath(*path))]
            if found and level == 0 and base != self.root:
                self.used.add(base)
            yield from found

    def _bases(self) -> list[Path]:
        """The folders in which modules of the project are looked for: its root, and those in it on the search path."""
        inside = (Path(entry).resolve() for entry in sys.path if entry)
        return list(dict.fromkeys([self.root, *(path for path in inside if path.is_relative_to(self.root))]))


def _module_at(path: Path) -> Iterator[Path]:
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file.is_file():
            yield file


def _is_code(path: Path, root: Path) -> bool:
    if not path.is_relative_to(root):
        return False
    folders = path.relative_to(root).parts[:-1]
    return not any(part.startswith(".") or part == "site-packages" for part in folders)


def _tree(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _imports(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Level (0: from the top), module and names of each import of a file."""
    tree = _tree(path)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names)


def _named_files(code: Iterable[Path], loaded: LoadedFlow) -> set[Path]:
    """Files in the project that the modules name by a string, from their own folder or from the project's root."""
    root = loaded.target.code_root
    data = _dataset_places(loaded.definition)
    seed = root / loaded.project.seed
    found: set[Path] = set()
    for module in code:
        for text in _strings(module):
            if text in data:
                continue
            for folder in (module.parent, root):
                path = _file_at(folder, text)
                if path is not None and _is_code(path, root) and not path.is_relative_to(seed):
                    found.add(path)
    return found


def _dataset_places(definition: Definition) -> set[str]:
    """What the author calls the places of datasets."""
    places: set[str] = set()
    for step in definition.steps:
        if isinstance(step.operation, (ops.Read, ops.Write)):
            dataset = step.operation.dataset
            places |= {dataset.name, *(value for value in dataset.options.values() if isinstance(value, str))}
    return places


def _strings(module: Path) -> Iterator[str]:
    tree = _tree(module)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            text = node.value.strip()
            if 0 < len(text) <= _NAMED_CHARS_MAX and "\0" not in text:
                yield text


def _file_at(folder: Path, name: str) -> Path | None:
    """A plain file of moderate size; no hidden one, which may hold what is secret."""
    path = folder / name
    try:
        resolved = path.resolve()
        is_fit = path.is_file() and resolved.stat().st_size <= _NAMED_BYTES_MAX
    except (OSError, ValueError):
        return None
    return resolved if is_fit and not resolved.name.startswith(".") else None


def _included(project: Project) -> set[Path]:
    found: set[Path] = set()
    for glob in project.include:
        try:
            matches = {path.resolve() for path in project.root.glob(glob) if path.is_file()}
        except (ValueError, NotImplementedError) as error:
            raise ConfigError(
                f"[project] include: {glob!r} is no glob of the project's folder: {error}",
                hint='write for example include = ["rates/*.json"]',
            ) from None
        outside = sorted(path for path in matches if not path.is_relative_to(project.root))
        if outside or not matches:
            what = f"{outside[0]} is outside of the project" if outside else f"no file is like {glob!r}"
            raise ConfigError(f"[project] include: {what}", hint=f"correct it in {project.file}, or take it out")
        found |= matches
    return found


def requirement_files(lock: Path, root: Path) -> set[Path]:
    """A lock, and the files in `root` that it names (`-r`, `-c`; of `uv.lock` the project's own `pyproject.toml`)."""
    root = root.resolve()
    found: set[Path] = set()
    waiting = [lock, root / "pyproject.toml"] if lock.name == "uv.lock" else [lock]
    while waiting:
        path = waiting.pop().resolve()
        if path in found or not path.is_file() or not path.is_relative_to(root):
            continue
        found.add(path)
        if path.suffix != ".toml" and path.name != "uv.lock":
            waiting += [path.parent / name for name in _INCLUDES.findall(path.read_text(encoding="utf-8"))]
    return found
