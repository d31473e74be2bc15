"""Labels made of other labels: `label_replace`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock.observe.promql.series import Floats, Vector

__all__ = ["relabelled"]

_GROUP = re.compile(r"\$(\d+)|\$\{(\d+)\}")


def relabelled(vector: Vector, to: str, replacement: str, source: str, pattern: str) -> Vector:
    """The series, with the label `to` made of the label `source` where the pattern matches all of it."""
    found = re.compile(f"(?s:{pattern})")
    return Vector(tuple(_row(row, to, replacement, found.fullmatch(row[0].get(source, ""))) for row in vector.rows))


def _row(
    row: tuple[Mapping[str, str], Floats], to: str, replacement: str, match: re.Match[str] | None
) -> tuple[Mapping[str, str], Floats]:
    labels, values = row
    if match is None:
        return row
    text = _GROUP.sub(lambda one: match.group(int(one[1] or one[2])) or "", replacement)
    return {name: value for name, value in {**labels, to: text}.items() if value}, values
