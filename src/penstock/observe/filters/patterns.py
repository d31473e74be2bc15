"""Regular expressions of a filter, tried in the engine that will run them: DuckDB's RE2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

import duckdb

from penstock.analysis import closed_connection
from penstock.observe.filters.literals import Source
from penstock.observe.filters.tree import (
    And,
    Anywhere,
    Comparison,
    InNetwork,
    Literal,
    Node,
    Not,
    Or,
    Present,
    Sample,
    Search,
)

__all__ = ["check_patterns"]


def check_patterns(source: Source, node: Node) -> None:
    """Raises QueryError for the first pattern that RE2 does not read, with what RE2 says.

    All are tried in one connection, because to open one takes longer than to try a hundred.
    """
    patterns = list(_patterns(node))
    if not patterns:
        return
    with closed_connection(threads=1) as connection:
        for pattern in patterns:
            _try(source, connection, pattern)


def _try(source: Source, connection: duckdb.DuckDBPyConnection, pattern: Literal) -> None:
    try:
        connection.execute("select regexp_matches('', ?)", [pattern.text])
    except duckdb.Error as error:
        said = str(error).splitlines()[0].split("Error: ", 1)[-1]
        message = f"{pattern.text!r} is no regular expression: {said}"
        raise source.fault(pattern, message, "the syntax is that of RE2") from None


def _patterns(node: Node) -> Iterator[Literal]:
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _patterns(part)
        case Not(part):
            yield from _patterns(part)
        case Comparison(_, operator, literal):
            if operator in ("=~", "!~") and not literal.is_null:
                yield literal
        case Present() | Anywhere() | Search() | Sample() | InNetwork():
            return
        case _:
            assert_never(node)
