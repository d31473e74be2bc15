"""Where a key stands in a TOML file: the parser of the standard library gives values without lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["line_of"]

_HEADER = re.compile(r"^\s*\[\[?\s*(?P<path>[^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*(?P<path>(?:[A-Za-z0-9_\-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_\-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_\-]+|"[^"]*"|'[^']*'""")


def line_of(text: str, path: Sequence[str]) -> int | None:
    """The line (from 1) of the key `path`, or of the nearest key or table around it; None where nothing matches.

    Good enough for a message: a line inside a multi-line string that looks like a key may be taken for one.
    """
    wanted = tuple(path)
    best: tuple[int, int] | None = None
    for line, found in _places(text):
        depth = len(found)
        if found == wanted[:depth] and (best is None or depth > best[0]):
            best = (depth, line)
    return None if best is None else best[1]


def _places(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header["path"])
            yield number, table
        elif key := _KEY.match(line):
            yield number, table + _parts(key["path"])


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(path))
