"""The statement in which an author wrote a step, as text: what is shown where a step is not a function of its own."""

from __future__ import annotations

import ast
import linecache
import textwrap
from functools import lru_cache

__all__ = ["statement_of"]


def statement_of(location: str) -> str:
    """The whole statement around `file:line`, without its indentation; empty where there is no source."""
    file, _, line = location.rpartition(":")
    if not line.isdigit():
        return ""
    lines = linecache.getlines(file)
    number = int(line)
    around = [(first, last) for first, last in _statements("".join(lines)) if first <= number <= last]
    if not around:
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""
    first, last = min(around, key=lambda span: span[1] - span[0])
    return textwrap.dedent("".join(lines[first - 1 : last])).rstrip("\n")


@lru_cache(maxsize=64)
def _statements(source: str) -> tuple[tuple[int, int], ...]:
    """First and last line of every statement of a file."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    return tuple((node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, ast.stmt))
