"""Documents, in SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.clock import new_id
from penstock.ledger import Document, Documents, Ledger
from tests.ledger.facts import Open, opener


@pytest.fixture
def documents(ledger: Ledger) -> Documents:
    """Those of an empty environment."""
    return ledger.operations.documents


def test_a_document_is_the_one_that_was_kept_last(open_it: Open) -> None:
    """Kept, changed, seen by another process, forgotten once."""
    documents = open_it().operations.documents
    assert documents.document("alert", "a") is None
    documents.keep(Document("alert", "a", {"state": "firing", "labels": {"flow": "ünï"}}, "ann", 5))
    documents.keep(Document("alert", "a", {"state": "resolved"}, "b\x00b", 7))
    kept = Document("alert", "a", {"state": "resolved"}, "b\\x00b", 7)
    assert open_it().operations.documents.document("alert", "a") == kept
    assert documents.drop("alert", "a")
    assert not documents.drop("alert", "a")
    assert documents.document("alert", "a") is None


def test_documents_of_a_kind_are_given_by_their_ids(documents: Documents) -> None:
    """Another kind is not among them."""
    for kind, id_ in (("alert", "b"), ("alert", "a"), ("silence", "c")):
        documents.keep(Document(kind, id_, {}))
    assert [one.id for one in documents.documents("alert")] == ["a", "b"]
    assert documents.documents("dashboard") == []


def test_a_change_of_what_was_read_loses_no_other_change(documents: Documents) -> None:
    """Of two that read the same, the second is told to read again."""
    first = documents.keep(Document("dashboard", "d", {"panels": []}), over=0)
    assert first is not None
    assert documents.keep(Document("dashboard", "d", {"panels": ["other"]}), over=0) is None
    second = documents.keep(Document("dashboard", "d", {"panels": ["mine"]}), over=first)
    assert second is not None
    assert second > first
    assert documents.keep(Document("dashboard", "d", {"panels": ["late"]}), over=first) is None
    found = documents.document("dashboard", "d")
    assert found is not None
    assert found.body == {"panels": ["mine"]}


def test_environments_share_no_documents(ledger_dsn: str, tmp_path: Path) -> None:
    """What one keeps in a database that both use, the other does not see."""
    closing: list[Ledger] = []
    open_it = opener(ledger_dsn, tmp_path, closing, env=f"test-{new_id()}")
    open_it().operations.documents.keep(Document("alert", "a", {}))
    assert open_it(env=f"test-{new_id()}").operations.documents.documents("alert") == []
    for ledger in closing:
        ledger.close()
