"""Which modules of the project a flow consists of, by their text alone: imports followed from file to file.

Those inside functions too, so that a module that is first needed in a month is known.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Followed", "followed", "forget_modules", "is_code", "syntax_tree"]


def followed(file: Path, root: Path) -> Followed:
    """The modules in `root` that a file imports, directly or not, with the packages around them."""
    found = Followed(root)
    found.follow(file)
    return found


def forget_modules(file: Path, root: Path) -> None:
    """Let the modules of a flow be imported anew, as they are now: this process may have loaded them before."""
    files = {str(path) for path in followed(file, root).files}
    for name, module in list(sys.modules.items()):
        if name != "__main__" and getattr(module, "__file__", None) in files:
            del sys.modules[name]


@dataclass(slots=True)
class Followed:
    """The files of a module and of all that it imports. `used`: folders in the root that are on the search path."""

    root: Path
    files: set[Path] = field(default_factory=set)
    used: set[Path] = field(default_factory=set)

    def follow(self, file: Path) -> None:
        """Add a file and all that it imports."""
        waiting = [file]
        while waiting:
            path = waiting.pop()
            if path in self.files or not is_code(path, self.root):
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


def is_code(path: Path, root: Path) -> bool:
    """Whether a file can be the author's, code or data: in the project, in no hidden folder, in no library."""
    if not path.is_relative_to(root):
        return False
    folders = path.relative_to(root).parts[:-1]
    return not any(part.startswith(".") or part == "site-packages" for part in folders)


def syntax_tree(path: Path) -> ast.Module | None:
    """The syntax tree of a file; None where it is no Python."""
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _imports(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Level (0: from the top), module and names of each import of a file."""
    tree = syntax_tree(path)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names)
