"""Names and texts as SQL writes them, the same for every database that Penstock speaks to."""

from __future__ import annotations

__all__ = ["literal", "quoted"]


def quoted(name: str) -> str:
    """An identifier in quotes: any name is allowed."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string in quotes. For names of flows, tables and files; what a person wrote, or a row has, is a parameter."""
    return "'" + text.replace("'", "''") + "'"
