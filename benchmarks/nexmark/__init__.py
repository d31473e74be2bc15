"""Nexmark: 21 questions to an auction site, each as a flow and as SQL. q6 and q10 are not here.

q6 is not defined in streaming SQL, and q10 writes files, which is what a sink is for. The semantics are those of the
benchmark's edition for Flink SQL; where a query leaves the order of equal rows open, both sides here name one.
"""

from __future__ import annotations

from benchmarks.nexmark import joins, running, stateless, windows
from benchmarks.nexmark.joins import SIDE_ROWS
from benchmarks.nexmark.oracle import answer, difference, without
from benchmarks.nexmark.query import ENTITIES, LATENESS, Auction, Bid, Entity, Person, Query, SideInput

__all__ = [
    "ENTITIES",
    "LATENESS",
    "QUERIES",
    "SIDE_ROWS",
    "Auction",
    "Bid",
    "Entity",
    "Person",
    "Query",
    "SideInput",
    "answer",
    "difference",
    "without",
]

QUERIES = {
    query.name: query
    for query in sorted(
        (*stateless.QUERIES, *windows.QUERIES, *joins.QUERIES, *running.QUERIES), key=lambda query: int(query.name[1:])
    )
}
"""All of them by name, in the order of their numbers."""
