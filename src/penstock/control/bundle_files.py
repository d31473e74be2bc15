"""Which files a version of a flow consists of: its modules, what they name, and what the project adds to them.

A file that a module names by a string (`Path(__file__).parent / "rates.json"`) belongs to it; one that no string names
in full is listed by `[project] include`. Data that the flow reads as a dataset is not part of its version.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from penstock.control.author_modules import followed, is_code, syntax_tree
from penstock.control.loading import LoadedFlow, Target
from penstock.control.project import Project
from penstock.errors import ConfigError
from penstock.flow import Definition, ops

__all__ = ["LOCKS", "bundle_files", "import_paths", "lock_file", "requirement_files"]

LOCKS = ("requirements.lock", "requirements.txt", "uv.lock")
"""Files that pin the packages of a project, the first that is there counts."""

_NAMED_BYTES_MAX = 10_000_000
_NAMED_CHARS_MAX = 240
_INCLUDES = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)


def bundle_files(loaded: LoadedFlow) -> dict[str, Path]:
    """Path from the project's root -> file, sorted. Raises ConfigError where a file that was named is not there."""
    target, project = loaded.target, loaded.project
    code = {target.file, *loaded.modules, *followed(target.file, target.code_root).files}
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


def import_paths(target: Target) -> tuple[str, ...]:
    """The folders in the project, beside its root, in which modules of the flow are looked for (`src`)."""
    used = followed(target.file, target.code_root).used
    return tuple(sorted(base.relative_to(target.code_root).as_posix() for base in used))


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
                if path is not None and is_code(path, root) and not path.is_relative_to(seed):
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
    tree = syntax_tree(module)
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
