"""Names for steps from the author's own variables: `paid = orders.filter(...)` is the step `paid`.

The variable is found from the line of the call, in the syntax tree of the author's file. Where there is no source
(a prompt, `exec`), there is simply no hint.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Hint", "hint_of_caller"]

_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


@dataclass(frozen=True, slots=True)
class Hint:
    """Where a step was written: file and line, and the variables that the statement assigns (empty: none)."""

    file: str
    line: int
    statement: int
    variables: tuple[str, ...]


def hint_of_caller() -> Hint:
    """The author's line that called into Penstock."""
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to learn of the caller without a traceback
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    linecache.checkcache(file)  # the file may have been written again since this process last looked
    for first, last, variables in _assignments("".join(linecache.getlines(file))):
        if first <= line <= last:
            return Hint(file, line, first, variables)
    return Hint(file, line, line, ())


@lru_cache(maxsize=256)
def _assignments(source: str) -> tuple[tuple[int, int, tuple[str, ...]], ...]:
    """First line, last line and targets of each assignment in a file's text, the innermost first."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names = _target_names(node.targets[0])
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            names = _target_names(node.target)
        else:
            continue
        found.append((node.lineno, node.end_lineno or node.lineno, names))
    return tuple(sorted(found, key=lambda item: item[1] - item[0]))


def _target_names(target: ast.expr) -> tuple[str, ...]:
    if isinstance(target, ast.Name):
        return (target.id,)
    if isinstance(target, ast.Tuple):
        return tuple(item.id for item in target.elts if isinstance(item, ast.Name))
    return ()
