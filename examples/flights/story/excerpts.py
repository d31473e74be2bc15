"""What the story shows of what the command line prints: the lines that a newcomer needs, as they come."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from typing import TypeAlias

__all__ = ["Excerpt", "deploy_lines", "lines_with", "plan_lines", "preview_lines", "undo_lines"]

Excerpt: TypeAlias = Callable[[Iterator[str]], Iterator[str]]
"""Printed lines -> those that are shown."""

_PLANNED = re.compile(r" +\d+  ([a-z-]+) ")
_DONE = re.compile(r"([a-z-]+) +(done|failed|waits) +[\d.]+m?s")
_SINK = re.compile(r"  ([a-z_]+)")


def lines_with(*texts: str) -> Excerpt:
    """Lines that have one of these texts in them."""
    return lambda lines: (line for line in lines if any(text in line for text in texts))


def plan_lines(lines: Iterator[str]) -> Iterator[str]:
    """Of a plan: the versions, the steps that change, and the names of the stages."""
    part, stages = "", []
    for line in lines:
        part = part if line.startswith(" ") else line
        found = _PLANNED.match(line)
        if found is not None:
            stages.append(found[1])
        elif part == "steps":
            yield line
    yield from _named(stages)


def preview_lines(lines: Iterator[str]) -> Iterator[str]:
    """Of an undo that is only shown: what would be taken back, and the names of the stages."""
    stages = []
    for line in lines:
        found = _PLANNED.match(line)
        if found is not None:
            stages.append(found[1])
        elif ": undo, " not in line:
            yield line
    yield from _named(stages)


def _named(stages: list[str]) -> list[str]:
    return textwrap.wrap(
        f"{len(stages)} stages: {', '.join(stages)}", 80, subsequent_indent="  ", break_on_hyphens=False
    )


def undo_lines(lines: Iterator[str]) -> Iterator[str]:
    """Of an undo: its stages, and what it came to."""
    begun = False
    for line in lines:
        begun = begun or _DONE.match(line) is not None
        if begun:
            yield line


def deploy_lines(lines: Iterator[str]) -> Iterator[str]:
    """Of a deploy: its stages; of its gate the verdict, the counts and one row of each sink; the way to its receipt."""
    part, sink, waits = "", "", False
    for line in lines:
        stage, named = _DONE.match(line), _SINK.fullmatch(line)
        part = part if line.startswith(" ") or not line else line
        if stage is not None:
            forced = "  forced through" if "forced through" in line else ""
            yield stage[0] + forced if stage[1] == "gate" else line
        elif ": refused; " in line:
            verdict, found = line.split("; ", 1)
            yield from (verdict, f"  {found}")
        elif line.startswith(("  against it", "  cut", "  receipt")):
            yield line
        elif not part.startswith("rows, epochs"):
            continue
        elif named is not None:
            sink, waits = named[1], True
        elif not sink:
            yield line
        elif waits and "~ epoch" in line:
            yield f"  {sink} {line.strip()}"
            waits = False
