"""Random filters: SQL and a simple evaluator agree about every entry, and the parser reads what was written."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.observe import SEVERITIES, compile_filter
from penstock.observe.filters.grammar import parse
from penstock.observe.filters.tree import (
    And,
    Anywhere,
    Comparison,
    InNetwork,
    Literal,
    Name,
    Node,
    Not,
    Or,
    Present,
    Sample,
    Search,
)
from tests.observe.corpus import NOW_US, connection, entries
from tests.observe.evaluator import matches, written

COMPARED = ["=", "!=", "<", "<=", ">", ">=", ":"]
TEXTS = [
    "revenue",
    "READ",
    "v1",
    "v10",
    "row",
    "started",
    "",
    "t1",
    "model file lost",
    'a "quote"',
    "100%",
    "\\",
    "flow",
]
PATTERNS = ["^v1", "row|key", "[A-Z]", "s$", ".", "^$", "(?i)ERR"]
WORDS = ["row", "rows", "model lost", "v10 v11", "8 utf", "started", "db1", "orders", "nowhere"]
VALUES = ["1", "0", "-5", "100", "12.5", "1e2", "true", "FALSE", "alpha", "Beta", "row", "late", "", "a", "7", "E42"]
PATHS = [
    ("rows",),
    ("code",),
    ("retry",),
    ("tags",),
    ("note",),
    ("user",),
    ("user", "name"),
    ("user", "id"),
    ("k8s.io/pod",),
    ("nested",),
    ("list",),
    ("empty",),
    ("nowhere",),
    ("model",),
    ("flag",),
    ("host", "deeper"),
]

literals = st.builds(Literal, st.sampled_from(TEXTS))
text_names = st.sampled_from(
    ["flow", "resource.labels.step", "version", "textPayload", "trace", "resource.type", "insertId"]
).map(lambda name: Name(tuple(name.split("."))))
json_names = st.builds(
    lambda root, path: Name((root, *path)), st.sampled_from(["jsonPayload", "labels"]), st.sampled_from(PATHS)
)
count_names = st.sampled_from([Name(("epoch",)), Name(("resource", "labels", "generation"))])

leaves: st.SearchStrategy[Node] = st.one_of(
    st.builds(Comparison, text_names, st.sampled_from(COMPARED), literals),
    st.builds(
        Comparison, text_names | json_names, st.sampled_from(["=~", "!~"]), st.sampled_from(PATTERNS).map(Literal)
    ),
    st.builds(Comparison, json_names, st.sampled_from(COMPARED), st.sampled_from(VALUES).map(Literal)),
    st.builds(Comparison, json_names, st.sampled_from(["=", "!="]), st.just(Literal("NULL_VALUE", quoted=False))),
    st.builds(
        Comparison, count_names, st.sampled_from(COMPARED), st.sampled_from(["0", "1", "3", "4.5", "-1"]).map(Literal)
    ),
    st.builds(
        Comparison, st.just(Name(("severity",))), st.sampled_from(COMPARED), st.sampled_from([*SEVERITIES]).map(Literal)
    ),
    st.builds(
        Comparison,
        st.just(Name(("timestamp",))),
        st.sampled_from(COMPARED[:-1]),
        st.sampled_from(["2026-11-25T10:00:00Z", "2026-11-25T13:00:00.500000Z", "2026-11-26T09:30:00+02:00"]).map(
            Literal
        ),
    ),
    st.builds(Present, text_names | json_names | count_names),
    st.builds(Anywhere, st.sampled_from([text for text in TEXTS if text] + WORDS).map(Literal)),
    st.builds(Search, st.none() | text_names | json_names, st.sampled_from(WORDS).map(Literal)),
    st.builds(
        InNetwork, text_names | json_names, st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3"]).map(Literal)
    ),
    st.builds(
        Sample,
        text_names,
        st.sampled_from(["0", "0.25", "0.5", "1"]).map(lambda share: Literal(share, quoted=False)),
    ),
)


def joined(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Larger trees, as the parser gives them."""
    several = st.lists(parts, min_size=2, max_size=4)
    return several.map(lambda found: flat(And, found)) | several.map(lambda found: flat(Or, found)) | parts.map(Not)


def flat(kind: type[And | Or], parts: list[Node]) -> Node:
    """All parts in one AND or OR: none is directly in another of its kind."""
    pieces = [part.parts if isinstance(part, kind) else (part,) for part in parts]
    return kind(tuple(piece for group in pieces for piece in group))


trees = st.recursive(leaves, joined, max_leaves=8)


@pytest.fixture(scope="module")
def logs() -> Iterator[duckdb.DuckDBPyConnection]:
    """The corpus as the table `logs`."""
    with connection() as database:
        yield database


@settings(max_examples=200)
@given(tree=trees)
def test_sql_and_a_simple_evaluator_agree(logs: duckdb.DuckDBPyConnection, tree: Node) -> None:
    """The text of a random tree is read as that tree, and its SQL matches the entries that the evaluator matches."""
    text = written(tree)
    assert parse(text) == tree

    condition = compile_filter(text, now_us=NOW_US)
    found = logs.execute(f"select insert_id, {condition.sql} from logs", list(condition.parameters)).fetchall()

    assert dict(found) == {entry["insert_id"]: matches(entry, tree) for entry in entries()}, text
